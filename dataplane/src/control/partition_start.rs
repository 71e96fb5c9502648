//! Starts the raft groups of new partitions.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::GroupId;
use lograft_core::limits::PARTITION_START_TIMEOUT;
use lograft_core::metadata::{Command, Partition};
use lograft_raft::{GroupStatus, RaftError};
use tracing::{debug, warn};

use super::task_registry::{TaskKind, TaskRegistry};
use crate::error_text::error_chain;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::Replica;

/// Starts partitions of which this node has a replica.
#[derive(Clone)]
pub(crate) struct PartitionStart {
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
}

/// The next step of a partition that the metadata does not know as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Initialize the raft group.
    Initialize,
    /// Record in the metadata that it has started.
    Record,
}

/// The next step of a replica of a partition that has not started.
///
/// Every replica would initialize the group with the same membership entry, so a second
/// initialization does no harm. The replicas take turns nevertheless: the first one initializes at
/// once and is elected, each other one only if those before it have not appeared.
fn next_step(partition: &Partition, status: &GroupStatus, open_for: Duration) -> Option<Step> {
    if status.ready {
        return Some(Step::Record);
    }
    if status.is_initialized() || status.leader.is_some() {
        return None;
    }
    let turn = partition
        .replicas
        .iter()
        .position(|node| *node == status.node)?;
    let wait = PARTITION_START_TIMEOUT.saturating_mul(u32::try_from(turn).unwrap_or(u32::MAX));
    (open_for >= wait).then_some(Step::Initialize)
}

impl PartitionStart {
    /// Takes the next step for a replica that has been open for `open_for`.
    pub(crate) fn check(&self, partition: &Partition, replica: &Arc<Replica>, open_for: Duration) {
        let step = next_step(partition, &replica.raft.watch().borrow(), open_for);
        match step {
            None => {}
            Some(Step::Record) => self.record(replica.group),
            Some(Step::Initialize) => self.initialize(partition, replica),
        }
    }

    fn initialize(&self, partition: &Partition, replica: &Replica) {
        let voters = partition.replicas.iter().copied().collect();
        let (group, raft) = (replica.group, replica.raft.clone());
        self.tasks.spawn_once(TaskKind::Start(group), async move {
            match raft.initialize(voters).await {
                Ok(()) | Err(RaftError::AlreadyInitialized { .. }) => true,
                Err(error) => {
                    let error = error_chain(&error);
                    warn!(%group, error, "cannot initialize the raft group, will retry");
                    false
                }
            }
        });
    }

    fn record(&self, group: GroupId) {
        let proposer = self.proposer.clone();
        self.tasks.spawn_once(TaskKind::Start(group), async move {
            let command = Command::StartPartition { group };
            let recorded = proposer.propose(command.into()).await;
            if let Err(error) = &recorded {
                let error = error_chain(error);
                debug!(%group, error, "cannot record the partition start, will retry");
            }
            recorded.is_ok()
        });
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::NodeId;

    use super::*;
    use crate::control::test_metadata::ids;
    use crate::control::test_status::leading;

    fn partition(replicas: &[u64]) -> Partition {
        Partition {
            group: GroupId(1),
            replicas: ids(replicas),
            target: None,
            leaving: Vec::new(),
            started: false,
            repair: None,
            recovery: None,
        }
    }

    #[test]
    fn the_first_replica_initializes_the_group_and_the_others_wait_their_turn() {
        let new = partition(&[2, 1, 3]);
        let mut status = leading(1, &[]);
        status.ready = false;
        status.leader = None;
        assert_eq!(next_step(&new, &status, Duration::ZERO), None);
        let later = next_step(&new, &status, PARTITION_START_TIMEOUT);
        assert_eq!(later, Some(Step::Initialize));
        status.node = NodeId(2);
        assert_eq!(
            next_step(&new, &status, Duration::ZERO),
            Some(Step::Initialize)
        );
        status.node = NodeId(9);
        assert_eq!(
            next_step(&new, &status, Duration::MAX),
            None,
            "not a replica"
        );
        status.node = NodeId(2);
        status.leader = Some(NodeId(1));
        assert_eq!(
            next_step(&new, &status, Duration::MAX),
            None,
            "initialized elsewhere"
        );
        let status = leading(2, &[1, 2, 3]);
        assert_eq!(next_step(&new, &status, Duration::ZERO), Some(Step::Record));
    }
}
