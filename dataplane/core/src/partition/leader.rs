//! Admission of batches into the log of a partition by its leader. Each batch of an idempotent
//! producer gets into the log once, and in the order of its sequences.
//!
//! A `LeaderState` MUST be created after its node has applied the blank entry of its own term, when
//! the partition's state includes every entry of earlier terms. Created earlier, it would not know
//! the last batches of the previous leader and admit their retries a second time. It is dropped
//! when the term ends. All batches of the term are admitted by it, so it knows the offset of each
//! one in advance.

use std::collections::{BTreeMap, VecDeque};

use super::PartitionState;
use crate::entry::ProducerStamp;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::limits::PRODUCERS_PER_PARTITION_MAX_COUNT;
use crate::offset::{Offset, Term};
use crate::producer_table::BatchSpan;
use crate::reason::Reason;

/// The decision about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Propose the batch. It is in flight from now on.
    Propose {
        /// The offset that the first record of the batch will have.
        base_offset: Offset,
    },
    /// The batch is in the log or in flight. Acknowledge it with this offset, but only once the
    /// high watermark is past the batch: until then it may still be lost with its leader.
    Duplicate {
        /// The offset of the first record of the batch.
        base_offset: Offset,
    },
    /// The batch is in the log, so far back that its offset is not known any more. Acknowledge it
    /// without one.
    Forgotten,
    /// Reject the batch.
    Reject(Rejection),
}

/// The reason for which a batch is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A batch before this one is missing, or this one overlaps with another.
    #[error("base sequence must be {expected}, got {found}")]
    OutOfOrder {
        /// The expected base sequence.
        expected: Sequence,
        /// The base sequence of the batch.
        found: Sequence,
    },
    /// A newer epoch of the producer has written to the partition.
    #[error("producer epoch must be at least {current}, got {found}")]
    Fenced {
        /// The newest epoch.
        current: ProducerEpoch,
        /// The epoch of the batch.
        found: ProducerEpoch,
    },
    /// The sequences of the epoch are exhausted.
    #[error("base sequence {found} is too large: the sequences of the batch would overflow")]
    SequenceOverflow {
        /// The base sequence of the batch.
        found: Sequence,
    },
}

impl Rejection {
    /// The reason that the client gets.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OutOfOrder { .. } => Reason::OutOfOrderSequence,
            Self::Fenced { .. } => Reason::ProducerFenced,
            Self::SequenceOverflow { .. } => Reason::InvalidArgument,
        }
    }
}

/// The batches of one producer epoch that are proposed and not applied yet.
#[derive(Clone, Debug)]
struct InFlight {
    epoch: ProducerEpoch,
    /// The batches in log order, at least one, with the offsets that they will have.
    spans: VecDeque<BatchSpan>,
}

impl InFlight {
    fn next_sequence(&self) -> Sequence {
        self.spans
            .back()
            .map_or(Sequence(0), BatchSpan::next_sequence)
    }

    fn find(&self, base_sequence: Sequence, record_count: u32) -> Option<Offset> {
        let at = self
            .spans
            .binary_search_by_key(&base_sequence, |s| s.base_sequence)
            .ok()?;
        let span = self
            .spans
            .get(at)
            .filter(|span| span.record_count == record_count)?;
        Some(span.base_offset)
    }

    /// Removes the batches below the high watermark, which are in the applied state. Returns
    /// whether any batch is left.
    fn remove_applied(&mut self, high_watermark: Offset) -> bool {
        while self
            .spans
            .front()
            .is_some_and(|span| span.base_offset < high_watermark)
        {
            self.spans.pop_front();
        }
        !self.spans.is_empty()
    }
}

/// The batches that a leader has proposed in its term, on top of the applied state.
#[derive(Clone, Debug)]
pub struct LeaderState {
    term: Term,
    /// The offset of the next batch.
    next_offset: Offset,
    /// The batches in flight of each producer, of its newest epoch only.
    in_flight: BTreeMap<ProducerId, InFlight>,
    /// The number of producers at which those without batches in flight are removed.
    sweep_at: usize,
}

impl LeaderState {
    /// The state of a leader that has applied all entries of earlier terms and proposed no batch.
    pub const fn new(state: &PartitionState, term: Term) -> Self {
        Self {
            term,
            next_offset: state.next_offset,
            in_flight: BTreeMap::new(),
            sweep_at: PRODUCERS_PER_PARTITION_MAX_COUNT,
        }
    }

    /// The term of the leader.
    pub const fn term(&self) -> Term {
        self.term
    }

    #[cfg(test)]
    pub(super) fn in_flight_count(&self) -> usize {
        self.in_flight.len()
    }

