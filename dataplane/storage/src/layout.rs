//! Names of the files and directories in the data directory.

use std::path::{Path, PathBuf};

use lograft_core::{GroupId, LogIndex};

/// Suffix of a file that is not completely written.
pub(crate) const NEW_SUFFIX: &str = ".new";
/// Suffix of a checkpoint while a reset is in progress: the log does not start after it yet.
pub(crate) const RESET_SUFFIX: &str = ".reset";
/// Suffix of a directory that is being removed.
pub(crate) const REMOVED_SUFFIX: &str = ".removed";

pub(crate) fn lock_path(data_dir: &Path) -> PathBuf {
    data_dir.join("LOCK")
}

pub(crate) fn identity_path(data_dir: &Path) -> PathBuf {
    data_dir.join("identity")
}

/// The second file with the identity.
pub(crate) fn identity_copy_path(data_dir: &Path) -> PathBuf {
    data_dir.join("identity.copy")
}

pub(crate) fn recycled_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("recycled")
}

pub(crate) fn groups_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("groups")
}

/// The directory name of a group.
pub(crate) fn group_name(group: GroupId) -> String {
    format!("group-{group}")
}

/// The group with this directory name; `None` for all other names.
pub(crate) fn parse_group_name(name: &str) -> Option<GroupId> {
    name.strip_prefix("group-")?.parse().ok().map(GroupId)
}

/// The directory name of a corrupt copy of a group, without its number.
pub(crate) fn corrupt_copy_prefix(group: GroupId) -> String {
    format!("{}.corrupt-", group_name(group))
}

/// The group and the number of a corrupt copy with this directory name; `None` for all other names.
pub(crate) fn parse_corrupt_copy_name(name: &str) -> Option<(GroupId, u64)> {
    let (group, number) = name.split_once(".corrupt-")?;
    Some((parse_group_name(group)?, number.parse().unwrap_or(0)))
}

/// The file of the segment with this base index.
pub(crate) fn segment_path(group_dir: &Path, base: LogIndex) -> PathBuf {
    group_dir.join(format!("{:020}.seg", base.0))
}

/// The index file of the segment with this base index.
pub(crate) fn index_path(group_dir: &Path, base: LogIndex) -> PathBuf {
    group_dir.join(format!("{:020}.idx", base.0))
}

/// The file of the checkpoint whose last entry has this index.
pub(crate) fn checkpoint_path(group_dir: &Path, last: LogIndex) -> PathBuf {
    group_dir.join(format!("{:020}.ckpt", last.0))
}

pub(crate) fn hard_state_path(group_dir: &Path) -> PathBuf {
    group_dir.join("hard_state")
}

/// The path with `suffix` appended to its last name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
