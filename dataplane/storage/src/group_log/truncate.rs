//! Removal from the state of a log: truncation of the suffix, purge of the prefix, reset.

use std::sync::Arc;

use lograft_core::{LogId, LogIndex, Offset};

use super::log_state::{LogState, StateInputs};
use super::term_runs::TermRuns;
use crate::checkpoint::Checkpoint;
use crate::format::{SEGMENT_HEADER_BYTES, entry_size_bytes};
use crate::op::{FlushCallback, Op, Reset, SealedSegment, Truncation};

/// The place of an entry in the log: the position in its segment file and its base offset.
#[derive(Clone, Copy)]
pub(crate) struct EntryPlace {
    pub(crate) position: u64,
    pub(crate) base_offset: Offset,
}

impl LogState {
    /// The first index that a truncation after `keep` removes; `None` if it removes nothing.
    pub(crate) fn first_truncated(&self, keep: Option<LogId>) -> Option<LogIndex> {
        let end = keep
            .map_or(LogIndex::ZERO, |keep| keep.index.next())
            .max(self.first_index());
        (end < self.end_index()).then_some(end)
    }

    /// The place of the entry at `index`, if it and all later ones of its segment are cached, or if
    /// it is the first of its segment.
    pub(crate) fn place_without_read(&self, index: LogIndex) -> Option<EntryPlace> {
        let extent = &self.segments[self.segment_of(index)?];
        if extent.segment.base == index {
            return Some(EntryPlace {
                position: SEGMENT_HEADER_BYTES,
                base_offset: extent.segment.base_offset,
            });
        }
        if self.cache.first_index()? > index {
            return None;
        }
        let mut base_offset = None;
        let last = extent.last?.index;
        let bytes: u64 = self
            .cache
            .entries_from_index(index)
            .take_while(|entry| entry.id.index <= last)
            .inspect(|entry| {
                base_offset.get_or_insert(entry.base_offset);
            })
            .map(|entry| entry_size_bytes(entry.proposal.payload.len()))
            .sum();
        Some(EntryPlace {
            position: extent.end_position - bytes,
            base_offset: base_offset?,
        })
    }

    /// Removes all entries from `index` (inclusive), whose place is `place`.
    // The log continues in a new segment with a new uid, never behind the cut in the old file. So
    // a flushed entry is never overwritten in place, and a removed entry that a crash leaves on
    // disk cannot be mistaken for a later entry of the same index.
    pub(crate) fn truncate_from(
        &mut self,
        index: LogIndex,
        place: EntryPlace,
        inputs: &StateInputs<'_>,
    ) -> Truncation {
        self.truncation_epoch += 1;
        // The cache in the same step as the log: a reader must not get a removed entry from it.
        self.cache.truncate_from(index, inputs.cache_budget);
        let keep = index.prev().and_then(|index| {
            Some(LogId {
                term: self.term_at(index)?,
                index,
            })
        });
        let mut removed = Vec::new();
        while self
            .segments
            .back()
            .is_some_and(|extent| extent.segment.base >= index)
        {
            removed.extend(self.segments.pop_back().map(|extent| extent.segment));
        }
        self.terms.truncate_from(index);
        self.last = keep.or(self.purged);
        self.next_offset = place.base_offset;
        self.flushed_end = self.flushed_end.min(index);
        let shortened = keep.and_then(|last| self.shorten_last_segment(last, place));
        let checkpoints = self.checkpoints.split_off(&index).into_keys().collect();
        let starts_log = self.segments.is_empty();
        let uid = inputs.fs.random_u64();
        let next = self.begin_segment(self.sizes.min_bytes, starts_log, uid);
        Truncation {
            shortened,
            removed,
            checkpoints,
            next,
            epoch: self.truncation_epoch,
        }
    }

