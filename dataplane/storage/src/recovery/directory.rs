//! The directory of a group while it is being opened.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use lograft_core::{ClusterId, LogIndex};

use crate::error::{Damage, NewerFormat, StorageError};
use crate::hard_file::FileOwner;
use crate::hard_state::HardState;
use crate::storage_env::StorageEnv;

/// The reason why the directory of a group could not be opened.
pub(crate) enum RecoveryError {
    Damaged(Damage, Option<HardState>),
    OtherCluster(PathBuf, ClusterId),
    Newer(NewerFormat),
    Storage(StorageError),
}

// All failed reads of recovery pass here: a file that the disk cannot read is damage of this group,
// and concerns no other. A failed write or sync stays what it is, and ends the node.
impl From<StorageError> for RecoveryError {
    fn from(error: StorageError) -> Self {
        match (error.damage(), error) {
            (_, StorageError::NewerFormat(newer)) => Self::Newer(newer),
            (Some(damage), _) => Self::Damaged(damage, None),
            (None, error) => Self::Storage(error),
        }
    }
}

impl From<Damage> for RecoveryError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage, None)
    }
}

pub(super) struct GroupDirectory<'a> {
    pub(super) env: &'a StorageEnv,
    pub(super) dir: PathBuf,
    pub(super) owner: FileOwner,
    /// The file names, sorted.
    pub(super) names: Vec<String>,
}

impl GroupDirectory<'_> {
    /// The numbers of the files with this suffix, sorted.
    pub(super) fn numbers(&self, suffix: &str) -> Vec<LogIndex> {
        let names = self
            .names
            .iter()
            .filter_map(|name| name.strip_suffix(suffix));
        names
            .filter_map(|number| number.parse().ok())
            .map(LogIndex)
            .collect()
    }
}

/// The bytes of a file that other files can replace, empty if it is missing or if the disk cannot
/// read it: the caller takes it for invalid. Fails if the host has no resources for the read.
pub(super) fn read_replaceable(
    directory: &GroupDirectory<'_>,
    path: &Path,
    max_bytes: u64,
) -> Result<Bytes, StorageError> {
    match directory.env.files.read_file_prefix(path, max_bytes) {
        Err(error) if error.damage().is_some() => Ok(Bytes::new()),
        outcome => outcome.map(Option::unwrap_or_default),
    }
}

/// Damage to a file as a whole.
pub(super) fn file_damage(path: &Path, what: &'static str) -> Damage {
    Damage {
        path: path.to_owned(),
        position: 0,
        index: None,
        what,
    }
}
