//! A segment in memory: its immutable properties, its open files, and how far it is filled.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use lograft_core::limits::INDEX_INTERVAL_BYTES;
use lograft_core::{Entry, GroupId, LogId, LogIndex, Offset};
use parking_lot::Mutex;

use crate::format::{EntryHeader, IndexHead, IndexPoint, SEGMENT_HEADER_BYTES, SegmentFacts};
use crate::fs::FsFile;
use crate::held_index::HeldIndex;

/// A segment: its properties and its open files.
pub(crate) struct Segment {
    facts: SegmentFacts,
    pub(crate) open_files: Mutex<OpenFiles>,
}

/// The open files of a segment.
#[derive(Default)]
pub(crate) struct OpenFiles {
    /// The files are removed, recycled, or about to be: they must not be opened again.
    pub(crate) removed: bool,
    /// The segment file.
    pub(crate) file: Option<Arc<dyn FsFile>>,
    /// The validated index file; only of a sealed segment.
    pub(crate) index: Option<Arc<HeldIndex>>,
}

impl Segment {
    pub(crate) fn new(facts: SegmentFacts) -> Arc<Self> {
        Arc::new(Self {
            facts,
            open_files: Mutex::default(),
        })
    }

    /// The properties that the segment header holds.
    pub(crate) fn facts(&self) -> &SegmentFacts {
        &self.facts
    }

    /// Closes the files; the next reader opens them again. Returns whether the segment file was
    /// open.
    pub(crate) fn close(&self) -> bool {
        let mut open = self.open_files.lock();
        open.index = None;
        open.file.take().is_some()
    }

    /// Keeps readers from opening the files again. Returns the segment file if it was open.
    pub(crate) fn mark_removed(&self) -> Option<Arc<dyn FsFile>> {
        let mut open = self.open_files.lock();
        open.removed = true;
        open.index = None;
        open.file.take()
    }
}

impl Deref for Segment {
    type Target = SegmentFacts;

    fn deref(&self) -> &SegmentFacts {
        &self.facts
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.fmt(f)
    }
}

/// The extent of the entries in a segment, and its sparse index.
#[derive(Clone, Debug)]
pub(crate) struct SegmentExtent {
    pub(crate) segment: Arc<Segment>,
    /// The position after the last entry, bytes.
    pub(crate) end_position: u64,
    /// The last entry; of an empty segment, the entry before it.
    pub(crate) last: Option<LogId>,
    /// The offset after its last record.
    pub(crate) next_offset: Offset,
    /// The highest record time, milliseconds; `i64::MIN` without records.
    pub(crate) max_time_ms: i64,
    /// The latest append time of its records, milliseconds. The index file does not hold it: of a
    /// sealed segment it is `None` after a restart, until it is read from the last entries.
    pub(crate) append_time_ms: Option<i64>,
    /// The sparse index, until the index file is written.
    pub(crate) points: Vec<IndexPoint>,
    /// The index file is written, and `points` is empty.
    pub(crate) index_on_disk: bool,
}

/// The properties of an entry that the extent of its segment takes in.
#[derive(Clone, Copy)]
pub(crate) struct EntrySummary {
    pub(crate) id: LogId,
    pub(crate) base_offset: Offset,
    pub(crate) next_offset: Offset,
    pub(crate) record_count: u32,
    pub(crate) append_time_ms: i64,
    pub(crate) max_time_ms: i64,
}

impl From<&Entry> for EntrySummary {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id,
            base_offset: entry.base_offset,
            next_offset: entry.next_offset(),
            record_count: entry.proposal.record_count,
            append_time_ms: entry.proposal.append_time_ms,
            max_time_ms: entry.proposal.max_time_ms,
        }
    }
}

impl From<&EntryHeader> for EntrySummary {
    fn from(header: &EntryHeader) -> Self {
        Self {
            id: header.id,
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            record_count: header.record_count,
            append_time_ms: header.append_time_ms,
            max_time_ms: header.max_time_ms,
        }
    }
}

impl SegmentExtent {
    /// The extent of a segment without entries.
    pub(crate) fn empty(segment: Arc<Segment>) -> Self {
        Self {
            end_position: SEGMENT_HEADER_BYTES,
            last: segment.prev,
            next_offset: segment.base_offset,
            max_time_ms: i64::MIN,
            append_time_ms: None,
            points: Vec::new(),
            index_on_disk: false,
            segment,
        }
    }

    /// The last point for which `is_before` holds; it must hold for a prefix of the points.
    pub(crate) fn point_before(
        &self,
        is_before: impl Fn(&IndexPoint) -> bool,
    ) -> Option<IndexPoint> {
        let after = self.points.partition_point(is_before);
        Some(self.points[after.checked_sub(1)?])
    }

    /// Whether the segment has no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.end_position <= SEGMENT_HEADER_BYTES
    }

    /// The log index after the last entry.
    pub(crate) fn end_index(&self) -> LogIndex {
        self.last
            .map_or(self.segment.base, |last| last.index.next())
    }

    /// Takes in the next entry, `size_bytes` long on disk.
    pub(crate) fn add(&mut self, entry: EntrySummary, size_bytes: u64) {
        let last = self.points.last().map_or(0, |point| point.position);
        if self.end_position - last >= INDEX_INTERVAL_BYTES {
            self.points.push(IndexPoint {
                index: entry.id.index,
                base_offset: entry.base_offset,
                position: self.end_position,
                max_time_before_ms: self.max_time_ms,
            });
        }
        self.end_position += size_bytes;
        self.last = Some(entry.id);
        self.next_offset = entry.next_offset;
        if entry.record_count > 0 {
            self.max_time_ms = self.max_time_ms.max(entry.max_time_ms);
            self.append_time_ms = self.append_time_ms.max(Some(entry.append_time_ms));
        }
    }

    /// Takes over the append time that was read from the segment with this base index.
    pub(crate) fn learn_append_time(&mut self, base: LogIndex, found: Option<i64>) {
        if self.segment.base == base {
            self.append_time_ms = self.append_time_ms.max(found);
        }
    }

    /// The contents of the index file without its points, given the term runs of the segment;
    /// `None` for a segment without entries, which has no index file.
    pub(crate) fn index_head(&self, group: GroupId, terms: Vec<LogId>) -> Option<IndexHead> {
        let last = self.last.filter(|_| !self.is_empty())?;
        Some(IndexHead {
            group,
            uid: self.segment.uid,
            base: self.segment.base,
            last,
            next_offset: self.next_offset,
            end_position: self.end_position,
            max_time_ms: self.max_time_ms,
            terms,
        })
    }
}
