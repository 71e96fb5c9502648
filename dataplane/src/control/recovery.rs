//! Recovery of groups that lost their majority, on the nodes: the surviving replica becomes the
//! only voter in a new recovery epoch, its leader records that, and the leader of the meta group
//! plans new replicas. [Why that is safe](../../docs/adr/2026-11-30-recovery-epochs.md).

use std::sync::Arc;

use lograft_core::metadata::{Command, Partition};
use lograft_core::{GroupId, NodeId, RecoveryEpoch};
use lograft_raft::{BoxError, GroupStatus, RaftError, make_only_voter};
use lograft_storage::GroupLog;
use tracing::{info, warn};

use super::reconcile::plan::Assigned;
use super::task_registry::{TaskKind, TaskRegistry};
use crate::clock::Clock;
use crate::error_text::error_chain;
use crate::incarnation::IncarnationError;
use crate::incarnation::group_marks::GroupMarks;
use crate::recovery_epochs::{RecoveryEpochError, RecoveryEpochFile};
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::Replica;

/// Error of making a replica the only voter of its group. The caller may retry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurvivorError {
    /// The log is empty: its files were lost.
    #[error("the surviving replica has no log")]
    Empty,
    /// The membership cannot be appended.
    #[error(transparent)]
    Append(#[from] RaftError),
    /// The epoch cannot be stored.
    #[error("cannot store the recovery epoch")]
    Epoch(#[from] RecoveryEpochError),
    /// The replica is fenced, and that cannot be lifted.
    #[error("cannot lift the fence of the surviving replica")]
    Mark(#[from] IncarnationError),
}

/// Makes replicas the only voters of their groups. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Survivors {
    pub(crate) epochs: RecoveryEpochFile,
    pub(crate) marks: GroupMarks,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Survivors {
    /// Makes this node's replica the only voter of its group: its log is open, and its raft does
    /// not run. A crash between two of the steps repeats them.
    pub(crate) async fn recover(
        &self,
        me: NodeId,
        assigned: &Assigned,
        log: &GroupLog,
    ) -> Result<(), SurvivorError> {
        let Assigned { group, epoch, .. } = assigned;
        let last = log.last_id().ok_or(SurvivorError::Empty)?;
        self.become_only_voter((*group, *epoch), me, log).await?;
        let (topic, partition) = (&assigned.topic, assigned.partition);
        let end = log.log_end_offset();
        warn!(
            %group, topic, %partition, %epoch, %last, log_end_offset = %end,
            "group recovered from this replica: records that only the lost ones had are gone"
        );
        Ok(())
    }

    /// The same for any group.
    pub(crate) async fn become_only_voter(
        &self,
        (group, epoch): (GroupId, RecoveryEpoch),
        me: NodeId,
        log: &GroupLog,
    ) -> Result<(), SurvivorError> {
        make_only_voter(log, me, self.clock.now_ms()).await?;
        // Before the start in this epoch, and not before the entry is on disk: the epoch says that
        // it is.
        self.epochs.set(group, epoch).await?;
        // The promises of an older disk were made to members of the former epoch.
        if self.marks.fenced().contains(&group) || self.marks.is_joining(group) {
            self.marks.lift(group).await?;
        }
        Ok(())
    }

    /// Forgets a group whose files were deleted. A fence stays: a disk that was put back to before
    /// a recovery deletes its files of the former epoch, and may have promised something in the
    /// present one.
    pub(crate) async fn forget(&self, group: GroupId) -> Result<(), BoxError> {
        if !self.marks.fenced().contains(&group) {
            self.marks.forget(group).await?;
        }
        self.epochs.set(group, RecoveryEpoch::ZERO).await?;
        Ok(())
    }
}

/// Whether the survivor of a recovery leads its group alone, and the metadata do not know that.
fn is_recovered(partition: &Partition, status: &GroupStatus) -> bool {
    let pending = partition.pending_recovery();
    pending.is_some_and(|recovery| recovery.epoch.node() == status.node)
        && status.ready
        && status.joint.is_none()
        && status.membership_committed
        && status.voters.iter().eq([&status.node])
}

/// Records recoveries of groups that this node leads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RecoveryCheck {
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
}

impl RecoveryCheck {
    /// Proposes that a recovery is done, if this replica is its survivor and leads.
    pub(crate) fn check(&self, partition: &Partition, replica: &Replica) {
        let (group, epoch) = (replica.group, partition.epoch());
        let is_current = replica.raft.epoch() == epoch;
        if !is_current || !is_recovered(partition, &replica.raft.watch().borrow()) {
            return;
        }
        let proposer = self.proposer.clone();
        self.tasks.spawn_once(TaskKind::Start(group), async move {
            let command = Command::CommitRecovery { group, epoch };
            let recorded = proposer.propose(command.into()).await;
            match &recorded {
                Ok(_) => info!(%group, %epoch, "recovery of the group is done"),
                Err(error) => {
                    let error = error_chain(error);
                    warn!(%group, error, "cannot record the recovery, will retry");
                }
            }
            recorded.is_ok()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::decommission::factor_commands;
    use crate::control::test_metadata::{apply, cluster, create, group, ids};
    use crate::control::test_status::leading;

    #[test]
    fn a_recovery_is_done_once_the_survivor_leads_alone_and_then_the_partition_grows() {
        let mut metadata = cluster(4);
        let level = lograft_core::FeatureLevel::CURRENT;
        apply(&mut metadata, &Command::FinalizeLevel { level });
        create(&mut metadata, "a", &[&[1, 2, 3]]);
        let group = group(&metadata, "a", 0);
        apply(&mut metadata, &Command::StartPartition { group });
        let (node, from, at_ms) = (NodeId(1), RecoveryEpoch::ZERO, 1);
        let command = Command::RecoverPartition {
            group,
            node,
            from,
            at_ms,
        };
        apply(&mut metadata, &command);
        let partition = metadata.group(group).unwrap().partition.clone();
        assert!(!is_recovered(&partition, &leading(1, &[1, 2, 3])));
        assert!(!is_recovered(&partition, &leading(2, &[2])), "another node");
        let mut status = leading(1, &[1]);
        assert!(is_recovered(&partition, &status));
        status.ready = false;
        assert!(!is_recovered(&partition, &status));
        assert_eq!(factor_commands(&metadata, 3, |_| true), None, "not yet");
        let epoch = partition.epoch();
        apply(&mut metadata, &Command::CommitRecovery { group, epoch });
        let only_4 = |node| node == NodeId(4);
        let replicas = ids(&[1, 4]);
        let grown = vec![Command::SetTarget { group, replicas }];
        assert_eq!(factor_commands(&metadata, 3, only_4), Some(grown.clone()));
        assert_eq!(factor_commands(&metadata, 3, |_| false), None);
        apply(&mut metadata, &grown[0]);
        assert_eq!(factor_commands(&metadata, 3, |_| true), None, "it is moved");
        let replicas = ids(&[1, 4]);
        apply(&mut metadata, &Command::CommitMove { group, replicas });
        let commands = factor_commands(&metadata, 3, |_| true).unwrap();
        let [Command::SetTarget { replicas, .. }] = commands.as_slice() else {
            panic!("{commands:?}");
        };
        assert_eq!(replicas.len(), 3);
    }
}
