//! Reading of a segment file entry by entry.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::format::{ENTRY_HEADER_BYTES, ENTRY_MAGIC, EntryHeader, NewerValue};
use crate::fs::FsFile;

/// Alignment of entries in a segment, bytes.
const STEP_BYTES: usize = 8;

/// A cursor over the entries of a segment file.
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
    /// A cursor over these positions of `file`; it reads `chunk_bytes` at a time.
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

    /// The position of the current entry, bytes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Where in the buffer the next `len` bytes are, if it holds all of them.
    fn buffered(&self, len: usize) -> Option<usize> {
        let at = usize::try_from(self.position.checked_sub(self.buffer_at)?).ok()?;
        (at.checked_add(len)? <= self.buffer.len()).then_some(at)
    }

    /// The next `len` bytes, or `None` if the file or the range ends before.
    fn peek(&mut self, len: usize) -> io::Result<Option<Bytes>> {
        if self.position.saturating_add(len as u64) > self.end {
            return Ok(None);
        }
        if self.buffered(len).is_none() {
            let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
            let wanted = self.chunk_bytes.max(len).min(left);
            self.buffer = self.file.read_at(self.position, wanted)?;
            self.buffer_at = self.position;
        }
        Ok(self.buffered(len).map(|at| self.buffer.slice(at..at + len)))
    }

    /// The header of the current entry, or `None` if it is not valid.
    pub(crate) fn header(&mut self) -> io::Result<Option<EntryHeader>> {
        let seed = self.seed;
        Ok(self
            .peek(ENTRY_HEADER_BYTES)?
            .and_then(|bytes| EntryHeader::decode(&bytes, seed)))
    }

    /// The value by which the current entry, whose header is not valid, is of a newer version.
    pub(crate) fn newer(&mut self) -> io::Result<Option<NewerValue>> {
        let seed = self.seed;
        Ok(self
            .peek(ENTRY_HEADER_BYTES)?
            .and_then(|bytes| EntryHeader::newer(&bytes, seed)))
    }

    /// The payload of the current entry, or `None` if its CRC is wrong or the range ends within it.
    pub(crate) fn payload(&mut self, header: &EntryHeader) -> io::Result<Option<Bytes>> {
        let whole = self.peek(ENTRY_HEADER_BYTES + header.payload_bytes as usize)?;
        let payload = whole.map(|bytes| bytes.slice(ENTRY_HEADER_BYTES..));
        Ok(payload.filter(|payload| crc32c::crc32c(payload) == header.payload_crc32c))
    }

    /// Advances to the next entry.
    pub(crate) fn skip(&mut self, header: &EntryHeader) {
        self.position += header.size_bytes();
    }

    /// Advances by at least one step to the next position at which an entry may start; returns
    /// whether there is one.
    pub(crate) fn skip_to_magic(&mut self) -> io::Result<bool> {
        self.position += STEP_BYTES as u64;
        while self.peek(ENTRY_HEADER_BYTES)?.is_some() {
            let at = self.buffered(ENTRY_HEADER_BYTES).unwrap_or(0);
            let mut steps = self.buffer[at..].chunks_exact(STEP_BYTES);
            let count = steps.len();
            let magic = ENTRY_MAGIC.to_le_bytes();
            let found = steps.position(|step| step.first_chunk() == Some(&magic));
            self.position += (found.unwrap_or(count) * STEP_BYTES) as u64;
            if found.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
