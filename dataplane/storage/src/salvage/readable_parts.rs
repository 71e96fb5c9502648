//! A file whose unreadable parts read as zeros.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::fs::FsFile;
use crate::read_failure::is_unreadable;

/// Unit of what a disk can or cannot read, bytes.
const PAGE_BYTES: u64 = 4096;

/// A file for reading alone. Pages that the disk cannot read are returned as zeros, which are no
/// valid entry.
// A bad sector fails the whole call that covers it. Without reading around it, one of them would
// cost all entries within the length of a read.
pub(super) struct ReadableParts {
    file: Arc<dyn FsFile>,
    has_failed: AtomicBool,
}

impl ReadableParts {
    pub(super) fn new(file: Arc<dyn FsFile>) -> Self {
        Self {
            file,
            has_failed: AtomicBool::new(false),
        }
    }

    /// Whether the disk could not read a page so far.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    fn read_pages(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let end = self.len()?.min(position.saturating_add(len as u64));
        let mut read = Vec::with_capacity(len);
        let mut at = position;
        while at < end {
            let page_end = (at + 1).next_multiple_of(PAGE_BYTES).min(end);
            let wanted = usize::try_from(page_end - at).unwrap_or(usize::MAX);
            match self.file.read_at(at, wanted) {
                Ok(bytes) => read.extend_from_slice(&bytes),
                Err(error) if is_unreadable(&error) => {
                    self.has_failed.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
            at = page_end;
            read.resize(usize::try_from(at - position).unwrap_or(usize::MAX), 0);
        }
        Ok(read.into())
    }
}

impl FsFile for ReadableParts {
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        match self.file.read_at(position, len) {
            Err(error) if is_unreadable(&error) => self.read_pages(position, len),
            outcome => outcome,
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_vectored_at(&self, _parts: &mut [IoSlice<'_>], _position: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn advise_dont_need(&self) -> io::Result<()> {
        self.file.advise_dont_need()
    }
}
