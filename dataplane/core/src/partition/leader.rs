//! What a leader lets into the log of its partition, so that each batch of an idempotent producer
//! stands there once and in order.
//!
//! A `LeaderState` is made once its node has applied the blank entry of its own term: every entry
//! of an earlier term is then in the partition's state. It is dropped when the term ends.

use std::collections::{BTreeMap, VecDeque};

use super::PartitionState;
use crate::entry::ProducerStamp;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::offset::{Offset, Term};
use crate::producer_table::{Appended, ProducerTable};
use crate::reason::Reason;

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Propose it: it counts as in flight from now on.
    Propose,
    /// It is in the log: answer with this place.
    Duplicate {
        /// The offset of its first record.
        base_offset: Offset,
        /// How many records it holds.
        record_count: u32,
    },
    /// It is proposed and not applied yet: answer when that has been, with
    /// [`LeaderState::place_of`].
    DuplicateInFlight,
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
    /// Base sequence and record count, in order, one at least.
    batches: VecDeque<(Sequence, u32)>,
}

impl InFlight {
    fn next_sequence(&self) -> Sequence {
        self.batches
            .back()
            .map_or(Sequence(0), |(base, count)| base.plus(*count))
    }

    fn holds(&self, base_sequence: Sequence, record_count: u32) -> bool {
        self.batches
            .binary_search(&(base_sequence, record_count))
            .is_ok()
    }
}

/// A leader's view of its partition's producers in one term: the applied ones, and on top of them
/// those whose batches are in flight.
#[derive(Clone, Debug)]
pub struct LeaderState {
    term: Term,
    applied: ProducerTable,
    /// The newest epoch in flight of each producer with batches in flight.
    in_flight: BTreeMap<ProducerId, InFlight>,
}

impl LeaderState {
    /// The view of a leader that has applied all entries of earlier terms.
    pub fn new(state: &PartitionState, term: Term) -> Self {
        Self {
            term,
            applied: state.producers.clone(),
            in_flight: BTreeMap::new(),
        }
    }

    /// The term that it is good for.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// Decides about a batch, in the order in which batches are proposed.
    pub fn admit(&mut self, stamp: Option<ProducerStamp>, record_count: u32) -> Admission {
        let Some(stamp) = stamp else {
            return Admission::Propose;
        };
        let ProducerStamp {
            id,
            epoch,
            base_sequence,
        } = stamp;
        let known = self.known(id);
        match known {
            Some((current, _)) if epoch < current => {
                return Admission::Reject(Rejection::Fenced {
                    current,
                    found: epoch,
                });
            }
            Some((current, expected)) if epoch == current && base_sequence < expected => {
                return self.seen(stamp, record_count, expected);
            }
            _ => {}
        }
        // A producer or an epoch not seen before starts at 0.
        let expected = known
            .filter(|(current, _)| epoch == *current)
            .map_or(Sequence(0), |(_, expected)| expected);
        if base_sequence != expected {
            return Admission::Reject(Rejection::OutOfOrder {
                expected,
                found: base_sequence,
            });
        }
        if base_sequence
            .get()
            .checked_add(u64::from(record_count))
            .is_none()
        {
            return Admission::Reject(Rejection::SequenceOverflow {
                found: base_sequence,
            });
        }
        self.launch(stamp, record_count);
        Admission::Propose
    }

    /// The newest epoch of a producer and the sequence that has to come next.
    fn known(&self, id: ProducerId) -> Option<(ProducerEpoch, Sequence)> {
        let flying = self
            .in_flight
            .get(&id)
            .map(|f| (f.epoch, f.next_sequence()));
        flying.or_else(|| self.applied.get(id).map(|p| (p.epoch, p.next_sequence())))
    }

    /// A batch that begins below what is expected: a duplicate, if it is exactly one that was.
    fn seen(&self, stamp: ProducerStamp, record_count: u32, expected: Sequence) -> Admission {
        let found = stamp.base_sequence;
        let flying = self.in_flight.get(&stamp.id);
        if flying.is_some_and(|f| f.holds(found, record_count)) {
            return Admission::DuplicateInFlight;
        }
        if let Some(base_offset) = self.place_of(stamp, record_count) {
            return Admission::Duplicate {
                base_offset,
                record_count,
            };
        }
        let oldest = self
            .applied
            .get(stamp.id)
            .filter(|state| state.epoch == stamp.epoch)
            .and_then(|state| state.spans.front())
            .map(|span| span.base_sequence);
        let end = found.get().checked_add(u64::from(record_count));
        match oldest {
            Some(oldest) if end.is_some_and(|end| end <= oldest.get()) => {
                Admission::Reject(Rejection::Forgotten { found })
            }
            _ => Admission::Reject(Rejection::OutOfOrder { expected, found }),
        }
    }

    fn launch(&mut self, stamp: ProducerStamp, record_count: u32) {
        let flying = self.in_flight.entry(stamp.id).or_insert_with(|| InFlight {
            epoch: stamp.epoch,
            batches: VecDeque::new(),
        });
        if flying.epoch != stamp.epoch {
            flying.epoch = stamp.epoch;
            flying.batches.clear();
        }
        flying
            .batches
            .push_back((stamp.base_sequence, record_count));
    }

    /// The offset of an applied batch, if it is remembered.
    pub fn place_of(&self, stamp: ProducerStamp, record_count: u32) -> Option<Offset> {
        let state = self
            .applied
            .get(stamp.id)
            .filter(|state| state.epoch == stamp.epoch)?;
        state
            .find(stamp.base_sequence, record_count)
            .map(|span| span.base_offset)
    }

    /// A batch admitted before has been applied. In log order.
    pub fn applied(&mut self, stamp: Option<ProducerStamp>, at: Appended) {
        let Some(stamp) = stamp else { return };
        self.applied.record(stamp, at);
        if let Some(flying) = self.in_flight.get_mut(&stamp.id)
            && flying.epoch == stamp.epoch
        {
            if flying.batches.front() == Some(&(stamp.base_sequence, at.record_count)) {
                flying.batches.pop_front();
            }
            if flying.batches.is_empty() {
                self.in_flight.remove(&stamp.id);
            }
        }
    }

    /// The batch admitted last did not enter the log, for certain: it is as if it never came.
    pub fn withdraw(&mut self, stamp: Option<ProducerStamp>, record_count: u32) {
        let Some(stamp) = stamp else { return };
        if let Some(flying) = self.in_flight.get_mut(&stamp.id)
            && flying.epoch == stamp.epoch
        {
            if flying.batches.back() == Some(&(stamp.base_sequence, record_count)) {
                flying.batches.pop_back();
            }
            if flying.batches.is_empty() {
                self.in_flight.remove(&stamp.id);
            }
        }
    }
}
