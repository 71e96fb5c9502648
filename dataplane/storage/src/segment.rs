//! What is known of a segment while the node runs.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use lograft_core::limits::INDEX_INTERVAL_BYTES;
use lograft_core::{Entry, LogId, LogIndex, Offset};
use parking_lot::Mutex;

use crate::format::{EntryHeader, SEGMENT_HEADER_BYTES};
use crate::fs::{FileMap, FsFile};

/// A place in a segment from which reading can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The entry there.
    pub(crate) index: LogIndex,
    /// Its base offset.
    pub(crate) base_offset: Offset,
    /// Where it begins, bytes from the start of the file.
    pub(crate) position: u64,
    /// The greatest record time of the segment before it, milliseconds; `i64::MIN` if none.
    pub(crate) max_time_before_ms: i64,
}

/// A segment's fixed facts: what its file's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    /// The index of its first entry.
    pub(crate) base: LogIndex,
    /// The offset of its first record.
    pub(crate) base_offset: Offset,
    /// The entry before it.
    pub(crate) prev: Option<LogId>,
    /// A random number that tells its entries from those of the file's earlier lives.
    pub(crate) uid: u64,
    /// The size that its file is made for, bytes.
    pub(crate) capacity_bytes: u64,
    /// The log begins here; whatever older segments stand beside it is void.
    pub(crate) starts_log: bool,
}

/// A segment: its facts, and its files as far as they are open.
pub(crate) struct Segment {
    facts: SegmentFacts,
    pub(crate) open: Mutex<OpenParts>,
}

/// A segment's open files.
#[derive(Default)]
pub(crate) struct OpenParts {
    /// The files are removed or about to be: do not open them.
    pub(crate) gone: bool,
    /// The segment file.
    pub(crate) file: Option<Arc<dyn FsFile>>,
    /// The index file, valid; only of a sealed segment.
    pub(crate) index: Option<Arc<FileMap>>,
}

impl Segment {
    pub(crate) fn new(facts: SegmentFacts) -> Arc<Self> {
        Arc::new(Self {
            facts,
            open: Mutex::default(),
        })
    }

    /// Lets go of the open files; the next reader opens them again.
    pub(crate) fn close(&self) {
        let mut open = self.open.lock();
        open.file = None;
        open.index = None;
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

/// A segment as far as it is filled.
#[derive(Clone, Debug)]
pub(crate) struct Filled {
    pub(crate) segment: Arc<Segment>,
    /// Where the next entry would begin, bytes.
    pub(crate) end_position: u64,
    /// The last entry; that before the segment while it is empty.
    pub(crate) last: Option<LogId>,
    /// The offset after its last record.
    pub(crate) next_offset: Offset,
    /// The greatest record time, milliseconds; `i64::MIN` while there is none.
    pub(crate) max_time_ms: i64,
    /// The sparse index, as long as it is not on disk.
    pub(crate) points: Vec<Point>,
    /// The index file is there, and `points` is empty.
    pub(crate) index_on_disk: bool,
}

/// What a segment notes of an entry that it holds.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) id: LogId,
    pub(crate) base_offset: Offset,
    pub(crate) next_offset: Offset,
    pub(crate) record_count: u32,
    pub(crate) max_time_ms: i64,
}

impl From<&Entry> for Placed {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id,
            base_offset: entry.base_offset,
            next_offset: entry.next_offset(),
            record_count: entry.proposal.record_count,
            max_time_ms: entry.proposal.max_time_ms,
        }
    }
}

impl From<&EntryHeader> for Placed {
    fn from(header: &EntryHeader) -> Self {
        Self {
            id: header.id,
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            record_count: header.record_count,
            max_time_ms: header.max_time_ms,
        }
    }
}

impl Filled {
    /// A segment without entries.
    pub(crate) fn empty(segment: Arc<Segment>) -> Self {
        Self {
            end_position: SEGMENT_HEADER_BYTES,
            last: segment.prev,
            next_offset: segment.base_offset,
            max_time_ms: i64::MIN,
            points: Vec::new(),
            index_on_disk: false,
            segment,
        }
    }

    /// The last point before which `is_before` holds for none.
    pub(crate) fn point_before(&self, is_before: impl Fn(&Point) -> bool) -> Option<Point> {
        let after = self.points.partition_point(is_before);
        Some(self.points[after.checked_sub(1)?])
    }

    /// Whether it holds no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.end_position <= SEGMENT_HEADER_BYTES
    }

    /// Notes the next entry, `size` bytes long on disk.
    pub(crate) fn place(&mut self, entry: Placed, size: u64) {
        let last = self.points.last().map_or(0, |point| point.position);
        if self.end_position - last >= INDEX_INTERVAL_BYTES {
            self.points.push(Point {
                index: entry.id.index,
                base_offset: entry.base_offset,
                position: self.end_position,
                max_time_before_ms: self.max_time_ms,
            });
        }
        self.end_position += size;
        self.last = Some(entry.id);
        self.next_offset = entry.next_offset;
        if entry.record_count > 0 {
            self.max_time_ms = self.max_time_ms.max(entry.max_time_ms);
        }
    }
}
