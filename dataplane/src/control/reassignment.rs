//! Reassigns the replicas of a partition: its leader changes raft's membership to the replicas in
//! the metadata, one raft step at a time, and records the result. Repairs take the same way.
//!
//! Architecture invariant: a membership is changed only because the metadata says so, never
//! because a node is silent.

pub(crate) mod step;
pub(crate) mod turns;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::limits::{
    CONTROL_INTERVAL, HANDOVER_RETRY_INTERVAL, REASSIGNMENT_STALLED_MAX, REASSIGNMENTS_MAX_COUNT,
};
use lograft_core::metadata::{Command, Partition};
use lograft_core::{GroupId, LogId, NodeId};
use lograft_raft::{GroupStatus, RaftError, RaftGroup};
use tokio::time::Instant;
use tracing::{debug, info};

use self::step::{Step, next_step};
use self::turns::{DueGroup, Turns};
use super::reachability::Reachability;
use super::task_registry::{TaskKind, TaskRegistry};
use crate::error_text::error_chain;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::Replica;
use crate::state_machine::MetaView;

/// Runs reassignments of the partitions that this node leads.
#[derive(Clone)]
pub(crate) struct Reassignment {
    pub(crate) view: MetaView,
    pub(crate) reachability: Arc<Reachability>,
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
    pub(crate) turns: Arc<Mutex<Turns>>,
}

/// The progress that a reassignment waits for: what the members have of the log.
type CopyProgress = Vec<(NodeId, Option<LogId>)>;

impl Reassignment {
    /// Whether this node leads the partition and its membership differs from the metadata.
    pub(crate) fn is_due(&self, partition: &Partition, replica: &Replica) -> Option<DueGroup> {
        let status = replica.raft.watch();
        let status = status.borrow();
        let is_due = status.ready && self.next_step(partition, &status).is_some();
        is_due.then_some(DueGroup {
            group: replica.group,
            is_repair: partition.repair.is_some(),
        })
    }

    /// Starts tasks for as many of the due reassignments as may run at once, in turn. A task that
    /// makes no progress ends, so that those behind it have their turns.
    pub(crate) fn start(&self, due: &[DueGroup], replicas: &BTreeMap<GroupId, Arc<Replica>>) {
        let is_reassignment = |kind: &TaskKind| matches!(kind, TaskKind::Reassign(_));
        let is_running = |group| self.tasks.count(|kind| *kind == TaskKind::Reassign(group)) > 0;
        let waiting: Vec<DueGroup> = due
            .iter()
            .copied()
            .filter(|due| !is_running(due.group))
            .collect();
        let free = REASSIGNMENTS_MAX_COUNT.saturating_sub(self.tasks.count(is_reassignment));
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        for group in turns.next(due, &waiting, free) {
            let Some(replica) = replicas.get(&group) else {
                continue;
            };
            let (this, replica) = (self.clone(), Arc::clone(replica));
            self.tasks
                .spawn_once(TaskKind::Reassign(group), async move {
                    this.run(&replica).await;
                    false
                });
        }
    }

    fn next_step(&self, partition: &Partition, status: &GroupStatus) -> Option<Step> {
        next_step(partition, status, |node| {
            self.reachability.is_reachable(node)
        })
    }

    /// Takes steps until the membership matches, a step fails, this node no longer leads, or the
    /// replicas make no progress for `REASSIGNMENT_STALLED_MAX`.
    async fn run(&self, replica: &Replica) {
        let group = replica.group;
        let mut status = replica.raft.watch();
        let mut progress = (copy_progress(&status.borrow()), Instant::now());
        loop {
            let metadata = self.view.load();
            let Some(place) = metadata.group(group) else {
                return;
            };
            let step = {
                let status = status.borrow_and_update();
                if !status.ready {
                    return;
                }
                let copied = copy_progress(&status);
                if progress.0 != copied {
                    progress = (copied, Instant::now());
                }
                self.next_step(place.partition, &status)
            };
            let Some(step) = step else { return };
            if step == Step::Wait {
                if progress.1.elapsed() >= REASSIGNMENT_STALLED_MAX {
                    info!(%group, "replica reassignment makes no progress, will retry");
                    return;
                }
                // Checked again when the status changes, or after the interval: the metadata and
                // the reachability may have changed too.
                let _ = tokio::time::timeout(CONTROL_INTERVAL, status.changed()).await;
                continue;
            }
            debug!(%group, ?step, "replica reassignment step started");
            if let Err(error) = self.execute(replica, step).await {
                info!(%group, error, "replica reassignment step failed, will retry");
                return;
            }
            progress.1 = Instant::now();
        }
    }

    async fn execute(&self, replica: &Replica, step: Step) -> Result<(), String> {
        let raft = &replica.raft;
        let group = replica.group;
        let changed = match step {
            Step::AddLearner(node) => raft.add_learner(node).await,
            Step::RemoveLearner(node) => raft.remove_learner(node).await,
            Step::ChangeVoters(voters) => raft.change_voters(voters).await,
            Step::HandOver(to) => return hand_over(raft, to).await,
            Step::Wait => Ok(()),
            Step::CommitEviction(node) => {
                return self.propose(Command::CommitEviction { group, node }).await;
            }
            Step::CommitRepair(node) => {
                return self.propose(Command::CommitRepair { group, node }).await;
            }
            Step::Commit(replicas) => {
                return self.propose(Command::CommitMove { group, replicas }).await;
            }
        };
        changed.map_err(|error| error_chain(&error))
    }

    async fn propose(&self, command: Command) -> Result<(), String> {
        let proposed = self.proposer.propose(command.into()).await;
        proposed.map(drop).map_err(|error| error_chain(&error))
    }
}

/// What the replicas that are being added have.
fn copy_progress(status: &GroupStatus) -> CopyProgress {
    let learners = status.learners.iter();
    learners
        .map(|node| {
            let follower = status.followers.get(node);
            (*node, follower.and_then(|follower| follower.matched))
        })
        .collect()
}

async fn hand_over(raft: &RaftGroup, to: NodeId) -> Result<(), String> {
    info!(group = %raft.group(), to_node_id = %to, "leaving the group, transferring leadership");
    let transferred = raft.transfer_leader(to).await;
    if let Err(RaftError::Timeout { .. }) = transferred {
        // The group has accepted no writes during the transfer: it serves clients for a while
        // before the next attempt.
        tokio::time::sleep(HANDOVER_RETRY_INTERVAL).await;
    }
    transferred.map_err(|error| error_chain(&error))
}
