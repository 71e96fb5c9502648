//! Membership of the meta group, managed by its leader. Every node replicates the metadata; an odd
//! number of them, at most `META_VOTERS_MAX_COUNT`, are voters.
//!
//! Architecture invariant: the metadata alone decides who is a member. A voter that does not answer
//! stays a voter until its node is decommissioned, or marked as lost and another one takes its
//! place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lograft_core::assignment::meta_voters;
use lograft_core::limits::{
    META_VOTERS_MAX_COUNT, REASSIGNMENT_LAG_MAX_COUNT, REMOVED_NODE_LEARNER_MAX,
};
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{NodeId, NodeState};
use lograft_raft::{GroupStatus, RaftError, RaftGroup, Role};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::decommission::{drain_commands, factor_commands};
use super::leader_handover::{VoterStep, voter_step};
use super::local_member::LocalMember;
use super::lost_nodes::{LostNodes, log_mark};
use super::meta_recovery::is_unrecorded;
use super::reachability::Reachability;
use super::retention::{purge, state_purgeable};
use super::task_registry::{TaskKind, TaskRegistry};
use crate::config::TopicDefaultsSource;
use crate::error_text::error_chain;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::{MetaReplica, ReplicaMap};

/// The next step of the meta group's leader.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Add a node as a learner, which replicates the log to it.
    AddLearner(NodeId),
    /// Change the voters to these.
    ChangeVoters(BTreeSet<NodeId>),
    /// Transfer the leadership to a voter that stays, before this node stops being one.
    HandOver(NodeId),
    /// Stop the replication to a removed node.
    RemoveLearner(NodeId),
    /// Propose these commands.
    Propose(Vec<Command>),
    /// Mark a node as lost or as found.
    Mark(Command),
}

/// Learners that were removed from the cluster, with the time at which this leader first saw them.
/// They stay learners for a while, so that they receive their own removal.
#[derive(Debug, Default)]
struct RemovedLearners(BTreeMap<NodeId, Instant>);

impl RemovedLearners {
    /// Whether a removed node may leave the group now.
    fn is_due(&mut self, node: NodeId, now: Instant) -> bool {
        now.duration_since(*self.0.entry(node).or_insert(now)) >= REMOVED_NODE_LEARNER_MAX
    }
}

/// The next step of the meta group's membership; `None` if it matches the metadata, or no step is
/// possible now. `may_leave` says whether a removed node may leave the group.
fn membership_step(
    metadata: &Metadata,
    status: &GroupStatus,
    is_reachable: impl Fn(NodeId) -> bool,
    mut may_leave: impl FnMut(NodeId) -> bool,
) -> Option<Step> {
    // Raft allows one membership change at a time: the next one may only follow a committed one,
    // otherwise two majorities that do not overlap could form.
    if !status.membership_committed {
        return None;
    }
    if let Some(joint) = &status.joint {
        return change_step(status, joint, is_reachable);
    }
    let is_in = |node: &NodeId| status.voters.contains(node) || status.learners.contains(node);
    if let Some(node) = metadata
        .members()
        .map(|node| node.id)
        .find(|node| !is_in(node) && !metadata.is_left_behind(*node))
    {
        return Some(Step::AddLearner(node));
    }
    // Only a learner that is reachable and has caught up becomes a voter: one that cannot
    // acknowledge would raise the majority without contributing to it.
    let can_vote = |node: &NodeId| {
        is_reachable(*node) && status.is_caught_up(*node, REASSIGNMENT_LAG_MAX_COUNT)
    };
    let candidates = status.learners.iter().copied().filter(can_vote).collect();
    let goal = meta_voters(metadata, &status.voters, &candidates, META_VOTERS_MAX_COUNT);
    if goal != status.voters {
        return change_step(status, &goal, is_reachable);
    }
    let is_removed = |id: &NodeId| {
        metadata
            .node(*id)
            .is_some_and(|node| node.state == NodeState::Removed)
    };
    let mut removed = status.learners.iter().copied().filter(is_removed);
    removed
        .find(|node| may_leave(*node))
        .map(Step::RemoveLearner)
}

/// The next step towards these voters; `None` if no voter can take over from this leader yet.
fn change_step(
    status: &GroupStatus,
    goal: &BTreeSet<NodeId>,
    is_reachable: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    match voter_step(status, goal, goal.iter().copied(), is_reachable) {
        VoterStep::ChangeVoters(voters) => Some(Step::ChangeVoters(voters)),
        VoterStep::HandOver(to) => Some(Step::HandOver(to)),
        VoterStep::Wait => None,
    }
}

