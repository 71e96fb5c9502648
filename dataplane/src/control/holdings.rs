//! The replicas and files that this node holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lograft_core::{GroupId, RecoveryEpoch};
use lograft_storage::{CorruptCopies, Storage, StorageError};
use tracing::warn;

use crate::error_text::error_chain;
use crate::fatal::{FatalError, FatalSink};
use crate::recovery_epochs::RecoveryEpochs;
use crate::serving::replica::ReplicaMap;

/// The groups of which this node holds something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Groups with a running replica.
    pub(crate) open: BTreeSet<GroupId>,
    /// Groups with a replica that is not served because its files are corrupt.
    pub(crate) corrupt: BTreeSet<GroupId>,
    /// Groups with files, whether open or not.
    pub(crate) on_disk: BTreeSet<GroupId>,
    /// Groups without files whose corrupt files were set aside.
    pub(crate) set_aside: BTreeSet<GroupId>,
    /// The corrupt copies of each group that has any.
    pub(crate) copies: BTreeMap<GroupId, CorruptCopies>,
    /// The recovery epochs of the files, where they are not 0.
    pub(crate) epochs: BTreeMap<GroupId, RecoveryEpoch>,
    /// Later recovery epochs that other nodes know of.
    pub(crate) learned: BTreeMap<GroupId, RecoveryEpoch>,
}

impl Holdings {
    /// The recovery epoch of the files of a group.
    pub(crate) fn epoch(&self, group: GroupId) -> RecoveryEpoch {
        self.epochs.get(&group).copied().unwrap_or_default()
    }

    /// Whether there is anything of a group.
    pub(crate) fn has(&self, group: GroupId) -> bool {
        let held = [&self.open, &self.corrupt, &self.on_disk, &self.set_aside];
        held.iter().any(|groups| groups.contains(&group))
    }

    /// The number of corrupt copies of a group.
    pub(crate) fn copies_count(&self, group: GroupId) -> usize {
        self.copies.get(&group).map_or(0, |copies| copies.count)
    }
}

/// Reads the holdings. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HoldingsReader {
    pub(crate) replicas: ReplicaMap,
    pub(crate) epochs: RecoveryEpochs,
    pub(crate) storage: Storage,
    pub(crate) fatal: Arc<dyn FatalSink>,
}

impl HoldingsReader {
    /// The current holdings; `None` if a directory cannot be read now. Reads directories.
    ///
    /// Holdings without the directory of corrupt copies would let a replica that lost its log start
    /// with an empty one: it could vote a second time in a term in which it has voted before
    /// (double vote). So nothing is opened without them; a failure other than a lack of file
    /// descriptors is fatal.
    pub(crate) fn read(&self) -> Option<Holdings> {
        let read = self.storage.set_aside_groups();
        let set_aside = self.or_fatal(read)?.into_iter().collect();
        let copies = self.or_fatal(self.storage.corrupt_copies())?;
        Some(Holdings {
            open: self.replicas.all().keys().copied().collect(),
            corrupt: self.replicas.all_corrupt().keys().copied().collect(),
            // If the directory cannot be listed now, its leftovers are removed later.
            on_disk: self
                .storage
                .groups()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            set_aside,
            copies,
            epochs: self.epochs.all_own(),
            learned: self.epochs.all_learned(),
        })
    }

    fn or_fatal<T>(&self, read: Result<T, StorageError>) -> Option<T> {
        match read {
            Ok(found) => Some(found),
            Err(error) if error.is_retryable() => {
                let error = error_chain(&error);
                warn!(error, "cannot list the replicas on disk, will retry");
                None
            }
            Err(error) => {
                self.fatal.report(FatalError::Storage(error));
                None
            }
        }
    }
}
