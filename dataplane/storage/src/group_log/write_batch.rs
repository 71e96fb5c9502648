//! What one `pwritev` takes: the appends to one segment that wait at the same moment.

use std::io::IoSlice;
use std::sync::Arc;

use lograft_core::limits::{
    ZERO_AHEAD_FROM_BYTES, ZERO_AHEAD_MAX_BYTES, ZERO_AHEAD_WRITE_MAX_BYTES,
};
use lograft_core::{Entry, LogIndex};

use crate::format::{ENTRY_HEADER_BYTES, EntryHeader, entry_size_bytes};
use crate::op::FlushCallback;
use crate::segment::Segment;

/// Appends to one segment, without a gap between them.
pub(crate) struct Batch {
    pub(crate) segment: Arc<Segment>,
    /// Where the first entry goes, bytes.
    pub(crate) position: u64,
    /// Where the entry after the last one would go, bytes.
    pub(crate) end_position: u64,
    /// The index after the last entry, if there are any.
    pub(crate) end: Option<LogIndex>,
    pub(crate) era: u64,
    pub(crate) dones: Vec<FlushCallback>,
    entries: Vec<Vec<Entry>>,
    count: usize,
}

const PAGE_BYTES: u64 = 4096;
static ZEROS: [u8; 32 * 1024] = [0; 32 * 1024];

impl Batch {
    pub(crate) fn new(segment: Arc<Segment>, position: u64, era: u64) -> Self {
        Self {
            segment,
            position,
            end_position: position,
            end: None,
            era,
            dones: Vec::new(),
            entries: Vec::new(),
            count: 0,
        }
    }

    /// Whether an append to `position` of `segment` goes on where this batch ends.
    pub(crate) fn takes(&self, segment: &Segment, position: u64, era: u64) -> bool {
        self.segment.uid == segment.uid && self.end_position == position && self.era == era
    }

    pub(crate) fn add(&mut self, entries: Vec<Entry>, done: Option<FlushCallback>) {
        for entry in &entries {
            self.end_position += entry_size_bytes(entry.proposal.payload.len());
            self.end = Some(entry.id.index.next());
        }
        self.count += entries.len();
        self.entries.push(entries);
        self.dones.extend(done);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where the zeros behind the entries end, in a file whose blocks are written up to
    /// `written_end`: at the end of their page, so that the kernel need not read that page first.
    /// Small writes zero some blocks ahead, more the fuller the segment is: a sync of the next ones
    /// then has no metadata to write, which would cost more than their bytes.
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

    /// Encodes the headers and gives `write` the parts to be written one after the other:
    /// `before`, then the entries, then zeros up to `zeros_end`. Payloads are not copied.
    /// Returns the last header's CRC and what `write` returned.
    pub(crate) fn with_parts<T>(
        &self,
        before: &[u8],
        (seed, prev_crc32c, durable_end): (u32, u32, LogIndex),
        zeros_end: u64,
        write: impl FnOnce(&mut [IoSlice<'_>]) -> T,
    ) -> (u32, T) {
        // Between two payloads stand the first one's padding and the second one's header.
        let mut gaps = Vec::with_capacity(before.len() + self.count * (ENTRY_HEADER_BYTES + 8));
        let mut cuts = Vec::with_capacity(self.count);
        gaps.extend_from_slice(before);
        let mut crc = prev_crc32c;
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
