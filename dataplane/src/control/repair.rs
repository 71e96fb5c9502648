//! Repairs corrupt replicas: closes them, sets their files aside, and has the group replicate the
//! log to them again.
//!
//! The steps are in the metadata (reported, evicted, repaired). A corrupt replica may have lost
//! votes and acknowledged entries. It leaves the raft group before it rejoins with an empty log:
//! otherwise it could vote twice in one term, or elect a leader without committed entries.

use std::sync::Arc;

use lograft_core::GroupId;
use lograft_core::metadata::{Command, Metadata, Partition};
use lograft_storage::Storage;
use tracing::{error, info, warn};

use super::blocking::run_blocking;
use super::holdings::HoldingsReader;
use super::local_member::LocalMember;
use super::task_registry::{TaskKind, TaskRegistry};
use crate::error_text::error_chain;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::{Replica, ReplicaMap};

/// Whether a corrupt replica must be reported: not if a repair is in progress, or if there is no
/// other replica to copy the log from.
fn is_reportable(partition: &Partition) -> bool {
    partition.started && partition.replicas.len() > 1 && partition.repair.is_none()
}

/// Repairs corrupt replicas of this node.
#[derive(Clone)]
pub(crate) struct ReplicaRepair {
    pub(crate) member: LocalMember,
    pub(crate) replicas: ReplicaMap,
    pub(crate) holdings: HoldingsReader,
    pub(crate) storage: Storage,
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
}

impl ReplicaRepair {
    /// Closes replicas whose reads have met corrupt data, and reports closed ones.
    pub(crate) fn check(&self, metadata: &Metadata) {
        for replica in self.replicas.all().values() {
            if replica.state.is_damaged() {
                let (this, replica) = (self.clone(), Arc::clone(replica));
                let kind = TaskKind::Repair(replica.group);
                self.tasks
                    .spawn_once(kind, async move { this.set_aside(&replica).await });
            }
        }
        let corrupt = self.replicas.all_corrupt();
        if corrupt.is_empty() {
            return;
        }
        let set_aside = self.holdings.set_aside();
        for group in corrupt.keys().filter(|group| set_aside.contains(group)) {
            let Some(place) = metadata.group(*group) else {
                continue;
            };
            if is_reportable(place.partition) {
                self.report(*group);
            }
        }
    }

    /// Closes a replica and moves its files aside. Returns whether that succeeded.
    async fn set_aside(&self, replica: &Replica) -> bool {
        let group = replica.group;
        error!(%group, topic = %replica.topic, partition = %replica.partition,
            "replica is corrupt, closing it to replicate it again");
        self.replicas
            .set_corrupt(group, Some("corrupt data was read from its files"));
        self.replicas.remove(group);
        replica.raft.shutdown().await;
        let storage = self.storage.clone();
        match run_blocking(move || storage.set_aside_group(group)).await {
            Some(Ok(kept)) => {
                info!(%group, path = %kept.display(), "corrupt files set aside");
                true
            }
            Some(Err(error)) => {
                let error = error_chain(&error);
                error!(%group, error, "cannot set the corrupt files aside");
                false
            }
            None => false,
        }
    }

    fn report(&self, group: GroupId) {
        let Some(node) = self.member.node() else {
            return;
        };
        let proposer = self.proposer.clone();
        self.tasks.spawn_once(TaskKind::Repair(group), async move {
            let reported = proposer
                .propose(Command::ReportDamage { group, node })
                .await;
            match &reported {
                Ok(_) => info!(%group, "corrupt replica reported"),
                Err(error) => {
                    let error = error_chain(error);
                    warn!(%group, error, "cannot report the corrupt replica, will retry");
                }
            }
            reported.is_ok()
        });
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::NodeId;
    use lograft_core::metadata::Repair;

    use super::*;
    use crate::control::test_metadata::ids;

    #[test]
    fn corruption_is_reported_once_and_only_if_other_replicas_exist() {
        let mut partition = Partition {
            group: GroupId(1),
            replicas: ids(&[1, 2]),
            target: None,
            leaving: Vec::new(),
            started: true,
            repair: None,
        };
        assert!(is_reportable(&partition));
        partition.repair = Some(Repair {
            node: NodeId(1),
            is_evicted: false,
        });
        assert!(
            !is_reportable(&partition),
            "reported, or another repair is in progress"
        );
        partition.repair = None;
        partition.replicas = ids(&[1]);
        assert!(!is_reportable(&partition), "no other replica to copy from");
    }
}
