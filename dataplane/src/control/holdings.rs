//! The replicas and files that this node holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use lograft_core::GroupId;
use lograft_storage::Storage;

use crate::fatal::{FatalError, FatalSink};
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
}

/// Reads the holdings. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HoldingsReader {
    pub(crate) replicas: ReplicaMap,
    pub(crate) storage: Storage,
    pub(crate) fatal: Arc<dyn FatalSink>,
}

impl HoldingsReader {
    /// The current holdings. Reads directories.
    pub(crate) fn read(&self) -> Holdings {
        Holdings {
            open: self.replicas.all().keys().copied().collect(),
            corrupt: self.replicas.all_corrupt().keys().copied().collect(),
            // If the directory cannot be listed now, its leftovers are removed later.
            on_disk: self
                .storage
                .groups()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            set_aside: self.set_aside(),
        }
    }

    /// The groups whose corrupt files were set aside. Reads a directory.
    ///
    /// A failure is fatal. An empty answer would let a replica that lost its log start with an
    /// empty one: it could vote a second time in a term in which it has voted before (double vote).
    pub(crate) fn set_aside(&self) -> BTreeSet<GroupId> {
        match self.storage.set_aside_groups() {
            Ok(groups) => groups.into_iter().collect(),
            Err(error) => {
                self.fatal.report(FatalError::Storage(error));
                BTreeSet::new()
            }
        }
    }
}
