//! The log of a group as its callers see it: ahead of the disk by the operations that are queued
//! for its writer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use lograft_core::{GroupId, LogId, LogIndex, Offset, Term};

use super::term_runs::TermRuns;
use crate::checkpoint::Checkpoint;
use crate::format::SegmentFacts;
use crate::fs::Fs;
use crate::hard_state::HardState;
use crate::segment::{Segment, SegmentExtent};
use crate::tail_cache::{CacheBudget, TailCache};

/// What a change of the state uses from outside: the cache budget, and the file system for the
/// random uids of new segments.
pub(crate) struct StateInputs<'a> {
    pub(crate) cache_budget: &'a CacheBudget,
    pub(crate) fs: &'a dyn Fs,
}

/// The sizes of a group's segments, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentSizes {
    pub(crate) min_bytes: u64,
    pub(crate) max_bytes: u64,
}

pub(crate) struct LogState {
    pub(crate) group: GroupId,
    pub(crate) sizes: SegmentSizes,
    /// The last id that raft has purged; the files may still hold older entries.
    pub(crate) purged: Option<LogId>,
    /// The last id of the log; of an empty log, `purged`.
    pub(crate) last: Option<LogId>,
    /// The index of the first entry ever; 0 unless raft started elsewhere.
    pub(crate) origin: LogIndex,
    /// The log end offset (exclusive).
    pub(crate) next_offset: Offset,
    /// Entries below this index are on disk.
    pub(crate) flushed_end: LogIndex,
    /// Counts the truncations and resets. An append keeps the epoch at which it was made.
    // Without the epoch, a flush of entries that were truncated while it was under way would mark
    // the new entries at the same indexes as on disk, and a leader would count this replica
    // towards a majority for entries that it has only in memory.
    pub(crate) truncation_epoch: u64,
    /// Oldest first; appends go to the last one. Empty before the first entry.
    pub(crate) segments: VecDeque<SegmentExtent>,
    pub(crate) terms: TermRuns,
    pub(crate) cache: TailCache,
    pub(crate) hard: HardState,
    /// A `SaveCommitted` operation is queued.
    pub(crate) committed_queued: bool,
    /// Checkpoints by the index of their last entry; `Some` until they are on disk.
    pub(crate) checkpoints: BTreeMap<LogIndex, Option<Arc<Checkpoint>>>,
    /// The group is registered for cache eviction.
    pub(crate) is_caching: bool,
    /// Since when operations have been waiting for room on the disk; `None` if none wait.
    pub(crate) parked_since: Option<Instant>,
    pub(crate) closed: bool,
}

impl LogState {
    pub(crate) fn new(group: GroupId, sizes: SegmentSizes) -> Self {
        Self {
            group,
            sizes,
            purged: None,
            last: None,
            origin: LogIndex::ZERO,
            next_offset: Offset::ZERO,
            flushed_end: LogIndex::ZERO,
            truncation_epoch: 0,
            segments: VecDeque::new(),
            terms: TermRuns::default(),
            cache: TailCache::default(),
            hard: HardState::default(),
            committed_queued: false,
            checkpoints: BTreeMap::new(),
            is_caching: false,
            parked_since: None,
            closed: false,
        }
    }

    /// The index of the next entry (the exclusive end of the log).
    pub(crate) fn end_index(&self) -> LogIndex {
        self.last.map_or(self.origin, |last| last.index.next())
    }

    /// The first index in the files, purged or not.
    pub(crate) fn first_index_in_files(&self) -> LogIndex {
        self.segments
            .front()
            .map_or(self.end_index(), |extent| extent.segment.base)
    }

    /// The first offset in the files.
    pub(crate) fn first_offset(&self) -> Offset {
        self.segments
            .front()
            .map_or(self.next_offset, |extent| extent.segment.base_offset)
    }

    /// The first index that is not purged.
    pub(crate) fn first_index(&self) -> LogIndex {
        self.purged
            .map_or(self.first_index_in_files(), |purged| purged.index.next())
    }

    /// The term at `index`; also known for the last purged entry.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if let Some(purged) = self.purged
            && purged.index == index
        {
            return Some(purged.term);
        }
        if index < self.first_index_in_files() {
            let before = self.segments.front()?.segment.prev?;
            return (before.index == index).then_some(before.term);
        }
        if index >= self.end_index() {
            return None;
        }
        self.terms.at(index)
    }

    /// The position in `segments` of the one that holds `index`.
    pub(crate) fn segment_of(&self, index: LogIndex) -> Option<usize> {
        self.segments
            .partition_point(|extent| extent.segment.base <= index)
            .checked_sub(1)
    }

    /// The position in `segments` of the one that holds `offset`.
    pub(crate) fn segment_of_offset(&self, offset: Offset) -> Option<usize> {
        self.segments
            .partition_point(|extent| extent.segment.base_offset <= offset)
            .checked_sub(1)
    }

    /// Whether exactly this segment, by its uid, is still part of the log.
    pub(crate) fn has_segment(&self, segment: &Segment) -> bool {
        self.segment_of(segment.base)
            .is_some_and(|at| self.segments[at].segment.uid == segment.uid)
    }

    /// Adds an empty segment at the end of the log.
    pub(super) fn begin_segment(
        &mut self,
        capacity_bytes: u64,
        starts_log: bool,
        uid: u64,
    ) -> Arc<Segment> {
        let segment = Segment::new(SegmentFacts {
            base: self.end_index(),
            base_offset: self.next_offset,
            prev: self.last,
            uid,
            capacity_bytes: capacity_bytes.min(self.sizes.max_bytes),
            starts_log,
        });
        self.segments
            .push_back(SegmentExtent::empty(Arc::clone(&segment)));
        segment
    }

    /// Records that all entries below `end` are on disk; ignored if the log was truncated since
    /// `truncation_epoch`.
    pub(crate) fn advance_flushed_end(&mut self, end: LogIndex, truncation_epoch: u64) {
        if truncation_epoch == self.truncation_epoch {
            self.flushed_end = self.flushed_end.max(end);
        }
    }

    /// Drops the points of a sealed segment from memory: its index file is written.
    pub(crate) fn index_written(&mut self, uid: u64) {
        let count = self.segments.len();
        let sealed = self.segments.iter_mut().take(count.saturating_sub(1));
        if let Some(extent) = sealed.rev().find(|extent| extent.segment.uid == uid) {
            extent.points = Vec::new();
            extent.index_on_disk = true;
        }
    }

    /// Drops a checkpoint from memory: its file is written. Ignored if another checkpoint has
    /// replaced it.
    pub(crate) fn checkpoint_written(&mut self, written: &Arc<Checkpoint>) {
        if let Some(held) = self.checkpoints.get_mut(&written.last.index)
            && held.as_ref().is_some_and(|held| Arc::ptr_eq(held, written))
        {
            *held = None;
        }
    }
}
