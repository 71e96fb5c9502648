//! Calls on the file system with errors that name the action and the path.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Action, StorageError};
use crate::fs::{Fs, FsFile, FsSpace, OpenMode};
use crate::layout::{NEW_SUFFIX, with_suffix};

/// The file system of the data directory.
pub(crate) struct Files {
    fs: Arc<dyn Fs>,
}

impl Files {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Self {
        Self { fs }
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        self.fs.as_ref()
    }

    pub(crate) fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> Result<Arc<dyn FsFile>, StorageError> {
        let action = match mode {
            OpenMode::Create => Action::Create,
            OpenMode::Read | OpenMode::Write => Action::Open,
        };
        let opened = self.fs.open(path, mode);
        opened.map_err(|source| StorageError::io(action, path, source))
    }

    /// Opens an existing file; `None` if it does not exist.
    pub(crate) fn open_if_exists(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> Result<Option<Arc<dyn FsFile>>, StorageError> {
        match self.fs.open(path, mode) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io(Action::Open, path, error)),
        }
    }

    /// Replaces a small file atomically: readers and recovery find the old bytes or the new ones.
    // The blocks first: a full disk is no failed write (see `StorageError::is_no_room`).
    // Write, fsync, rename, fsync the directory. Without the fsync before the rename, a power loss
    // could leave the final name with no bytes or with part of them. With `durable: false` that
    // can happen; only index files are written so, and they have a CRC and can be rebuilt.
    pub(crate) fn write_file(
        &self,
        path: &Path,
        bytes: &[u8],
        durable: bool,
    ) -> Result<(), StorageError> {
        let new = with_suffix(path, NEW_SUFFIX);
        let file = self.open(&new, OpenMode::Create)?;
        file.allocate(bytes.len() as u64)
            .map_err(|source| StorageError::io(Action::Allocate, &new, source))?;
        file.write_vectored_at(&mut [io::IoSlice::new(bytes)], 0)
            .map_err(|source| StorageError::io(Action::Write, &new, source))?;
        if durable {
            file.sync_data()
                .map_err(|source| StorageError::io(Action::Sync, &new, source))?;
        }
        self.rename(&new, path)?;
        match path.parent() {
            Some(dir) if durable => self.sync_dir(dir),
            _ => Ok(()),
        }
    }

    /// All bytes of a file; `None` if it does not exist.
    pub(crate) fn read_file(&self, path: &Path) -> Result<Option<Bytes>, StorageError> {
        self.read_file_prefix(path, u64::MAX)
    }

    /// The first bytes of a file, at most `max_bytes`; `None` if it does not exist.
    pub(crate) fn read_file_prefix(
        &self,
        path: &Path,
        max_bytes: u64,
    ) -> Result<Option<Bytes>, StorageError> {
        let fail = |action, source| StorageError::io(action, path, source);
        let Some(file) = self.open_if_exists(path, OpenMode::Read)? else {
            return Ok(None);
        };
        let len = file.len().map_err(|source| fail(Action::Measure, source))?;
        let len = usize::try_from(len.min(max_bytes)).unwrap_or(usize::MAX);
        file.read_at(0, len)
            .map(Some)
            .map_err(|source| fail(Action::Read, source))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.fs
            .rename(from, to)
            .map_err(|source| StorageError::io(Action::Rename, from, source))
    }

    /// Removes a file if it exists.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        match self.fs.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io(Action::Remove, path, error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        self.fs
            .remove_dir_all(path)
            .map_err(|source| StorageError::io(Action::Remove, path, source))
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        self.fs
            .create_dir_all(path)
            .map_err(|source| StorageError::io(Action::Create, path, source))
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<String>, StorageError> {
        self.fs
            .list(path)
            .map_err(|source| StorageError::io(Action::List, path, source))
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.fs
            .sync_dir(path)
            .map_err(|source| StorageError::io(Action::Sync, path, source))
    }

    pub(crate) fn space(&self, path: &Path) -> Result<FsSpace, StorageError> {
        self.fs
            .space(path)
            .map_err(|source| StorageError::io(Action::MeasureSpace, path, source))
    }
}

/// Prepares a file of an earlier run for reading: afterwards a read returns what is on the disk.
// The earlier process may have ended before its sync, or after a failed one. In the first case the
// bytes are only in the page cache: they are synced, so that nothing is recovered that a power
// loss could still remove. In the second case the page cache holds bytes that the disk does not
// have and that no later sync writes: the pages are dropped, so that recovery sees the disk.
pub(crate) fn sync_and_drop_pages(path: &Path, file: &dyn FsFile) -> Result<(), StorageError> {
    file.sync_data()
        .map_err(|source| StorageError::io(Action::Sync, path, source))?;
    let _ = file.advise_dont_need(); // best effort: POSIX_FADV_DONTNEED is a hint
    Ok(())
}