/// Manages the meta group's membership, its log, and decommissions.
pub(crate) struct MetaVoters {
    pub(crate) member: LocalMember,
    pub(crate) replicas: ReplicaMap,
    pub(crate) reachability: Arc<Reachability>,
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
    pub(crate) lost: LostNodes,
    pub(crate) defaults: TopicDefaultsSource,
    removed: RemovedLearners,
}

impl MetaVoters {
    /// Without any state yet.
    pub(crate) fn new(
        member: LocalMember,
        replicas: ReplicaMap,
        (reachability, lost): (Arc<Reachability>, LostNodes),
        (proposer, defaults): (MetaHandle, TopicDefaultsSource),
        tasks: TaskRegistry,
    ) -> Self {
        Self {
            member,
            replicas,
            reachability,
            proposer,
            tasks,
            lost,
            defaults,
            removed: RemovedLearners::default(),
        }
    }

    /// Starts the next step, if one is due.
    pub(crate) fn check(&mut self, metadata: &Metadata, now: Instant) {
        let Some(meta) = self.replicas.meta() else {
            return;
        };
        if self.member.is_removed(metadata) {
            return self.leave(&meta.raft);
        }
        self.check_purge(&meta);
        if let Some(step) = self.next_step(metadata, &meta.raft, now) {
            let (raft, proposer) = (meta.raft.clone(), self.proposer.clone());
            self.tasks.spawn_once(TaskKind::Meta, async move {
                debug!(?step, "meta group step started");
                execute(&raft, &proposer, step).await
            });
        }
    }

    fn next_step(&mut self, metadata: &Metadata, raft: &RaftGroup, now: Instant) -> Option<Step> {
        let Self {
            reachability,
            removed,
            lost,
            member,
            defaults,
            ..
        } = self;
        let status = raft.watch();
        let status = status.borrow();
        if !status.ready || is_unrecorded(raft, metadata) {
            lost.forget();
            return None;
        }
        lost.observe(metadata, now);
        if let Some(mark) = lost.mark(metadata, &status.voters) {
            return Some(Step::Mark(mark));
        }
        let is_reachable = |node| reachability.is_reachable(node);
        membership_step(metadata, &status, is_reachable, |node| {
            removed.is_due(node, now)
        })
        .or_else(|| drain_commands(metadata, &status.voters).map(Step::Propose))
        .or_else(|| lost.replacements(metadata).map(Step::Propose))
        .or_else(|| {
            let default = defaults.latest().replication_factor();
            let is_whole = |node| Some(node) == member.node() || is_reachable(node);
            factor_commands(metadata, default, is_whole).map(Step::Propose)
        })
    }

    fn check_purge(&self, meta: &MetaReplica) {
        let purged = meta.raft.watch().borrow().purged.map(|id| id.index);
        let Some(up_to) = state_purgeable(&meta.log.segments(), purged) else {
            return;
        };
        let raft = meta.raft.clone();
        let kind = TaskKind::Retention(raft.group());
        self.tasks.spawn_once(kind, async move {
            purge(&raft, up_to).await;
            false
        });
    }

    /// Stops the meta group's replica of this node, which was decommissioned.
    fn leave(&self, raft: &RaftGroup) {
        if raft.watch().borrow().role == Role::Stopped {
            return;
        }
        let raft = raft.clone();
        self.tasks.spawn_once(TaskKind::Meta, async move {
            warn!("node was decommissioned, leaving the meta group");
            raft.shutdown().await;
            false
        });
    }
}

async fn execute(raft: &RaftGroup, proposer: &MetaHandle, step: Step) -> bool {
    let changed = match step {
        Step::Propose(commands) => return propose_all(proposer, commands).await,
        Step::Mark(command) => {
            let is_made = propose_all(proposer, vec![command.clone()]).await;
            if is_made {
                log_mark(&command);
            }
            return is_made;
        }
        step => change_membership(raft, step).await,
    };
    if let Err(error) = &changed {
        let error = error_chain(error);
        info!(error, "meta group step failed, will retry");
    }
    changed.is_ok()
}

async fn change_membership(raft: &RaftGroup, step: Step) -> Result<(), RaftError> {
    match step {
        Step::AddLearner(node) => raft.add_learner(node).await,
        Step::RemoveLearner(node) => raft.remove_learner(node).await,
        Step::HandOver(to) => {
            info!(to_node_id = %to, "leaving the meta group, transferring leadership");
            raft.transfer_leader(to).await
        }
        Step::ChangeVoters(voters) => {
            info!(?voters, "changing the meta group's voters");
            raft.change_voters(voters).await
        }
        Step::Propose(_) | Step::Mark(_) => Ok(()),
    }
}

