//! What a node cannot live on after. It says so once and ends its process: what it holds in memory
//! may be wrong, and a restart recovers from the disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lograft_core::consumer_group::GroupCodecError;
use lograft_core::metadata::CodecError;
use lograft_core::partition::PartitionStateError;
use lograft_core::{FeatureLevel, GroupId, LogIndex, Offset, RecoveryEpoch};
use lograft_storage::{NewerFormat, StorageError};
use tokio::sync::watch;

/// Why a node must end.
#[derive(Debug, thiserror::Error)]
pub enum FatalError {
    /// A write or a sync failed; the cause names the file.
    #[error("storage failed")]
    Storage(#[source] StorageError),
    /// A write or a sync does not return.
    #[error(
        "the disk hangs: a write has not returned for {} s; the process ends once the disk \
         returns, check the disk of the data directory", stuck.as_secs()
    )]
    DiskHung {
        /// The time since the write was started.
        stuck: Duration,
    },
    /// A file was written by a newer version, and this one must not change it.
    #[error(transparent)]
    NewerFormat(NewerFormat),
    /// The state of a partition, in a checkpoint or a snapshot, was written by a newer version.
    #[error("cannot decode the state of group {group}, perhaps of a newer version")]
    PartitionState {
        /// The group.
        group: GroupId,
        /// Why.
        #[source]
        source: PartitionStateError,
    },
    /// The log of the meta group is damaged. Its files were set aside, and the next start
    /// replicates the log again.
    #[error("log of the meta group was set aside: {damage}")]
    MetaLogDamaged {
        /// The damaged file and position.
        damage: String,
    },
    /// The log of the meta group is replaced, or becomes that of the only voter, at the next start.
    #[error("metadata are recovered at epoch {epoch}: the node restarts")]
    MetaRecovery {
        /// The recovery epoch of the meta group.
        epoch: RecoveryEpoch,
    },
    /// A raft core ended.
    #[error("raft core of group {group} failed: {cause}")]
    Raft {
        /// The group.
        group: GroupId,
        /// The error of raft.
        cause: String,
    },
    /// A committed entry does not follow on a replica's state.
    #[error("entry {index} of group {group} must start at offset {expected}, got {found}")]
    Diverged {
        /// The group.
        group: GroupId,
        /// The entry.
        index: LogIndex,
        /// The next offset of the applied state.
        expected: Offset,
        /// The base offset of the entry.
        found: Offset,
    },
    /// A committed command of the meta group does not decode: a newer version wrote it.
    #[error("cannot decode command {index} of the meta group, perhaps of a newer version")]
    Command {
        /// Its index.
        index: LogIndex,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// A committed command of a coordinator does not decode: a newer version wrote it.
    #[error("cannot decode command {index} of group {group}, perhaps of a newer version")]
    GroupCommand {
        /// The coordinator's group.
        group: GroupId,
        /// Its index.
        index: LogIndex,
        /// Why.
        #[source]
        source: GroupCodecError,
    },
    /// The state of a coordinator, in a checkpoint or a snapshot, was written by a newer version.
    #[error("cannot decode the consumer groups of group {group}, perhaps of a newer version")]
    GroupState {
        /// The coordinator's group.
        group: GroupId,
        /// Why.
        #[source]
        source: GroupCodecError,
    },
    /// A checkpoint of the metadata was written by a newer version.
    #[error("cannot decode the metadata: start this node with the version of the other nodes")]
    Checkpoint {
        /// Why.
        #[source]
        source: CodecError,
    },
    /// The cluster has finalized a feature level that this version does not know.
    #[error(
        "cluster has finalized feature level {finalized}, and this version knows levels up to \
         {known}: start this node with the version of the other nodes"
    )]
    LevelTooNew {
        /// The finalized level of the cluster.
        finalized: FeatureLevel,
        /// The newest level that this version knows.
        known: FeatureLevel,
    },
}

/// Receives fatal errors.
pub(crate) trait FatalSink: Send + Sync + 'static {
    /// Called from any thread, perhaps more than once. Must not block.
    fn report(&self, error: FatalError);
}

/// Keeps the first fatal error for its waiter.
#[derive(Debug, Default)]
pub(crate) struct FatalCell {
    first: Mutex<Option<FatalError>>,
    is_set: watch::Sender<bool>,
}

impl FatalSink for FatalCell {
    fn report(&self, error: FatalError) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(error);
            self.is_set.send_replace(true);
        }
    }
}

impl FatalCell {
    /// Waits for a fatal error.
    pub(crate) async fn wait(&self) -> FatalError {
        let mut is_set = self.is_set.subscribe();
        // The sender lives as long as `self`: this waits or succeeds.
        let _ = is_set.wait_for(|set| *set).await;
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match first {
            Some(error) => error,
            // Another waiter has taken it.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_error_is_kept() {
        let cell = FatalCell::default();
        for group in [4, 5] {
            cell.report(FatalError::Raft {
                group: GroupId(group),
                cause: "x".to_owned(),
            });
        }
        assert_eq!(
            cell.wait().await.to_string(),
            "raft core of group 4 failed: x"
        );
    }
}
