//! Damaged replicas: closed, their files kept aside, and fetched again from the others. The
//! metadata leads through it, so that a replica that has forgotten its votes never votes on them.

use std::sync::Arc;

use lograft_core::GroupId;
use lograft_core::metadata::{Command, Metadata, Partition};
use tracing::{error, info, warn};

use super::Control;
use super::bootstrap::blocking;
use super::task_registry::Work;
use crate::error_text::error_chain;
use crate::serving::meta_group::ProposeMeta;
use crate::serving::replica::Replica;

/// Whether the cluster is to be told of the damage; not if it knows, or there is no help.
fn is_to_be_told(partition: &Partition) -> bool {
    partition.started && partition.replicas.len() > 1 && partition.repair.is_none()
}

impl Control {
    pub(super) fn look_at_damage(self: &Arc<Self>, metadata: &Metadata) {
        for replica in self
            .replicas()
            .all()
            .values()
            .filter(|r| r.state.is_damaged())
        {
            let replica = Arc::clone(replica);
            let work = Work::Repair(replica.group);
            self.begin(
                work,
                |control| async move { control.take_aside(&replica).await },
            );
        }
        let corrupt = self.replicas().all_corrupt();
        if corrupt.is_empty() {
            return;
        }
        let set_aside = self.set_aside();
        for group in corrupt.keys().filter(|group| set_aside.contains(group)) {
            let Some(place) = metadata.group(*group) else {
                continue;
            };
            if is_to_be_told(place.partition) {
                self.report_damage(*group);
            }
        }
    }

    /// Closes a replica and keeps its files aside.
    async fn take_aside(&self, replica: &Replica) -> bool {
        let group = replica.group;
        error!(%group, topic = %replica.topic, partition = %replica.partition,
            "the replica's files are damaged: it is closed and fetched again");
        self.replicas()
            .set_corrupt(group, Some("a read has met damaged bytes"));
        self.replicas().remove(group);
        replica.raft.shutdown().await;
        let storage = self.parts().storage.clone();
        match blocking(move || storage.set_aside_group(group)).await {
            Ok(Ok(kept)) => info!(%group, kept = %kept.display(), "the files are kept aside"),
            Ok(Err(error)) => {
                error!(%group, "cannot set the files aside: {}", error_chain(&error));
                return false;
            }
            Err(_) => return false,
        }
        true
    }

    fn report_damage(self: &Arc<Self>, group: GroupId) {
        let Some(me) = self.member() else { return };
        self.begin(Work::Repair(group), |control| async move {
            let command = Command::ReportDamage {
                group,
                node: me.node,
            };
            let told = control.propose(command).await;
            match &told {
                Ok(_) => info!(%group, "the cluster knows of the damage"),
                Err(error) => warn!(%group, "cannot tell the cluster of the damage: {error}"),
            }
            told.is_ok()
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
    fn damage_is_told_once_and_only_where_there_is_help() {
        let mut partition = Partition {
            group: GroupId(1),
            replicas: ids(&[1, 2]),
            target: None,
            leaving: Vec::new(),
            started: true,
            repair: None,
        };
        assert!(is_to_be_told(&partition));
        partition.repair = Some(Repair {
            node: NodeId(1),
            is_evicted: false,
        });
        assert!(
            !is_to_be_told(&partition),
            "known, or another one comes first"
        );
        partition.repair = None;
        partition.replicas = ids(&[1]);
        assert!(!is_to_be_told(&partition), "nowhere to fetch it from");
    }
}
