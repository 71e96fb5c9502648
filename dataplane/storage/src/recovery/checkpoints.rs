//! Recovery of the checkpoints of a group.

use std::collections::BTreeMap;
use std::sync::Arc;

use lograft_core::LogIndex;

use super::directory::{GroupDirectory, RecoveryError, file_damage, read_replaceable};
use crate::checkpoint::Checkpoint;
use crate::format::decode_checkpoint;
use crate::group_log::LogState;
use crate::layout::checkpoint_path;

/// Finds the checkpoints of a recovered log. Damaged ones are ignored, unless no valid one is left
/// and the log does not start with its first entry. `finished_reset` is a checkpoint that recovery
/// has renamed, so that the directory listing does not have its name yet.
// A purged log without a checkpoint is corruption: the entries before its start are gone, and with
// them the derived state (producers, membership) that only they or a checkpoint could restore.
pub(super) fn recover(
    directory: &GroupDirectory<'_>,
    state: &LogState,
    finished_reset: Option<LogIndex>,
) -> Result<BTreeMap<LogIndex, Option<Arc<Checkpoint>>>, RecoveryError> {
    let GroupDirectory {
        env, dir, owner, ..
    } = directory;
    let before_start = state.first_index_in_files().prev();
    let mut found = BTreeMap::new();
    let mut damaged = None;
    let mut newest_is_valid = false;
    let mut all = directory.numbers(".ckpt");
    all.extend(finished_reset);
    for last in all.into_iter().rev() {
        let path = checkpoint_path(dir, last);
        if before_start.is_some_and(|before| last < before) {
            env.files.remove_file(&path)?; // the entries after it are purged
            continue;
        }
        // Older ones than the newest valid one are checked when they are used.
        if !newest_is_valid {
            let bytes = read_replaceable(directory, &path, u64::MAX)?;
            match decode_checkpoint(&bytes, owner.group, owner.cluster) {
                Some(checkpoint) if checkpoint.last.index == last => newest_is_valid = true,
                _ => {
                    damaged.get_or_insert_with(|| file_damage(&path, "checkpoint is not valid"));
                    continue;
                }
            }
        }
        found.insert(last, None);
    }
    let starts_log = state
        .segments
        .front()
        .is_none_or(|extent| extent.segment.starts_log);
    if before_start.is_some() && found.is_empty() {
        if let Some(damaged) = damaged {
            return Err(damaged.into());
        }
        if !starts_log {
            return Err(file_damage(dir, "no checkpoint for the start of the log").into());
        }
    }
    Ok(found)
}
