//! The file of a new segment: a recycled one, or a new one with reserved blocks.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Action, StorageError, is_no_space};
use crate::fs::{FsFile, OpenMode};
use crate::segment::Segment;
use crate::storage_env::StorageEnv;

/// The file of a new segment.
pub(super) struct NewFile {
    pub(super) file: Arc<dyn FsFile>,
    /// The position up to which its blocks are written: 0 unless it is recycled.
    pub(super) written_end: u64,
    /// The position up to which its blocks are allocated.
    pub(super) allocated_end: u64,
}

/// Creates a file for a new segment at `new`, a provisional name. May be repeated.
pub(super) fn create_segment_file(
    env: &StorageEnv,
    segment: &Segment,
    new: &Path,
) -> Result<NewFile, StorageError> {
    let capacity_bytes = segment.capacity_bytes;
    if env.recycler.take(&env.write_files, new, capacity_bytes)? {
        let file = env.write_files.open(new, OpenMode::Write)?;
        return Ok(NewFile {
            file,
            written_end: capacity_bytes,
            allocated_end: capacity_bytes,
        });
    }
    let file = env.write_files.open(new, OpenMode::Create)?;
    // A small segment may never be filled: it grows as it is written.
    let allocated_end = if capacity_bytes > env.config.segment_min_bytes {
        reserve_blocks(env, new, file.as_ref(), capacity_bytes)?
    } else {
        0
    };
    Ok(NewFile {
        file,
        written_end: 0,
        allocated_end,
    })
}

/// Reserves the blocks of a new file, unless that would use the reserve of the disk: the file then
/// grows as it is written, while there is space. Returns the end of the reserved blocks.
fn reserve_blocks(
    env: &StorageEnv,
    path: &Path,
    file: &dyn FsFile,
    bytes: u64,
) -> Result<u64, StorageError> {
    let fail = |action, source| StorageError::io(action, path, source);
    let space = env.write_files.space(path)?;
    if space.free_bytes < env.config.reserve_bytes.saturating_add(bytes) {
        return Ok(0);
    }
    match file.allocate(bytes) {
        // Another writer took the space in between. A full disk is a state to live with, not a
        // failed write: the blocks that were reserved are given back.
        Err(error) if is_no_space(&error) => file
            .set_len(0)
            .map(|()| 0)
            .map_err(|source| fail(Action::SetLength, source)),
        outcome => outcome
            .map(|()| bytes)
            .map_err(|source| fail(Action::Allocate, source)),
    }
}
