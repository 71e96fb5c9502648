//! Purged segment files, kept to be written over: their blocks are there already, and a write
//! into them changes nothing in the file system's own tables.

use std::path::{Path, PathBuf};

use lograft_core::limits::RECYCLED_SEGMENTS_MAX_COUNT;
use parking_lot::Mutex;

use crate::error::StorageError;
use crate::storage_env::Node;

pub(crate) struct Recycler {
    dir: PathBuf,
    /// Only files of this size are kept, bytes.
    file_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    files: Vec<PathBuf>,
    next: u64,
}

impl Recycler {
    pub(crate) fn new(dir: PathBuf, file_bytes: u64) -> Self {
        Self {
            dir,
            file_bytes,
            kept: Mutex::default(),
        }
    }

    /// Finds what an earlier run kept.
    pub(crate) fn recover(&self, node: &Node) -> Result<(), StorageError> {
        node.create_dir(&self.dir)?;
        let mut kept = self.kept.lock();
        for name in node.list(&self.dir)? {
            let number = name
                .strip_suffix(".seg")
                .and_then(|number| number.parse::<u64>().ok());
            let Some(number) = number else { continue };
            kept.next = kept.next.max(number + 1);
            let path = self.dir.join(name);
            if kept.files.len() < RECYCLED_SEGMENTS_MAX_COUNT {
                kept.files.push(path);
            } else {
                node.remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Takes a file of `len` bytes that nobody reads any more, or leaves it where it is and
    /// returns `false`. Its old name is durably gone before anyone can write over it.
    pub(crate) fn put(&self, node: &Node, path: &Path, len: u64) -> Result<bool, StorageError> {
        if len != self.file_bytes {
            return Ok(false);
        }
        let to = {
            let mut kept = self.kept.lock();
            if kept.files.len() >= RECYCLED_SEGMENTS_MAX_COUNT {
                return Ok(false);
            }
            kept.next += 1;
            self.dir.join(format!("{:08}.seg", kept.next - 1))
        };
        node.rename(path, &to)?;
        if let Some(dir) = path.parent() {
            node.sync_dir(dir)?;
        }
        node.sync_dir(&self.dir)?;
        self.kept.lock().files.push(to);
        Ok(true)
    }

    /// Moves a kept file to `to`, if one of `len` bytes is there.
    pub(crate) fn take(&self, node: &Node, to: &Path, len: u64) -> Result<bool, StorageError> {
        if len != self.file_bytes {
            return Ok(false);
        }
        let Some(file) = self.kept.lock().files.pop() else {
            return Ok(false);
        };
        node.rename(&file, to)?;
        Ok(true)
    }

    /// Gives all kept files back to the file system. Returns whether there were any.
    pub(crate) fn clear(&self, node: &Node) -> Result<bool, StorageError> {
        let files = std::mem::take(&mut self.kept.lock().files);
        for file in &files {
            node.remove_file(file)?;
        }
        Ok(!files.is_empty())
    }
}
