//! What a partition remembers of its idempotent producers.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::limits::{
    PRODUCER_BATCHES_MAX_COUNT, PRODUCER_IDLE_MAX, PRODUCERS_PER_PARTITION_MAX_COUNT,
};
use crate::offset::Offset;
use crate::{Entry, ProducerStamp};

/// A batch that stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpan {
    /// The sequence of its first record.
    pub base_sequence: Sequence,
    /// How many records it holds.
    pub record_count: u32,
    /// The offset of its first record.
    pub base_offset: Offset,
}

impl BatchSpan {
    /// The sequence that follows the batch.
    pub const fn next_sequence(&self) -> Sequence {
        self.base_sequence.plus(self.record_count)
    }
}

/// One producer's state in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// When its last batch was appended, milliseconds since the Unix epoch; the leader's clock.
    pub last_time_ms: i64,
    /// Its last batches, oldest first, one at least, all of the newest epoch.
    pub(crate) spans: VecDeque<BatchSpan>,
}

impl ProducerState {
    /// The sequence that its next batch must begin with.
    pub fn next_sequence(&self) -> Sequence {
        self.spans
            .back()
            .map_or(Sequence(0), BatchSpan::next_sequence)
    }

    /// The remembered batch with exactly this place, if there is one.
    pub fn find(&self, base_sequence: Sequence, record_count: u32) -> Option<BatchSpan> {
        let at = self
            .spans
            .binary_search_by_key(&base_sequence, |span| span.base_sequence)
            .ok()?;
        self.spans
            .get(at)
            .filter(|span| span.record_count == record_count)
            .copied()
    }

    fn last_offset(&self) -> Offset {
        self.spans
            .back()
            .map_or(Offset::ZERO, |span| span.base_offset)
    }
}

/// The producers of a partition, a pure function of its log: bounded in number, batches and age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, ProducerState>,
    /// The producers by the offset of their last batch: the first is the one longest silent.
    by_last_offset: BTreeMap<Offset, ProducerId>,
}

impl ProducerTable {
    /// One producer's state.
    pub fn get(&self, id: ProducerId) -> Option<&ProducerState> {
        self.producers.get(&id)
    }

    /// How many producers it remembers.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether it remembers none.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// All of them, by id.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (ProducerId, &ProducerState)> {
        self.producers.iter().map(|(id, state)| (*id, state))
    }

    /// Takes in a batch that stands in the log, in log order.
    pub fn record(&mut self, stamp: ProducerStamp, at: Appended) {
        let Appended {
            record_count,
            base_offset,
            append_time_ms,
        } = at;
        let base_sequence = stamp.base_sequence;
        let span = BatchSpan {
            base_sequence,
            record_count,
            base_offset,
        };
        if let Some(state) = self.producers.get_mut(&stamp.id) {
            self.by_last_offset.remove(&state.last_offset());
            if state.epoch != stamp.epoch {
                state.epoch = stamp.epoch;
                state.spans.clear();
            }
            if state.spans.len() == PRODUCER_BATCHES_MAX_COUNT {
                state.spans.pop_front();
            }
            state.spans.push_back(span);
            state.last_time_ms = append_time_ms;
        } else {
            let spans = VecDeque::from([span]);
            let state = ProducerState {
                epoch: stamp.epoch,
                last_time_ms: append_time_ms,
                spans,
            };
            self.producers.insert(stamp.id, state);
        }
        self.by_last_offset.insert(base_offset, stamp.id);
        self.forget(append_time_ms);
    }

    /// Forgets those above the count, and those silent for too long by the log's own time.
    fn forget(&mut self, now_ms: i64) {
        while let Some((&offset, &id)) = self.by_last_offset.first_key_value() {
            let above = self.producers.len() > PRODUCERS_PER_PARTITION_MAX_COUNT;
            let silent = self
                .producers
                .get(&id)
                .is_some_and(|p| is_idle(p.last_time_ms, now_ms));
            if !above && !silent {
                return;
            }
            self.by_last_offset.remove(&offset);
            self.producers.remove(&id);
        }
    }

    /// Puts back one producer from a checkpoint; `false` if it cannot be one of this table.
    pub(crate) fn restore(&mut self, id: ProducerId, state: ProducerState) -> bool {
        let in_order = |pair: (&BatchSpan, &BatchSpan)| {
            pair.0.base_offset < pair.1.base_offset
                && pair.0.next_sequence() <= pair.1.base_sequence
        };
        let fits = !state.spans.is_empty()
            && state.spans.len() <= PRODUCER_BATCHES_MAX_COUNT
            && state
                .spans
                .iter()
                .zip(state.spans.iter().skip(1))
                .all(in_order);
        fits && self
            .by_last_offset
            .insert(state.last_offset(), id)
            .is_none()
            && self.producers.insert(id, state).is_none()
    }
}

