//! Recycling of purged segment files: their blocks are already allocated and written, so a write
//! into them changes no metadata of the file system.

use std::path::{Path, PathBuf};

use lograft_core::limits::RECYCLED_SEGMENTS_MAX_COUNT;
use parking_lot::Mutex;

use crate::error::StorageError;
use crate::files::Files;

pub(crate) struct Recycler {
    dir: PathBuf,
    /// Only files of this length are recycled, bytes.
    file_bytes: u64,
    spare_files: Mutex<SpareFiles>,
}

#[derive(Default)]
struct SpareFiles {
    paths: Vec<PathBuf>,
    next_number: u64,
}

impl Recycler {
    pub(crate) fn new(dir: PathBuf, file_bytes: u64) -> Self {
        Self {
            dir,
            file_bytes,
            spare_files: Mutex::default(),
        }
    }

    /// Finds the files that an earlier run has kept.
    pub(crate) fn recover(&self, files: &Files) -> Result<(), StorageError> {
        files.create_dir_all(&self.dir)?;
        let mut spare = self.spare_files.lock();
        for name in files.list(&self.dir)? {
            let number = name
                .strip_suffix(".seg")
                .and_then(|number| number.parse::<u64>().ok());
            let Some(number) = number else { continue };
            spare.next_number = spare.next_number.max(number + 1);
            let path = self.dir.join(name);
            if spare.paths.len() < RECYCLED_SEGMENTS_MAX_COUNT {
                spare.paths.push(path);
            } else {
                files.remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Keeps the file of a removed segment. Returns `false`, and leaves the file, if its length
    /// does not fit, enough files are kept, or the disk has no room for another name.
    pub(crate) fn put(&self, files: &Files, path: &Path, len: u64) -> Result<bool, StorageError> {
        if len != self.file_bytes {
            return Ok(false);
        }
        let to = {
            let mut spare = self.spare_files.lock();
            if spare.paths.len() >= RECYCLED_SEGMENTS_MAX_COUNT {
                return Ok(false);
            }
            spare.next_number += 1;
            self.dir.join(format!("{:08}.seg", spare.next_number - 1))
        };
        match files.rename(path, &to) {
            Err(error) if error.is_no_room() => return Ok(false),
            renamed => renamed?,
        }
        // The rename must be durable before `take` can hand the file out. Otherwise a power loss
        // could bring the old name back with the bytes of another segment, and the recovery of the
        // old group would find a segment header that is not its own: corruption.
        if let Some(dir) = path.parent() {
            files.sync_dir(dir)?;
        }
        files.sync_dir(&self.dir)?;
        self.spare_files.lock().paths.push(to);
        Ok(true)
    }

    /// Renames a kept file to `to`. Returns `false` if there is none of `len` bytes.
    pub(crate) fn take(&self, files: &Files, to: &Path, len: u64) -> Result<bool, StorageError> {
        if len != self.file_bytes {
            return Ok(false);
        }
        let Some(path) = self.spare_files.lock().paths.pop() else {
            return Ok(false);
        };
        files.rename(&path, to)?;
        Ok(true)
    }

    /// Removes all kept files. Returns whether there were any.
    pub(crate) fn clear(&self, files: &Files) -> Result<bool, StorageError> {
        let paths = std::mem::take(&mut self.spare_files.lock().paths);
        for path in &paths {
            files.remove_file(path)?;
        }
        Ok(!paths.is_empty())
    }
}
