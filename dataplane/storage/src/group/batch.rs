//! What one `pwritev` takes: the appends to one segment that wait at the same moment.

use std::io::IoSlice;
use std::sync::Arc;

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

const PAGE_BYTES: usize = 4096;
static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

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

    /// Encodes the headers and gives `write` the parts to be written one after the other:
    /// `before`, then the entries, then zeros up to the next page as far as the file is made for
    /// them, so that the kernel need not read that page first. Payloads are not copied.
    /// Returns the last header's CRC and what `write` returned.
    pub(crate) fn with_parts<T>(
        &self,
        before: &[u8],
        (seed, prev_crc32c, durable_end): (u32, u32, LogIndex),
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
        let mut parts = Vec::with_capacity(self.count * 2 + 2);
        let mut from = 0;
        for (entry, cut) in self.entries.iter().flatten().zip(&cuts) {
            parts.push(IoSlice::new(&gaps[from..*cut]));
            parts.push(IoSlice::new(&entry.proposal.payload));
            from = *cut;
        }
        parts.push(IoSlice::new(&gaps[from..]));
        parts.push(IoSlice::new(&ZEROS[..self.fill_bytes()]));
        (crc, write(&mut parts))
    }

    /// Zeros after the last entry up to the end of its page.
    fn fill_bytes(&self) -> usize {
        let page_end = self.end_position.next_multiple_of(PAGE_BYTES as u64);
        let end = page_end
            .min(self.segment.capacity_bytes)
            .max(self.end_position);
        usize::try_from(end - self.end_position).unwrap_or(0)
    }
}

fn padding(entry: &Entry) -> usize {
    let bare = ENTRY_HEADER_BYTES + entry.proposal.payload.len();
    bare.next_multiple_of(8) - bare
}