    /// Cuts the last segment behind the entry `last`, before the one at `place`, and seals it.
    fn shorten_last_segment(&mut self, last: LogId, place: EntryPlace) -> Option<SealedSegment> {
        let extent = self.segments.back_mut()?;
        if extent.end_position > place.position
            && extent.last.is_some_and(|old| old.index > last.index)
        {
            extent.end_position = place.position;
            extent.next_offset = place.base_offset;
            extent.last = Some(last);
            // It may be that of an entry that is cut off.
            extent.append_time_ms = None;
            extent.points.retain(|point| point.index <= last.index);
        }
        let terms = self.terms.within(extent.segment.base, last.index);
        Some(SealedSegment {
            extent: extent.clone(),
            terms,
        })
    }

    /// Records that raft has purged up to `id` (inclusive). Returns a reset if `id` is beyond the
    /// end of the log.
    pub(crate) fn purge_to(&mut self, id: LogId, inputs: &StateInputs<'_>) -> Option<Reset> {
        if self.purged.is_some_and(|purged| purged.index >= id.index) {
            return None;
        }
        if self.end_index() <= id.index {
            return Some(self.restart(id, self.next_offset, inputs));
        }
        self.purged = Some(id);
        None
    }

    /// Takes out the segments and checkpoints that are not needed any more.
    // A segment may go only if a checkpoint that is on disk covers its entries: without the
    // checkpoint, a restart could not rebuild the derived state (producers, offsets), because the
    // entries to rebuild it from would be gone. The last segment stays: its header holds the id
    // and the offset at which the log continues.
    pub(crate) fn take_purged(&mut self) -> Option<Op> {
        let purged = self.purged?.index;
        let newest_on_disk = self
            .checkpoints
            .iter()
            .rev()
            .find(|(_, held)| held.is_none());
        let covered = purged.min(*newest_on_disk?.0);
        let mut segments = Vec::new();
        while self.segments.len() > 1 && self.segments[1].segment.base.prev() <= Some(covered) {
            segments.extend(self.segments.pop_front().map(|extent| extent.segment));
        }
        if segments.is_empty() {
            return None;
        }
        let first = self.first_index_in_files();
        self.terms.drop_below(first);
        // The checkpoint of the entry before the first one stays: it is the state at which the
        // remaining log starts.
        let start = first.prev().unwrap_or_default();
        let checkpoints: Vec<LogIndex> = self
            .checkpoints
            .range(..start)
            .map(|(index, _)| *index)
            .collect();
        for index in &checkpoints {
            self.checkpoints.remove(index);
        }
        Some(Op::Purge {
            segments,
            checkpoints,
        })
    }

    /// Empties the log, which continues after `checkpoint`.
    pub(crate) fn reset_to(
        &mut self,
        checkpoint: Checkpoint,
        inputs: &StateInputs<'_>,
        done: FlushCallback,
    ) -> Reset {
        let mut reset = self.restart(checkpoint.last, checkpoint.next_offset, inputs);
        let checkpoint = Arc::new(checkpoint);
        self.checkpoints
            .insert(checkpoint.last.index, Some(Arc::clone(&checkpoint)));
        reset.checkpoint = Some(checkpoint);
        reset.done = Some(done);
        reset
    }

    fn restart(&mut self, after: LogId, next_offset: Offset, inputs: &StateInputs<'_>) -> Reset {
        self.truncation_epoch += 1;
        self.cache
            .truncate_from(LogIndex::ZERO, inputs.cache_budget);
        self.terms = TermRuns::default();
        let removed = self
            .segments
            .drain(..)
            .rev()
            .map(|extent| extent.segment)
            .collect();
        let checkpoints = std::mem::take(&mut self.checkpoints).into_keys().collect();
        self.purged = Some(after);
        self.last = self.purged;
        self.next_offset = next_offset;
        self.flushed_end = self.end_index();
        let next = self.begin_segment(self.sizes.min_bytes, true, inputs.fs.random_u64());
        Reset {
            checkpoint: None,
            removed,
            checkpoints,
            next,
            done: None,
        }
    }
}