async fn propose_all(proposer: &MetaHandle, commands: Vec<Command>) -> bool {
    for command in commands {
        if let Err(error) = proposer.propose(command.into()).await {
            let error = error_chain(&error);
            warn!(error, "cannot change the metadata, will retry");
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::{apply, cluster, ids};
    use crate::control::test_status::{caught_up, leading};

    fn step(metadata: &Metadata, status: &GroupStatus) -> Option<Step> {
        membership_step(metadata, status, |_| true, |_| true)
    }

    #[test]
    fn a_leader_that_is_removed_transfers_its_leadership_first() {
        let mut metadata = cluster(3);
        apply(&mut metadata, &Command::DrainNode { node: NodeId(1) });
        let mut status = leading(1, &[1, 2, 3]);
        assert_eq!(step(&metadata, &status), None, "no node has caught up");
        caught_up(&mut status, 2, 0);
        let handed = step(&metadata, &status);
        assert_eq!(handed, Some(Step::HandOver(NodeId(2))));
        status.joint = Some(ids(&[2, 3]));
        assert_eq!(
            step(&metadata, &status),
            handed,
            "nor does it complete a change that removes it"
        );
    }

    #[test]
    fn new_nodes_are_learners_first_and_voters_are_odd_in_number() {
        let metadata = cluster(3);
        let mut status = leading(1, &[1]);
        assert_eq!(step(&metadata, &status), Some(Step::AddLearner(NodeId(2))));
        status.learners = ids(&[2]);
        assert_eq!(step(&metadata, &status), Some(Step::AddLearner(NodeId(3))));
        status.learners = ids(&[2, 3]);
        assert_eq!(step(&metadata, &status), None, "no node has caught up");
        caught_up(&mut status, 2, 0);
        assert_eq!(
            step(&metadata, &status),
            None,
            "two voters are no better than one"
        );
        caught_up(&mut status, 3, 0);
        let all = Some(Step::ChangeVoters(ids(&[1, 2, 3])));
        assert_eq!(step(&metadata, &status), all);
        assert_eq!(
            membership_step(&metadata, &status, |_| false, |_| true),
            None,
            "unreachable"
        );
        status.membership_committed = false;
        assert_eq!(step(&metadata, &status), None, "one change at a time");
        status.joint = Some(ids(&[1, 2, 3]));
        assert_eq!(
            step(&metadata, &status),
            None,
            "a joint change is not proposed twice"
        );
        status.membership_committed = true;
        assert_eq!(step(&metadata, &status), all, "a joint change is completed");
        let settled = leading(1, &[1, 2, 3]);
        assert_eq!(step(&metadata, &settled), None, "silent voters stay");
    }

    #[test]
    fn a_draining_node_becomes_a_learner_and_a_removed_one_leaves() {
        let mut metadata = cluster(4);
        apply(&mut metadata, &Command::DrainNode { node: NodeId(3) });
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4]);
        caught_up(&mut status, 4, 0);
        let replaced = Some(Step::ChangeVoters(ids(&[1, 2, 4])));
        assert_eq!(step(&metadata, &status), replaced);
        status.voters = ids(&[1, 2, 4]);
        status.learners = ids(&[]);
        assert_eq!(step(&metadata, &status), Some(Step::AddLearner(NodeId(3))));
        status.learners = ids(&[3]);
        caught_up(&mut status, 3, 0);
        assert_eq!(
            step(&metadata, &status),
            None,
            "it does not become a voter again"
        );
        apply(&mut metadata, &Command::RemoveNode { node: NodeId(3) });
        let too_early = membership_step(&metadata, &status, |_| true, |_| false);
        assert_eq!(too_early, None, "it must receive its removal first");
        assert_eq!(
            step(&metadata, &status),
            Some(Step::RemoveLearner(NodeId(3)))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_node_stays_a_learner_for_a_while() {
        let mut removed = RemovedLearners::default();
        let start = Instant::now();
        assert!(!removed.is_due(NodeId(3), start));
        assert!(!removed.is_due(NodeId(3), start + REMOVED_NODE_LEARNER_MAX / 2));
        assert!(removed.is_due(NodeId(3), start + REMOVED_NODE_LEARNER_MAX));
    }
}
