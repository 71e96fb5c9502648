//! What is known of a segment while the node runs.

use std::sync::Arc;

use lograft_core::limits::INDEX_INTERVAL_BYTES;
use lograft_core::{Entry, LogId, LogIndex, Offset};

use crate::format::SEGMENT_HEADER_BYTES;

/// A place in a segment from which reading can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The entry there.
    pub(crate) index: LogIndex,
    /// Where it begins, bytes from the start of the file.
    pub(crate) position: u32,
    /// Its base offset.
    pub(crate) base_offset: Offset,
    /// The greatest record time of the segment before it, milliseconds; `i64::MIN` if none.
    pub(crate) max_time_before_ms: i64,
}

/// A segment's fixed facts: what its file's header says.
#[derive(Debug)]
pub(crate) struct Segment {
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
            segment,
        }
    }

    /// Whether it holds no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.end_position <= SEGMENT_HEADER_BYTES
    }

    /// Notes the next entry, `size` bytes long on disk.
    pub(crate) fn place(&mut self, entry: &Entry, size: u64) {
        let last = self
            .points
            .last()
            .map_or(0, |point| u64::from(point.position));
        if self.end_position - last >= INDEX_INTERVAL_BYTES {
            // Segments stay far below 4 GiB, so every position fits.
            let position = u32::try_from(self.end_position).unwrap_or(u32::MAX);
            let (index, base_offset) = (entry.id.index, entry.base_offset);
            let max_time_before_ms = self.max_time_ms;
            self.points.push(Point {
                index,
                position,
                base_offset,
                max_time_before_ms,
            });
        }
        self.end_position += size;
        self.last = Some(entry.id);
        self.next_offset = entry.next_offset();
        if entry.proposal.record_count > 0 {
            self.max_time_ms = self.max_time_ms.max(entry.proposal.max_time_ms);
        }
    }
}
