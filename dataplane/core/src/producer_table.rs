//! The idempotent producers of a partition, for deduplication.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::limits::{
    PRODUCER_BATCHES_MAX_COUNT, PRODUCER_IDLE_MAX, PRODUCERS_PER_PARTITION_MAX_COUNT,
};
use crate::offset::Offset;
use crate::{Entry, ProducerStamp};

/// The position of a batch in its producer's sequence and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpan {
    /// The sequence of the first record.
    pub base_sequence: Sequence,
    /// The number of records.
    pub record_count: u32,
    /// The offset of the first record.
    pub base_offset: Offset,
}

impl BatchSpan {
    /// The sequence after the batch.
    pub(crate) const fn next_sequence(&self) -> Sequence {
        self.base_sequence.plus(self.record_count)
    }
}

/// The state of a producer in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The newest epoch of the producer.
    pub epoch: ProducerEpoch,
    /// The append time of the last batch by its leader's clock, milliseconds since the Unix epoch.
    pub(crate) last_time_ms: i64,
    /// The last batches of the newest epoch, oldest first, at least one.
    pub(crate) spans: VecDeque<BatchSpan>,
}

impl ProducerState {
    /// The base sequence of the next batch.
    pub(crate) fn next_sequence(&self) -> Sequence {
        self.spans
            .back()
            .map_or(Sequence(0), BatchSpan::next_sequence)
    }

    /// The remembered batch with exactly this base sequence and record count, if there is one.
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

/// The producers of a partition, with bounds on their number, their batches and their age.
///
/// The table is a function of the partition's log alone. Eviction therefore uses the append times
/// and offsets in the log, never a local clock or memory pressure: a new leader must recognize the
/// same duplicates as the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, ProducerState>,
    /// The producers by the offset of their last batch. The first is the next to be evicted.
    by_last_offset: BTreeMap<Offset, ProducerId>,
}

impl ProducerTable {
    /// The state of a producer, if it is remembered.
    pub fn get(&self, id: ProducerId) -> Option<&ProducerState> {
        self.producers.get(&id)
    }

    /// The number of remembered producers.
    pub(crate) fn len(&self) -> usize {
        self.producers.len()
    }

    /// The remembered producers, by id.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (ProducerId, &ProducerState)> {
        self.producers.iter().map(|(id, state)| (*id, state))
    }

    /// Records a committed batch. MUST be called in log order.
    pub(crate) fn record(&mut self, stamp: ProducerStamp, at: Appended) {
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
            // The window of remembered batches bounds how late a retry is recognized. A client has
            // at most `PRODUCER_BATCHES_MAX_COUNT` batches in flight, so a batch that it may still
            // retry is never older than the window. A new epoch starts its sequences at 0, and the
            // leader rejects batches of older epochs, so their windows are not needed.
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
        self.evict(append_time_ms);
    }

    /// Evicts the producers above the limit, and those that are idle at `now_ms`, a time of the
    /// log.
    fn evict(&mut self, now_ms: i64) {
        // An evicted producer that writes again gets OUT_OF_ORDER_SEQUENCE, since an unknown
        // producer must start at sequence 0. Only a retry of a batch with sequence 0 would not be
        // recognized after an eviction; a client stops its retries long before the producer counts
        // as idle.
        while let Some((&offset, &id)) = self.by_last_offset.first_key_value() {
            let is_above_limit = self.producers.len() > PRODUCERS_PER_PARTITION_MAX_COUNT;
            let is_idle = self
                .producers
                .get(&id)
                .is_some_and(|p| has_been_idle(p.last_time_ms, now_ms));
            if !is_above_limit && !is_idle {
                return;
            }
            self.by_last_offset.remove(&offset);
            self.producers.remove(&id);
        }
    }

    /// Restores a producer from a checkpoint. Returns false if its batches are inconsistent.
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

/// A batch as it was appended to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The number of records.
    pub(crate) record_count: u32,
    /// The offset of the first record.
    pub(crate) base_offset: Offset,
    /// The append time by the leader's clock, milliseconds since the Unix epoch.
    pub(crate) append_time_ms: i64,
}

impl Appended {
    /// The batch of a `Records` entry.
    pub(crate) const fn of(entry: &Entry) -> Self {
        Self {
            record_count: entry.proposal.record_count,
            base_offset: entry.base_offset,
            append_time_ms: entry.proposal.append_time_ms,
        }
    }
}

fn has_been_idle(last_time_ms: i64, now_ms: i64) -> bool {
    let idle_ms = now_ms.saturating_sub(last_time_ms);
    u128::try_from(idle_ms).is_ok_and(|ms| ms > PRODUCER_IDLE_MAX.as_millis())
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
    fn only_the_last_batches_are_remembered() {
        let mut table = ProducerTable::default();
        let kept_count = PRODUCER_BATCHES_MAX_COUNT as u64;
        for n in 0..=kept_count {
            table.record(stamp(1, 0, n), at(n, 0));
        }
        let state = table.get(ProducerId(1)).unwrap();
        assert_eq!(state.find(Sequence(0), 1), None);
        assert_eq!(state.find(Sequence(1), 1).unwrap().base_offset, Offset(1));
        assert_eq!(state.find(Sequence(1), 2), None);
        assert_eq!(state.next_sequence(), Sequence(kept_count + 1));
    }

    #[test]
    fn the_producer_with_the_oldest_last_batch_is_evicted_first() {
        let mut table = ProducerTable::default();
        let max_count = PRODUCERS_PER_PARTITION_MAX_COUNT as u64;
        for n in 0..max_count {
            table.record(stamp(n, 0, 0), at(n, 0));
        }
        table.record(stamp(0, 0, 1), at(max_count, 0));
        table.record(stamp(max_count, 0, 0), at(max_count + 1, 0));
        assert_eq!(table.len(), PRODUCERS_PER_PARTITION_MAX_COUNT);
        assert!(table.get(ProducerId(0)).is_some());
        assert!(table.get(ProducerId(1)).is_none());
    }

    #[test]
    fn an_idle_producer_is_evicted_when_another_one_writes() {
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
    fn a_new_epoch_replaces_the_batches_of_the_old_one() {
        let mut table = ProducerTable::default();
        table.record(stamp(1, 0, 0), at(0, 0));
        table.record(stamp(1, 1, 0), at(1, 0));
        let state = table.get(ProducerId(1)).unwrap();
        assert_eq!(state.epoch, ProducerEpoch(1));
        assert_eq!(state.find(Sequence(0), 1).unwrap().base_offset, Offset(1));
        assert_eq!(state.next_sequence(), Sequence(1));
    }
}
