//! The file of a new segment: a recycled one, or a new one with reserved blocks.

use std::path::Path;
use std::sync::Arc;

use crate::disk_room::is_no_space;
use crate::error::{Action, StorageError};
use crate::fs::{FsFile, OpenMode};
use crate::segment::Segment;
use crate::storage_env::StorageEnv;

/// Creates a file for a new segment at `new`, a provisional name. Returns the file and the
/// position up to which its blocks are written: 0 unless it is recycled.
pub(super) fn create_segment_file(
    env: &StorageEnv,
    segment: &Segment,
    new: &Path,
) -> Result<(Arc<dyn FsFile>, u64), StorageError> {
    let capacity_bytes = segment.capacity_bytes;
    if env.recycler.take(&env.write_files, new, capacity_bytes)? {
        let file = env.write_files.open(new, OpenMode::Write)?;
        return Ok((file, capacity_bytes));
    }
    let file = env.write_files.open(new, OpenMode::Create)?;
    // A small segment may never be filled: it grows as it is written.
    if capacity_bytes > env.config.segment_min_bytes {
        reserve_blocks(env, new, file.as_ref(), capacity_bytes)?;
    }
    Ok((file, 0))
}

/// Reserves the blocks of a new file, unless that would use the reserve of the disk: the file then
/// grows as it is written, while there is space.
fn reserve_blocks(
    env: &StorageEnv,
    path: &Path,
    file: &dyn FsFile,
    bytes: u64,
) -> Result<(), StorageError> {
    let fail = |action, source| StorageError::io(action, path, source);
    let space = env.write_files.space(path)?;
    if space.free_bytes < env.config.reserve_bytes.saturating_add(bytes) {
        return Ok(());
    }
    match file.allocate(bytes) {
        // Another writer took the space in between. A full disk is a state to live with, not a
        // failed write: the blocks that were reserved are given back.
        Err(error) if is_no_space(&error) => file
            .set_len(0)
            .map_err(|source| fail(Action::SetLength, source)),
        outcome => outcome.map_err(|source| fail(Action::Allocate, source)),
    }
}