/// Where a batch came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// How many records it holds.
    pub record_count: u32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// When its leader took it, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

impl Appended {
    /// That of a `Records` entry.
    pub const fn of(entry: &Entry) -> Self {
        Self {
            record_count: entry.proposal.record_count,
            base_offset: entry.base_offset,
            append_time_ms: entry.proposal.append_time_ms,
        }
    }
}

fn is_idle(last_time_ms: i64, now_ms: i64) -> bool {
    let silent_ms = now_ms.saturating_sub(last_time_ms);
    u128::try_from(silent_ms).is_ok_and(|ms| ms > PRODUCER_IDLE_MAX.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(id: u64, epoch: u32, sequence: u64) -> ProducerStamp {
        ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
        }
    }

    fn at(base_offset: u64, append_time_ms: i64) -> Appended {
        Appended {
            record_count: 1,
            base_offset: Offset(base_offset),
            append_time_ms,
        }
    }

    #[test]
    fn keeps_the_last_batches_only() {
        let mut table = ProducerTable::default();
        let kept = PRODUCER_BATCHES_MAX_COUNT as u64;
        for n in 0..=kept {
            table.record(stamp(1, 0, n), at(n, 0));
        }
        let state = table.get(ProducerId(1)).unwrap();
        assert_eq!(state.find(Sequence(0), 1), None);
        assert_eq!(state.find(Sequence(1), 1).unwrap().base_offset, Offset(1));
        assert_eq!(state.find(Sequence(1), 2), None);
        assert_eq!(state.next_sequence(), Sequence(kept + 1));
    }

    #[test]
    fn the_longest_silent_producer_goes_first() {
        let mut table = ProducerTable::default();
        let most = PRODUCERS_PER_PARTITION_MAX_COUNT as u64;
        for n in 0..most {
            table.record(stamp(n, 0, 0), at(n, 0));
        }
        table.record(stamp(0, 0, 1), at(most, 0));
        table.record(stamp(most, 0, 0), at(most + 1, 0));
        assert_eq!(table.len(), PRODUCERS_PER_PARTITION_MAX_COUNT);
        assert!(table.get(ProducerId(0)).is_some());
        assert!(table.get(ProducerId(1)).is_none());
    }

    #[test]
    fn an_idle_producer_is_forgotten_when_another_writes() {
        let mut table = ProducerTable::default();
        let idle_ms = i64::try_from(PRODUCER_IDLE_MAX.as_millis()).unwrap();
        table.record(stamp(1, 0, 0), at(0, 1000));
        table.record(stamp(2, 0, 0), at(1, 1000 + idle_ms));
        assert_eq!(table.len(), 2);
        table.record(stamp(2, 0, 1), at(2, 1001 + idle_ms));
        assert!(table.get(ProducerId(1)).is_none());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_new_epoch_forgets_the_batches_of_the_old() {
        let mut table = ProducerTable::default();
        table.record(stamp(1, 0, 0), at(0, 0));
        table.record(stamp(1, 1, 0), at(1, 0));
        let state = table.get(ProducerId(1)).unwrap();
        assert_eq!(state.epoch, ProducerEpoch(1));
        assert_eq!(state.find(Sequence(0), 1).unwrap().base_offset, Offset(1));
        assert_eq!(state.next_sequence(), Sequence(1));
    }
}
