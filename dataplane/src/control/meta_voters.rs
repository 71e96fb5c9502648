//! Who takes part in the meta group: every node gets its log, an odd few vote. Its leader does
//! this, by the metadata's word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lograft_core::assignment::meta_voters;
use lograft_core::limits::{META_VOTERS_MAX_COUNT, MOVE_LAG_MAX_COUNT, REMOVED_LINGER};
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{NodeId, NodeState};
use lograft_raft::{GroupStatus, RaftGroup};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Control;
use super::decommission::drain_commands;
use super::leader_handover::{Succession, succession_step};
use super::retention::{meta_purgeable, purge};
use super::task_registry::Work;
use crate::error_text::error_chain;
use crate::serving::meta_group::ProposeMeta;

/// What the meta group's leader is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MetaStep {
    /// Give a node the log.
    AddLearner(NodeId),
    /// Make these the voters.
    ChangeVoters(BTreeSet<NodeId>),
    /// Hand leadership to a voter that stays, before this node stops to be one.
    HandOver(NodeId),
    /// Give a removed node the log no more.
    RemoveLearner(NodeId),
    /// Propose these.
    Propose(Vec<Command>),
}

/// Since when each removed node has been seen as a learner. It stays one for a moment, so that it
/// hears of its own removal.
#[derive(Debug, Default)]
pub(super) struct Lingering(BTreeMap<NodeId, Instant>);

impl Lingering {
    fn is_over(&mut self, node: NodeId, now: Instant) -> bool {
        now.duration_since(*self.0.entry(node).or_insert(now)) >= REMOVED_LINGER
    }
}

/// The next step of the meta group's membership; `None` if it is as it should be.
fn membership_step(
    metadata: &Metadata,
    status: &GroupStatus,
    is_reachable: impl Fn(NodeId) -> bool,
    mut is_heard: impl FnMut(NodeId) -> bool,
) -> Option<MetaStep> {
    if !status.membership_committed {
        return None;
    }
    if let Some(joint) = &status.joint {
        return change_step(status, joint, is_reachable);
    }
    let is_in = |node: &NodeId| status.voters.contains(node) || status.learners.contains(node);
    if let Some(newcomer) = metadata
        .members()
        .map(|node| node.id)
        .find(|node| !is_in(node))
    {
        return Some(MetaStep::AddLearner(newcomer));
    }
    let caught_up = status.learners.iter().copied();
    let caught_up = caught_up
        .filter(|node| is_reachable(*node) && status.is_caught_up(*node, MOVE_LAG_MAX_COUNT))
        .collect();
    let wished = meta_voters(metadata, &status.voters, &caught_up, META_VOTERS_MAX_COUNT);
    if wished != status.voters {
        return change_step(status, &wished, is_reachable);
    }
    let is_removed = |id: &NodeId| {
        metadata
            .node(*id)
            .is_some_and(|n| n.state == NodeState::Removed)
    };
    let removed = status.learners.iter().copied().filter(is_removed);
    removed
        .into_iter()
        .find(|node| is_heard(*node))
        .map(MetaStep::RemoveLearner)
}

/// How the voters become `wished`; `None` if nobody can take over from this leader yet.
fn change_step(
    status: &GroupStatus,
    wished: &BTreeSet<NodeId>,
    is_reachable: impl Fn(NodeId) -> bool,
) -> Option<MetaStep> {
    match succession_step(status, wished, wished.iter().copied(), is_reachable) {
        Succession::ChangeVoters(voters) => Some(MetaStep::ChangeVoters(voters)),
        Succession::HandOver(heir) => Some(MetaStep::HandOver(heir)),
        Succession::Wait => None,
    }
}

impl Control {
    pub(super) fn look_at_meta(
        self: &Arc<Self>,
        metadata: &Metadata,
        lingering: &mut Lingering,
        now: Instant,
    ) {
        let Some(meta) = self.replicas().meta() else {
            return;
        };
        if self.is_removed_itself(metadata) {
            return self.leave(&meta.raft);
        }
        let status = meta.raft.watch();
        let (step, purged) = {
            let status = status.borrow();
            let is_reachable = |node| self.hints().reachable_since(node).is_some();
            let step = status.ready.then(|| {
                membership_step(metadata, &status, is_reachable, |n| {
                    lingering.is_over(n, now)
                })
                .or_else(|| drain_commands(metadata, &status.voters).map(MetaStep::Propose))
            });
            (step.flatten(), status.purged.map(|id| id.index))
        };
        if let Some(up_to) = meta_purgeable(&meta.log.segments(), purged) {
            let raft = meta.raft.clone();
            let work = Work::Retention(raft.group());
            self.begin(work, |_| async move {
                purge(&raft, up_to).await;
                false
            });
        }
        if let Some(step) = step {
            let raft = meta.raft.clone();
            self.begin(Work::Meta, |control| async move {
                debug!(?step, "a step of the meta group");
                control.take_meta_step(&raft, step).await
            });
        }
    }

