//! What a leader lets into the log of its partition, so that each batch of an idempotent producer
//! stands there once and in order.
//!
//! A `LeaderState` is made once its node has applied the blank entry of its own term: every entry
//! of an earlier term is then in the partition's state. It is dropped when the term ends. All
//! batches of the term pass through it, so it knows where each of them will stand.

use std::collections::{BTreeMap, VecDeque};

use super::PartitionState;
use crate::entry::ProducerStamp;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::limits::PRODUCERS_PER_PARTITION_MAX_COUNT;
use crate::offset::{Offset, Term};
use crate::producer_table::BatchSpan;
use crate::reason::Reason;

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Propose it: it counts as in flight from now on.
    Propose {
        /// The offset that its first record will have.
        base_offset: Offset,
    },
    /// It is in the log or on its way there: answer with this place once the high watermark is
    /// past the batch.
    Duplicate {
        /// The offset of its first record.
        base_offset: Offset,
    },
    /// Refuse it.
    Reject(Rejection),
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A batch is missing before it, or it overlaps with one.
    #[error("base sequence {found} does not follow; expected {expected}")]
    OutOfOrder {
        /// The base sequence that has to come.
        expected: Sequence,
        /// The one that came.
        found: Sequence,
    },
    /// It was appended longer ago than places are remembered.
    #[error("base sequence {found} was appended too long ago to tell its offset")]
    Forgotten {
        /// Its base sequence.
        found: Sequence,
    },
    /// A newer incarnation of the producer is at work.
    #[error("producer epoch {found} is fenced by {current}")]
    Fenced {
        /// The newest epoch.
        current: ProducerEpoch,
        /// The batch's.
        found: ProducerEpoch,
    },
    /// The sequences of the epoch are used up.
    #[error("base sequence {found} leaves no room for the batch")]
    SequenceOverflow {
        /// Its base sequence.
        found: Sequence,
    },
}

impl Rejection {
    /// What a client is told.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OutOfOrder { .. } => Reason::OutOfOrderSequence,
            Self::Forgotten { .. } => Reason::DuplicateSequence,
            Self::Fenced { .. } => Reason::ProducerFenced,
            Self::SequenceOverflow { .. } => Reason::InvalidArgument,
        }
    }
}

/// Batches of one producer epoch that are proposed and not applied.
#[derive(Clone, Debug)]
struct InFlight {
    epoch: ProducerEpoch,
    /// In order, one at least, with the places that they will have.
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

    /// Forgets what stands below the high watermark: the applied state knows it. Returns whether
    /// anything is left.
    fn settle(&mut self, high_watermark: Offset) -> bool {
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

/// What a leader has proposed in its term on top of the applied state.
#[derive(Clone, Debug)]
pub struct LeaderState {
    term: Term,
    /// The offset that the next batch will get.
    next_offset: Offset,
    /// The newest epoch in flight of each producer with batches in flight.
    in_flight: BTreeMap<ProducerId, InFlight>,
    /// How many producers to have before those are looked for that have nothing left in flight.
    sweep_at: usize,
}

impl LeaderState {
    /// That of a leader that has applied all entries of earlier terms and proposed no batch yet.
    pub const fn new(state: &PartitionState, term: Term) -> Self {
        Self {
            term,
            next_offset: state.next_offset,
            in_flight: BTreeMap::new(),
            sweep_at: PRODUCERS_PER_PARTITION_MAX_COUNT,
        }
    }

    /// The term that it is good for.
    pub const fn term(&self) -> Term {
        self.term
    }

    #[cfg(test)]
    pub(super) fn in_flight_count(&self) -> usize {
        self.in_flight.len()
    }

    /// Decides about a batch, in the order in which batches are proposed. `state` is what has been
    /// applied by now.
    pub fn admit(
        &mut self,
        state: &PartitionState,
        stamp: Option<ProducerStamp>,
        record_count: u32,
    ) -> Admission {
        let Some(stamp) = stamp else {
            return self.launch(None, record_count);
        };
        let ProducerStamp {
            id,
            epoch,
            base_sequence: found,
        } = stamp;
        self.settle(state, id);
        let known = self.known(state, id);
        let expected = match known {
            Some((current, _)) if epoch < current => {
                return Admission::Reject(Rejection::Fenced {
                    current,
                    found: epoch,
                });
            }
            Some((current, expected)) if epoch == current => expected,
            // A producer or an epoch not seen before starts at 0.
            _ => Sequence(0),
        };
        if found < expected {
            return self.seen(state, stamp, record_count, expected);
        }
        if found > expected {
            return Admission::Reject(Rejection::OutOfOrder { expected, found });
        }
        if found.get().checked_add(u64::from(record_count)).is_none() {
            return Admission::Reject(Rejection::SequenceOverflow { found });
        }
        self.launch(Some(stamp), record_count)
    }

    /// Forgets what is no longer in flight of one producer; at times, of all.
    fn settle(&mut self, state: &PartitionState, id: ProducerId) {
        if self.in_flight.len() >= self.sweep_at {
            self.in_flight
                .retain(|_, flying| flying.settle(state.next_offset));
            self.sweep_at = PRODUCERS_PER_PARTITION_MAX_COUNT.max(self.in_flight.len() * 2);
        } else if let Some(flying) = self.in_flight.get_mut(&id)
            && !flying.settle(state.next_offset)
        {
            self.in_flight.remove(&id);
        }
    }

    /// The newest epoch of a producer and the sequence that has to come next.
    fn known(&self, state: &PartitionState, id: ProducerId) -> Option<(ProducerEpoch, Sequence)> {
        let flying = self
            .in_flight
            .get(&id)
            .map(|f| (f.epoch, f.next_sequence()));
        flying.or_else(|| {
            state
                .producers
                .get(id)
                .map(|p| (p.epoch, p.next_sequence()))
        })
    }

    /// A batch that begins below what is expected: a duplicate, if it is exactly one that was.
    fn seen(
        &self,
        state: &PartitionState,
        stamp: ProducerStamp,
        record_count: u32,
        expected: Sequence,
    ) -> Admission {
        let found = stamp.base_sequence;
        let applied = state
            .producers
            .get(stamp.id)
            .filter(|p| p.epoch == stamp.epoch);
        let flying = self
            .in_flight
            .get(&stamp.id)
            .and_then(|f| f.find(found, record_count));
        let place = flying.or_else(|| Some(applied?.find(found, record_count)?.base_offset));
        if let Some(base_offset) = place {
            return Admission::Duplicate { base_offset };
        }
        let oldest = applied
            .and_then(|p| p.spans.front())
            .map(|span| span.base_sequence.get());
        let end = found.get().saturating_add(u64::from(record_count));
        if oldest.is_some_and(|oldest| end <= oldest) {
            return Admission::Reject(Rejection::Forgotten { found });
        }
        Admission::Reject(Rejection::OutOfOrder { expected, found })
    }

    fn launch(&mut self, stamp: Option<ProducerStamp>, record_count: u32) -> Admission {
        let base_offset = self.next_offset;
        self.next_offset = base_offset.plus(record_count);
        if let Some(ProducerStamp {
            id,
            epoch,
            base_sequence,
        }) = stamp
        {
            let flying = self.in_flight.entry(id).or_insert_with(|| InFlight {
                epoch,
                spans: VecDeque::new(),
            });
            if flying.epoch != epoch {
                flying.epoch = epoch;
                flying.spans.clear();
            }
            flying.spans.push_back(BatchSpan {
                base_sequence,
                record_count,
                base_offset,
            });
        }
        Admission::Propose { base_offset }
    }
}
