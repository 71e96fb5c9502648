//! A group's log as the callers see it: ahead of the disk by what its writer has not done yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lograft_core::limits::{BATCH_MAX_BYTES, ENTRY_MAX_BYTES};
use lograft_core::{Entry, EntryKind, GroupId, LogId, LogIndex, Offset, Term};

use super::term_runs::TermRuns;
use crate::checkpoint::Checkpoint;
use crate::error::StorageError;
use crate::format::{SEGMENT_HEADER_BYTES, entry_size_bytes};
use crate::fs::Fs;
use crate::hard_state::HardState;
use crate::op::{FlushCallback, Op, Reset, Sealed, Truncation};
use crate::segment::{Filled, Segment, SegmentFacts};
use crate::tail_cache::{CacheBudget, TailCache};

/// What changes of the state need from outside.
pub(crate) struct Context<'a> {
    pub(crate) budget: &'a CacheBudget,
    pub(crate) fs: &'a dyn Fs,
}

/// How large segments are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentSizes {
    pub(crate) min_bytes: u64,
    pub(crate) max_bytes: u64,
}

/// The factor between a segment's size and the next one's.
const GROWTH: u64 = 4;

pub(crate) struct LogState {
    pub(crate) group: GroupId,
    pub(crate) sizes: SegmentSizes,
    /// The last id purged, as raft asked for; the files may begin earlier.
    pub(crate) purged: Option<LogId>,
    /// The log's last id; `purged` while it is empty.
    pub(crate) last: Option<LogId>,
    /// The index of the first entry there ever was; 0 unless raft began elsewhere.
    pub(crate) origin: LogIndex,
    /// The log end offset.
    pub(crate) next_offset: Offset,
    /// Entries below are on disk.
    pub(crate) flushed_end: LogIndex,
    /// Counts the cuts, so that a flush from before a cut moves nothing after it.
    pub(crate) era: u64,
    /// Oldest first; entries go into the last one. Empty before the first entry.
    pub(crate) segments: VecDeque<Filled>,
    pub(crate) terms: TermRuns,
    pub(crate) cache: TailCache,
    pub(crate) hard: HardState,
    /// A `SaveCommitted` is with the writer.
    pub(crate) committed_waits: bool,
    /// Checkpoints by the index of their last entry; in memory while not on disk.
    pub(crate) checkpoints: BTreeMap<LogIndex, Option<Arc<Checkpoint>>>,
    /// The node knows that something is cached here.
    pub(crate) is_caching: bool,
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
            era: 0,
            segments: VecDeque::new(),
            terms: TermRuns::default(),
            cache: TailCache::default(),
            hard: HardState::default(),
            committed_waits: false,
            checkpoints: BTreeMap::new(),
            is_caching: false,
            closed: false,
        }
    }

    /// The index that the next entry gets.
    pub(crate) fn end(&self) -> LogIndex {
        self.last.map_or(self.origin, |last| last.index.next())
    }

    /// The first index that the files hold, purged or not.
    pub(crate) fn files_begin(&self) -> LogIndex {
        self.segments
            .front()
            .map_or(self.end(), |filled| filled.segment.base)
    }

    /// The first index that is not purged.
    pub(crate) fn begin(&self) -> LogIndex {
        self.purged
            .map_or(self.files_begin(), |purged| purged.index.next())
    }

    /// The term at `index`, also for the last purged one.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if let Some(purged) = self.purged
            && purged.index == index
        {
            return Some(purged.term);
        }
        if index < self.files_begin() {
            let before = self.segments.front()?.segment.prev?;
            return (before.index == index).then_some(before.term);
        }
        if index >= self.end() {
            return None;
        }
        self.terms.at(index)
    }

    /// Puts `entries` at the log's end: they can be read at once. What the writer has to do for
    /// it goes to `ops`. On an error nothing has changed.
    pub(crate) fn append(
        &mut self,
        mut entries: Vec<Entry>,
        done: FlushCallback,
        context: &Context<'_>,
        ops: &mut Vec<Op>,
    ) -> Result<(), (StorageError, FlushCallback)> {
        let origin = self.origin;
        if let Some(first) = entries.first()
            && self.last.is_none()
            && self.segments.is_empty()
        {
            self.origin = first.id.index; // nothing was ever here: begin where raft begins
        }
        if let Err(error) = self.check(&mut entries) {
            self.origin = origin;
            return Err((error, done));
        }
        let mut part = Vec::with_capacity(entries.len());
        for entry in entries {
            let size = entry_size_bytes(entry.proposal.payload.len());
            if self.must_roll(size) {
                self.push_part(&mut part, None, ops);
                self.roll(context.fs, ops);
            }
            self.place(&entry, size);
            self.cache.push(entry.clone(), context.budget);
            part.push(entry);
        }
        self.push_part(&mut part, Some(done), ops);
        Ok(())
    }

    /// Checks that the entries follow the log, and gives them their offsets.
    fn check(&self, entries: &mut [Entry]) -> Result<(), StorageError> {
        let group = self.group;
        let mut end = self.end();
        let mut term = self.last.map_or(Term::ZERO, |last| last.term);
        let mut offset = self.next_offset;
        for entry in entries {
            if entry.id.index != end {
                let (expected, got) = (end, entry.id.index);
                return Err(StorageError::NotConsecutive {
                    group,
                    expected,
                    got,
                });
            }
            if entry.id.term < term {
                return Err(StorageError::TermWentBack {
                    group,
                    last: term,
                    got: entry.id,
                });
            }
            if entry.base_offset != Offset::ZERO && entry.base_offset != offset {
                let (id, expected, got) = (entry.id, offset, entry.base_offset);
                return Err(StorageError::OffsetMismatch {
                    group,
                    id,
                    expected,
                    got,
                });
            }
            let bytes = entry.proposal.payload.len();
            if bytes > ENTRY_MAX_BYTES {
                let (id, bound) = (entry.id, BATCH_MAX_BYTES);
                return Err(StorageError::EntryTooLarge {
                    group,
                    id,
                    bytes,
                    bound,
                });
            }
            entry.base_offset = offset;
            if entry.proposal.kind != EntryKind::Records {
                entry.proposal.record_count = 0; // only records take offsets
            }
            offset = entry.next_offset();
            term = entry.id.term;
            end = end.next();
        }
        Ok(())
    }

    fn must_roll(&self, size: u64) -> bool {
        self.segments.back().is_none_or(|filled| {
            filled.end_position > SEGMENT_HEADER_BYTES
                && filled.end_position + size > filled.segment.capacity_bytes
        })
    }

    fn roll(&mut self, fs: &dyn Fs, ops: &mut Vec<Op>) {
        let capacity_bytes = match self.segments.back_mut() {
            None => self.sizes.min_bytes,
            Some(filled) => {
                let grown = filled.segment.capacity_bytes.saturating_mul(GROWTH);
                let first = filled.segment.base;
                if let Some(last) = filled.last {
                    let terms = self.terms.within(first, last.index);
                    ops.push(Op::Seal(Box::new(Sealed {
                        filled: filled.clone(),
                        terms,
                    })));
                }
                grown
            }
        };
        self.begin_segment(capacity_bytes, false, fs.random_u64());
    }

    fn begin_segment(&mut self, capacity: u64, starts_log: bool, uid: u64) -> Arc<Segment> {
        let segment = Segment::new(SegmentFacts {
            base: self.end(),
            base_offset: self.next_offset,
            prev: self.last,
            uid,
            capacity_bytes: capacity.min(self.sizes.max_bytes),
            starts_log,
        });
        self.segments.push_back(Filled::empty(Arc::clone(&segment)));
        segment
    }

    /// Notes an entry in the last segment.
    fn place(&mut self, entry: &Entry, size: u64) {
        self.terms.push(entry.id);
        self.last = Some(entry.id);
        self.next_offset = entry.next_offset();
        if let Some(filled) = self.segments.back_mut() {
            filled.place(entry.into(), size);
        }
    }

    /// Hands the entries collected so far, which end the last segment, to the writer.
    fn push_part(&self, part: &mut Vec<Entry>, done: Option<FlushCallback>, ops: &mut Vec<Op>) {
        if part.is_empty() && done.is_none() {
            return;
        }
        let entries = std::mem::take(part);
        let bytes: u64 = entries
            .iter()
            .map(|entry| entry_size_bytes(entry.proposal.payload.len()))
            .sum();
        match self.segments.back() {
            Some(filled) => ops.push(Op::Append {
                segment: Arc::clone(&filled.segment),
                position: filled.end_position - bytes,
                entries,
                era: self.era,
                done,
            }),
            // No entry yet in this log, and none now: nothing to wait for.
            None => ops.extend(done.map(Op::Barrier)),
        }
    }

    /// A flush of all entries up to `end` (exclusive) has come.
    pub(crate) fn flushed(&mut self, end: LogIndex, era: u64) {
        if era == self.era {
            self.flushed_end = self.flushed_end.max(end);
        }
    }

    /// A sealed segment's index is on disk: its copy in memory can go.
    pub(crate) fn index_written(&mut self, uid: u64) {
        let count = self.segments.len();
        let sealed = self.segments.iter_mut().take(count.saturating_sub(1));
        if let Some(filled) = sealed.rev().find(|filled| filled.segment.uid == uid) {
            filled.points = Vec::new();
            filled.index_on_disk = true;
        }
    }

    /// A checkpoint is on disk: its copy in memory can go.
    pub(crate) fn checkpoint_written(&mut self, written: &Arc<Checkpoint>) {
        if let Some(held) = self.checkpoints.get_mut(&written.last.index)
            && held.as_ref().is_some_and(|held| Arc::ptr_eq(held, written))
        {
            *held = None;
        }
    }

    /// Whether this very segment is still part of the log.
    pub(crate) fn has_segment(&self, segment: &Segment) -> bool {
        self.slot_of(segment.base)
            .is_some_and(|slot| self.segments[slot].segment.uid == segment.uid)
    }

    /// Where a cut after `keep` goes: the first index that goes, unless nothing does.
    pub(crate) fn cut_index(&self, keep: Option<LogId>) -> Option<LogIndex> {
        let end = keep
            .map_or(LogIndex::ZERO, |keep| keep.index.next())
            .max(self.begin());
        (end < self.end()).then_some(end)
    }

    /// Position and offset of `index`, if that and all after it are cached.
    pub(crate) fn locate_cached(&self, index: LogIndex) -> Option<(u64, Offset)> {
        let slot = self.slot_of(index)?;
        let filled = &self.segments[slot];
        if filled.segment.base == index {
            return Some((SEGMENT_HEADER_BYTES, filled.segment.base_offset));
        }
        if self.cache.first()? > index {
            return None;
        }
        let mut offset = None;
        let last = filled.last?.index;
        let behind: u64 = self
            .cache
            .since_index(index)
            .take_while(|entry| entry.id.index <= last)
            .inspect(|entry| {
                offset.get_or_insert(entry.base_offset);
            })
            .map(|entry| entry_size_bytes(entry.proposal.payload.len()))
            .sum();
        Some((filled.end_position - behind, offset?))
    }

    /// Which of `segments` holds `index`.
    pub(crate) fn slot_of(&self, index: LogIndex) -> Option<usize> {
        self.segments
            .partition_point(|filled| filled.segment.base <= index)
            .checked_sub(1)
    }

    /// Drops all entries from `index` on, which stands at `place` (position, offset).
    pub(crate) fn truncate_from(
        &mut self,
        index: LogIndex,
        place: (u64, Offset),
        context: &Context<'_>,
    ) -> Truncation {
        self.era += 1;
        self.cache.cut_from(index, context.budget);
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
            .is_some_and(|filled| filled.segment.base >= index)
        {
            removed.extend(self.segments.pop_back().map(|filled| filled.segment));
        }
        self.terms.cut_from(index);
        self.last = keep.or(self.purged);
        self.next_offset = place.1;
        self.flushed_end = self.flushed_end.min(index);
        let terms = &self.terms;
        let cut = self.segments.back_mut().and_then(|filled| {
            let last = keep?;
            if filled.end_position > place.0 && filled.last.is_some_and(|old| old.index >= index) {
                filled.end_position = place.0;
                filled.next_offset = place.1;
                filled.last = Some(last);
                filled.points.retain(|point| point.index < index);
            }
            let terms = terms.within(filled.segment.base, last.index);
            Some(Sealed {
                filled: filled.clone(),
                terms,
            })
        });
        let checkpoints = self.checkpoints.split_off(&index).into_keys().collect();
        let starts_log = self.segments.is_empty();
        let next = self.begin_segment(self.sizes.min_bytes, starts_log, context.fs.random_u64());
        Truncation {
            cut,
            removed,
            checkpoints,
            next,
            era: self.era,
        }
    }

    /// Notes that raft purged up to `id`. Returns a new beginning if that is beyond the end.
    pub(crate) fn purge_to(&mut self, id: LogId, context: &Context<'_>) -> Option<Reset> {
        if self.purged.is_some_and(|purged| purged.index >= id.index) {
            return None;
        }
        if self.end() <= id.index {
            return Some(self.restart(id, self.next_offset, context));
        }
        self.purged = Some(id);
        None
    }

    /// Takes out the segments and checkpoints that nobody needs any more: purged, followed by
    /// another segment, and covered by a checkpoint that is on disk.
    pub(crate) fn take_purged(&mut self) -> Option<Op> {
        let purged = self.purged?.index;
        let newest = self
            .checkpoints
            .iter()
            .rev()
            .find(|(_, held)| held.is_none());
        let covered = purged.min(*newest?.0);
        let mut segments = Vec::new();
        while self.segments.len() > 1 && self.segments[1].segment.base.prev() <= Some(covered) {
            segments.extend(self.segments.pop_front().map(|filled| filled.segment));
        }
        if segments.is_empty() {
            return None;
        }
        self.terms.drop_below(self.files_begin());
        let begin = self.files_begin();
        // The newest checkpoint below the log's new begin stays: it is the state there.
        let stays = begin.prev().unwrap_or_default();
        let gone: Vec<LogIndex> = self
            .checkpoints
            .range(..stays)
            .map(|(index, _)| *index)
            .collect();
        for index in &gone {
            self.checkpoints.remove(index);
        }
        Some(Op::Purge {
            segments,
            checkpoints: gone,
        })
    }

    /// Empties the log: it goes on after `checkpoint`.
    pub(crate) fn reset_to(
        &mut self,
        checkpoint: Checkpoint,
        context: &Context<'_>,
        done: FlushCallback,
    ) -> Reset {
        let mut reset = self.restart(checkpoint.last, checkpoint.next_offset, context);
        let checkpoint = Arc::new(checkpoint);
        self.checkpoints
            .insert(checkpoint.last.index, Some(Arc::clone(&checkpoint)));
        reset.checkpoint = Some(checkpoint);
        reset.done = Some(done);
        reset
    }

    fn restart(&mut self, after: LogId, next_offset: Offset, context: &Context<'_>) -> Reset {
        self.era += 1;
        self.cache.cut_from(LogIndex::ZERO, context.budget);
        self.terms = TermRuns::default();
        let removed = self
            .segments
            .drain(..)
            .rev()
            .map(|filled| filled.segment)
            .collect();
        let checkpoints = std::mem::take(&mut self.checkpoints).into_keys().collect();
        self.purged = Some(after);
        self.last = self.purged;
        self.next_offset = next_offset;
        self.flushed_end = self.end();
        let next = self.begin_segment(self.sizes.min_bytes, true, context.fs.random_u64());
        Reset {
            checkpoint: None,
            removed,
            checkpoints,
            next,
            done: None,
        }
    }
}