    /// Decides about a batch. Batches MUST be proposed in the order of these calls. `state` is the
    /// current applied state.
    pub fn admit(
        &mut self,
        state: &PartitionState,
        stamp: Option<ProducerStamp>,
        record_count: u32,
    ) -> Admission {
        let Some(stamp) = stamp else {
            return self.add_in_flight(None, record_count);
        };
        let ProducerStamp {
            id,
            epoch,
            base_sequence: found,
        } = stamp;
        // The expected sequence is the one after the batches in flight, if there are any, and
        // otherwise the one after the applied state. A producer may have several batches in flight:
        // checking them against the applied state alone would reject the second one as out of
        // order.
        self.remove_applied(state, id);
        let known = self.known(state, id);
        let expected = match known {
            Some((current, _)) if epoch < current => {
                return Admission::Reject(Rejection::Fenced {
                    current,
                    found: epoch,
                });
            }
            Some((current, expected)) if epoch == current => expected,
            // A new producer or a new epoch starts at sequence 0.
            _ => Sequence(0),
        };
        if found < expected {
            return self.duplicate_or_reject(state, stamp, record_count, expected);
        }
        if found > expected {
            return Admission::Reject(Rejection::OutOfOrder { expected, found });
        }
        if found.get().checked_add(u64::from(record_count)).is_none() {
            return Admission::Reject(Rejection::SequenceOverflow { found });
        }
        self.add_in_flight(Some(stamp), record_count)
    }

    /// Removes the applied batches of one producer from those in flight; now and then, of all
    /// producers.
    fn remove_applied(&mut self, state: &PartitionState, id: ProducerId) {
        if self.in_flight.len() >= self.sweep_at {
            self.in_flight
                .retain(|_, in_flight| in_flight.remove_applied(state.next_offset));
            self.sweep_at = PRODUCERS_PER_PARTITION_MAX_COUNT.max(self.in_flight.len() * 2);
        } else if let Some(in_flight) = self.in_flight.get_mut(&id)
            && !in_flight.remove_applied(state.next_offset)
        {
            self.in_flight.remove(&id);
        }
    }

    /// The newest epoch of a producer and its next expected sequence.
    fn known(&self, state: &PartitionState, id: ProducerId) -> Option<(ProducerEpoch, Sequence)> {
        let in_flight = self
            .in_flight
            .get(&id)
            .map(|f| (f.epoch, f.next_sequence()));
        in_flight.or_else(|| {
            state
                .producers
                .get(id)
                .map(|p| (p.epoch, p.next_sequence()))
        })
    }

    /// Decides about a batch below the expected sequence. It is a duplicate if base sequence and
    /// record count match a known batch exactly.
    fn duplicate_or_reject(
        &self,
        state: &PartitionState,
        stamp: ProducerStamp,
        record_count: u32,
        expected: Sequence,
    ) -> Admission {
        // A partial overlap is rejected: a retry always repeats the same batch, so an overlap means
        // that the producer has lost track of its sequences. Acknowledging it would drop records.
        let found = stamp.base_sequence;
        let applied = state
            .producers
            .get(stamp.id)
            .filter(|p| p.epoch == stamp.epoch);
        let in_flight = self
            .in_flight
            .get(&stamp.id)
            .and_then(|f| f.find(found, record_count));
        let known = in_flight.or_else(|| Some(applied?.find(found, record_count)?.base_offset));
        if let Some(base_offset) = known {
            return Admission::Duplicate { base_offset };
        }
        let oldest = applied
            .and_then(|p| p.spans.front())
            .map(|span| span.base_sequence.get());
        let end = found.get().saturating_add(u64::from(record_count));
        // The sequences of an epoch have no gap, and those below the remembered ones are applied.
        if oldest.is_some_and(|oldest| end <= oldest) {
            return Admission::Forgotten;
        }
        Admission::Reject(Rejection::OutOfOrder { expected, found })
    }

    /// Assigns the offsets of a batch and adds it to those in flight.
    fn add_in_flight(&mut self, stamp: Option<ProducerStamp>, record_count: u32) -> Admission {
        let base_offset = self.next_offset;
        self.next_offset = base_offset.plus(record_count);
        if let Some(ProducerStamp {
            id,
            epoch,
            base_sequence,
        }) = stamp
        {
            let in_flight = self.in_flight.entry(id).or_insert_with(|| InFlight {
                epoch,
                spans: VecDeque::new(),
            });
            if in_flight.epoch != epoch {
                in_flight.epoch = epoch;
                in_flight.spans.clear();
            }
            in_flight.spans.push_back(BatchSpan {
                base_sequence,
                record_count,
                base_offset,
            });
        }
        Admission::Propose { base_offset }
    }
}