    async fn take_meta_step(&self, raft: &RaftGroup, step: MetaStep) -> bool {
        let done = match step {
            MetaStep::AddLearner(node) => raft.add_learner(node).await,
            MetaStep::RemoveLearner(node) => raft.remove_learner(node).await,
            MetaStep::HandOver(heir) => {
                info!(%heir, "the meta group gets another leader: this node leaves it");
                raft.transfer_leader(heir).await
            }
            MetaStep::ChangeVoters(voters) => {
                info!(?voters, "the meta group's voters change");
                raft.change_voters(voters).await
            }
            MetaStep::Propose(commands) => {
                for command in commands {
                    if let Err(error) = self.propose(command).await {
                        warn!("a step of a decommission is to be tried again: {error}");
                        return false;
                    }
                }
                Ok(())
            }
        };
        if let Err(error) = &done {
            info!(
                "a step of the meta group is to be tried again: {}",
                error_chain(error)
            );
        }
        done.is_ok()
    }

    pub(super) fn is_removed_itself(&self, metadata: &Metadata) -> bool {
        let own = self.member().and_then(|me| metadata.node(me.node));
        own.is_some_and(|node| node.state == NodeState::Removed)
    }

    /// A removed node has nothing to say any more.
    fn leave(self: &Arc<Self>, raft: &RaftGroup) {
        if raft.watch().borrow().role == lograft_raft::Role::Stopped {
            return;
        }
        let raft = raft.clone();
        self.begin(Work::Meta, |_| async move {
            warn!("this node has been decommissioned: it takes no part any more");
            raft.shutdown().await;
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::{apply, cluster, ids};
    use crate::control::test_status::{caught_up, leading};

    fn step(metadata: &Metadata, status: &GroupStatus) -> Option<MetaStep> {
        membership_step(metadata, status, |_| true, |_| true)
    }

    #[test]
    fn a_leader_that_leaves_hands_over_first() {
        let mut metadata = cluster(3);
        apply(&mut metadata, &Command::DrainNode { node: NodeId(1) });
        let mut status = leading(1, &[1, 2, 3]);
        assert_eq!(step(&metadata, &status), None, "nobody is caught up");
        caught_up(&mut status, 2, 0);
        let handed = step(&metadata, &status);
        assert_eq!(handed, Some(MetaStep::HandOver(NodeId(2))));
        status.joint = Some(ids(&[2, 3]));
        assert_eq!(
            step(&metadata, &status),
            handed,
            "nor does it end a change that leaves it out"
        );
    }

    #[test]
    fn joined_nodes_learn_first_and_vote_in_odd_numbers() {
        let metadata = cluster(3);
        let mut status = leading(1, &[1]);
        assert_eq!(
            step(&metadata, &status),
            Some(MetaStep::AddLearner(NodeId(2)))
        );
        status.learners = ids(&[2]);
        assert_eq!(
            step(&metadata, &status),
            Some(MetaStep::AddLearner(NodeId(3)))
        );
        status.learners = ids(&[2, 3]);
        assert_eq!(step(&metadata, &status), None, "nobody is caught up");
        caught_up(&mut status, 2, 0);
        assert_eq!(step(&metadata, &status), None, "two are no better than one");
        caught_up(&mut status, 3, 0);
        let all = Some(MetaStep::ChangeVoters(ids(&[1, 2, 3])));
        assert_eq!(step(&metadata, &status), all);
        assert_eq!(
            membership_step(&metadata, &status, |_| false, |_| true),
            None,
            "out of reach"
        );
        status.membership_committed = false;
        assert_eq!(step(&metadata, &status), None, "one change at a time");
        status.joint = Some(ids(&[1, 2, 3]));
        assert_eq!(step(&metadata, &status), None, "nor half of one twice");
        status.membership_committed = true;
        assert_eq!(step(&metadata, &status), all, "half a change is completed");
        let settled = leading(1, &[1, 2, 3]);
        assert_eq!(step(&metadata, &settled), None, "and silent voters stay");
    }

    #[test]
    fn a_drained_node_stops_voting_and_a_removed_one_learning() {
        let mut metadata = cluster(4);
        apply(&mut metadata, &Command::DrainNode { node: NodeId(3) });
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4]);
        caught_up(&mut status, 4, 0);
        let replaced = Some(MetaStep::ChangeVoters(ids(&[1, 2, 4])));
        assert_eq!(step(&metadata, &status), replaced);
        status.voters = ids(&[1, 2, 4]);
        status.learners = ids(&[]);
        assert_eq!(
            step(&metadata, &status),
            Some(MetaStep::AddLearner(NodeId(3)))
        );
        status.learners = ids(&[3]);
        caught_up(&mut status, 3, 0);
        assert_eq!(step(&metadata, &status), None, "it does not vote again");
        apply(&mut metadata, &Command::RemoveNode { node: NodeId(3) });
        let unheard = membership_step(&metadata, &status, |_| true, |_| false);
        assert_eq!(unheard, None, "it is to hear of it first");
        assert_eq!(
            step(&metadata, &status),
            Some(MetaStep::RemoveLearner(NodeId(3)))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_node_lingers() {
        let mut lingering = Lingering::default();
        let start = Instant::now();
        assert!(!lingering.is_over(NodeId(3), start));
        assert!(!lingering.is_over(NodeId(3), start + REMOVED_LINGER / 2));
        assert!(lingering.is_over(NodeId(3), start + REMOVED_LINGER));
    }
}
