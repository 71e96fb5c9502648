//! Group commit: the appends to one segment that are written by one `pwritev`.

use std::io::IoSlice;
use std::sync::Arc;

use lograft_core::limits::{
    ZERO_AHEAD_FROM_BYTES, ZERO_AHEAD_MAX_BYTES, ZERO_AHEAD_WRITE_MAX_BYTES,
};
use lograft_core::{Entry, LogIndex};

use crate::format::{ENTRY_HEADER_BYTES, EntryHeader, entry_size_bytes};
use crate::op::{FlushCallback, Op, call_all};
use crate::segment::Segment;

/// Consecutive appends to one segment.
pub(crate) struct WriteBatch {
    pub(crate) segment: Arc<Segment>,
    /// The position of the first entry, bytes.
    pub(crate) position: u64,
    /// The position after the last entry, bytes.
    pub(crate) end_position: u64,
    /// The index after the last entry; `None` without entries.
    pub(crate) end: Option<LogIndex>,
    pub(crate) truncation_epoch: u64,
    pub(crate) callbacks: Vec<FlushCallback>,
    entries: Vec<Vec<Entry>>,
    count: usize,
    /// The size of the entries in memory, bytes.
    bytes: usize,
}

/// The properties of the headers of a batch that depend on what was written before it.
#[derive(Clone, Copy)]
pub(crate) struct HeaderInputs {
    /// The initial value of the header CRCs.
    pub(crate) seed: u32,
    /// The CRC of the header before the first entry.
    pub(crate) prev_crc32c: u32,
    /// All entries below this index are on disk.
    pub(crate) durable_end: LogIndex,
}

const PAGE_BYTES: u64 = 4096;
static ZEROS: [u8; 32 * 1024] = [0; 32 * 1024];

impl WriteBatch {
    pub(crate) fn new(segment: Arc<Segment>, position: u64, truncation_epoch: u64) -> Self {
        Self {
            segment,
            position,
            end_position: position,
            end: None,
            truncation_epoch,
            callbacks: Vec::new(),
            entries: Vec::new(),
            count: 0,
            bytes: 0,
        }
    }

    /// Whether an append at `position` of `segment` continues this batch.
    pub(crate) fn accepts(&self, segment: &Segment, position: u64, truncation_epoch: u64) -> bool {
        self.segment.uid == segment.uid
            && self.end_position == position
            && self.truncation_epoch == truncation_epoch
    }

    /// Adds entries that take `bytes` of memory.
    pub(crate) fn add(&mut self, entries: Vec<Entry>, bytes: usize, done: Option<FlushCallback>) {
        self.bytes += bytes;
        for entry in &entries {
            self.end_position += entry_size_bytes(entry.proposal.payload.len());
            self.end = Some(entry.id.index.next());
        }
        self.count += entries.len();
        self.entries.push(entries);
        self.callbacks.extend(done);
    }

    /// The appends as a single operation, which has not been executed.
    pub(super) fn into_op(self) -> Op {
        Op::Append {
            segment: self.segment,
            position: self.position,
            entries: self.entries.into_iter().flatten().collect(),
            bytes: self.bytes,
            truncation_epoch: self.truncation_epoch,
            done: call_all(self.callbacks),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The end of the zeros that are written behind the entries, in a file whose blocks are written
    /// up to `written_end`.
    // The zeros fill the last page: the kernel then does not have to read a page that it only
    // partly overwrites. Small writes also zero blocks ahead, more the fuller the segment is: an
    // fdatasync after a write into written blocks has no metadata (block allocation, file length)
    // to journal, which would cost more than the few bytes of the entry. Large writes gain nothing
    // from it. Zeros are no entries (no magic number), and later appends overwrite them.
    pub(crate) fn zeros_end(&self, written_end: u64) -> u64 {
        let page_end = self.end_position.next_multiple_of(PAGE_BYTES);
        let bytes = self.end_position - self.position;
        let is_small = bytes <= ZERO_AHEAD_WRITE_MAX_BYTES && page_end >= ZERO_AHEAD_FROM_BYTES;
        let end = if page_end > written_end && is_small {
            page_end + page_end.min(ZERO_AHEAD_MAX_BYTES)
        } else {
            page_end
        };
        end.min(self.segment.capacity_bytes).max(self.end_position)
    }

    /// Encodes the headers and calls `write` with the parts in their order: `before`, the entries,
    /// and zeros up to `zeros_end`. Payloads are not copied. Returns the CRC of the last header and
    /// the result of `write`.
    pub(crate) fn with_parts<T>(
        &self,
        before: &[u8],
        inputs: HeaderInputs,
        zeros_end: u64,
        write: impl FnOnce(&mut [IoSlice<'_>]) -> T,
    ) -> (u32, T) {
        // A gap between two payloads holds the padding of the first and the header of the second.
        let mut gaps = Vec::with_capacity(before.len() + self.count * (ENTRY_HEADER_BYTES + 8));
        let mut cuts = Vec::with_capacity(self.count);
        gaps.extend_from_slice(before);
        let HeaderInputs {
            seed,
            prev_crc32c: mut crc,
            durable_end,
        } = inputs;
        for entry in self.entries.iter().flatten() {
            let (header, own) = EntryHeader::encode(entry, durable_end, crc, seed);
            crc = own;
            gaps.extend_from_slice(&header);
            cuts.push(gaps.len());
            gaps.resize(gaps.len() + padding(entry), 0);
        }
        let mut zeros = usize::try_from(zeros_end - self.end_position).unwrap_or(0);
        let mut parts = Vec::with_capacity(self.count * 2 + 2 + zeros / ZEROS.len());
        let mut from = 0;
        for (entry, cut) in self.entries.iter().flatten().zip(&cuts) {
            parts.push(IoSlice::new(&gaps[from..*cut]));
            parts.push(IoSlice::new(&entry.proposal.payload));
            from = *cut;
        }
        parts.push(IoSlice::new(&gaps[from..]));
        while zeros > 0 {
            let part = zeros.min(ZEROS.len());
            parts.push(IoSlice::new(&ZEROS[..part]));
            zeros -= part;
        }
        (crc, write(&mut parts))
    }
}

fn padding(entry: &Entry) -> usize {
    let bare = ENTRY_HEADER_BYTES + entry.proposal.payload.len();
    bare.next_multiple_of(8) - bare
}
