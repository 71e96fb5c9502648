//! Reads a segment entry by entry.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::format::{ENTRY_HEADER_BYTES, EntryHeader};
use crate::fs::FsFile;

/// Stands before an entry of a segment file and goes on from one to the next.
pub(crate) struct Walker<'a> {
    file: &'a dyn FsFile,
    seed: u32,
    position: u64,
    end: u64,
    chunk_bytes: usize,
    buffer: Bytes,
    buffer_at: u64,
}

impl<'a> Walker<'a> {
    /// Walks over these positions of `file`; reads `chunk_bytes` at a time.
    pub(crate) fn new(
        file: &'a dyn FsFile,
        seed: u32,
        positions: Range<u64>,
        chunk_bytes: usize,
    ) -> Self {
        let Range {
            start: position,
            end,
        } = positions;
        let buffer = Bytes::new();
        Self {
            file,
            seed,
            position,
            end,
            chunk_bytes,
            buffer,
            buffer_at: position,
        }
    }

    /// Where the walker stands, bytes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the next `len` bytes are in memory.
    fn holds(&self, len: usize) -> Option<usize> {
        let at = usize::try_from(self.position.checked_sub(self.buffer_at)?).ok()?;
        (at.checked_add(len)? <= self.buffer.len()).then_some(at)
    }

    /// The next `len` bytes, or `None` if the file or the walk ends before.
    fn peek(&mut self, len: usize) -> io::Result<Option<Bytes>> {
        if self.position.saturating_add(len as u64) > self.end {
            return Ok(None);
        }
        if self.holds(len).is_none() {
            let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
            let wanted = self.chunk_bytes.max(len).min(left);
            self.buffer = self.file.read_at(self.position, wanted)?;
            self.buffer_at = self.position;
        }
        Ok(self.holds(len).map(|at| self.buffer.slice(at..at + len)))
    }

    /// The header of the entry here, or `None` if there is no valid one.
    pub(crate) fn header(&mut self) -> io::Result<Option<EntryHeader>> {
        let seed = self.seed;
        Ok(self
            .peek(ENTRY_HEADER_BYTES)?
            .and_then(|bytes| EntryHeader::decode(&bytes, seed)))
    }

    /// The payload of the entry here, or `None` if its CRC is wrong or the file ends in it.
    pub(crate) fn payload(&mut self, header: &EntryHeader) -> io::Result<Option<Bytes>> {
        let whole = self.peek(ENTRY_HEADER_BYTES + header.payload_bytes as usize)?;
        let payload = whole.map(|bytes| bytes.slice(ENTRY_HEADER_BYTES..));
        Ok(payload.filter(|payload| crc32c::crc32c(payload) == header.payload_crc32c))
    }

    /// Goes on to the next entry.
    pub(crate) fn skip(&mut self, header: &EntryHeader) {
        self.position += header.size_bytes();
    }
}
