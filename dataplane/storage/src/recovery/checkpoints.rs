//! Which checkpoints there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use lograft_core::LogIndex;

use super::{Directory, Failure, damage};
use crate::checkpoint::Checkpoint;
use crate::format::decode_checkpoint;
use crate::group_log::LogState;
use crate::storage_env::checkpoint_path;

/// Finds the checkpoints of a recovered log. Damaged ones are dropped, unless the log does not
/// reach back to its first entry without them. `finished` got its name just now.
pub(super) fn recover(
    directory: &Directory<'_>,
    state: &LogState,
    finished: Option<LogIndex>,
) -> Result<BTreeMap<LogIndex, Option<Arc<Checkpoint>>>, Failure> {
    let Directory {
        node,
        dir,
        group,
        cluster,
        ..
    } = directory;
    let begins_after = state.files_begin().prev();
    let mut found = BTreeMap::new();
    let mut damaged = None;
    let mut newest_is_whole = false;
    let mut all = directory.numbers(".ckpt");
    all.extend(finished);
    for last in all.into_iter().rev() {
        let path = checkpoint_path(dir, last);
        if begins_after.is_some_and(|before| last < before) {
            node.remove_file(&path)?; // the log does not reach back to it
            continue;
        }
        // Those before the newest whole one are checked when they are asked for.
        if !newest_is_whole {
            let bytes = node.read_file(&path)?.unwrap_or_default();
            match decode_checkpoint(&bytes, *group, *cluster) {
                Some(checkpoint) if checkpoint.last.index == last => newest_is_whole = true,
                _ => {
                    damaged.get_or_insert_with(|| damage(&path, "a bad checkpoint"));
                    continue;
                }
            }
        }
        found.insert(last, None);
    }
    let starts_log = state
        .segments
        .front()
        .is_none_or(|filled| filled.segment.starts_log);
    if begins_after.is_some() && found.is_empty() {
        if let Some(damaged) = damaged {
            return Err(damaged.into());
        }
        if !starts_log {
            return Err(damage(dir, "no checkpoint for the log's beginning").into());
        }
    }
    Ok(found)
}
