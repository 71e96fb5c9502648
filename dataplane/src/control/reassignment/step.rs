//! The next step of a reassignment or a repair, for the leader of the group. Pure.

use std::collections::BTreeSet;

use lograft_core::NodeId;
use lograft_core::limits::REASSIGNMENT_LAG_MAX_COUNT;
use lograft_core::metadata::{Partition, Repair};
use lograft_raft::GroupStatus;

use crate::control::leader_handover::{VoterStep, voter_step};

/// The next step of a reassignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Add a node as a learner, which replicates the log to it.
    AddLearner(NodeId),
    /// Change the voters to these.
    ChangeVoters(BTreeSet<NodeId>),
    /// Transfer the leadership to a voter that stays. The new leader continues.
    HandOver(NodeId),
    /// Remove a learner that is not wanted.
    RemoveLearner(NodeId),
    /// Record that the group has evicted its corrupt replica.
    CommitEviction(NodeId),
    /// Record that the repaired replica is a voter again.
    CommitRepair(NodeId),
    /// Record that the replicas are these.
    Commit(Vec<NodeId>),
    /// Wait: new replicas have not caught up, there is no next leader, or raft has not committed
    /// its last membership change.
    Wait,
}

impl From<VoterStep> for Step {
    fn from(step: VoterStep) -> Self {
        match step {
            VoterStep::ChangeVoters(voters) => Self::ChangeVoters(voters),
            VoterStep::HandOver(to) => Self::HandOver(to),
            VoterStep::Wait => Self::Wait,
        }
    }
}

/// The next step towards the replicas in the metadata. `None` if the group matches them.
///
/// The metadata alone states the goal. A replica that does not answer stays a voter: a group that
/// shrank to the nodes that happen to answer would acknowledge writes with fewer copies than its
/// topic requires.
pub(crate) fn next_step(
    partition: &Partition,
    status: &GroupStatus,
    is_reachable: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    let order = partition.target.as_ref().unwrap_or(&partition.replicas);
    let mut goal: BTreeSet<NodeId> = order.iter().copied().collect();
    if let Some(Repair {
        node,
        is_evicted: false,
    }) = partition.repair
    {
        // The corrupt replica has lost its votes, so it leaves the group completely, also as a
        // learner. It rejoins with an empty log only after the eviction is in the metadata.
        goal.remove(&node);
    }
    if goal.is_empty() {
        return None;
    }
    // Raft allows one membership change at a time: the next one may only follow a committed one,
    // otherwise two majorities that do not overlap could form.
    if !status.membership_committed {
        return Some(Step::Wait);
    }
    let towards = |goal| voter_step(status, goal, order.iter().copied(), is_reachable).into();
    if let Some(joint) = &status.joint {
        // A change is half done: it is reverted if the reassignment was cancelled, and otherwise
        // completed before another one starts.
        let is_cancelled = goal == status.voters;
        return Some(towards(if is_cancelled { &goal } else { joint }));
    }
    if status.voters == goal {
        return settled_step(partition, status);
    }
    let added = || goal.difference(&status.voters);
    if let Some(node) = added().find(|node| !status.learners.contains(node)) {
        return Some(Step::AddLearner(*node));
    }
    // A voter that is far behind counts for the majority and cannot acknowledge: the group would
    // stop until it has caught up. One that has not joined does not vote.
    let can_vote = |node: &NodeId| {
        status.is_caught_up(*node, REASSIGNMENT_LAG_MAX_COUNT) && status.has_joined(*node)
    };
    if added().all(can_vote) {
        return Some(towards(&goal));
    }
    Some(Step::Wait)
}

/// The next step once the voters match the goal.
fn settled_step(partition: &Partition, status: &GroupStatus) -> Option<Step> {
    if let Some(learner) = status.learners.first() {
        return Some(Step::RemoveLearner(*learner));
    }
    match (partition.repair, &partition.target) {
        (
            Some(Repair {
                node,
                is_evicted: false,
            }),
            _,
        ) => Some(Step::CommitEviction(node)),
        (
            Some(Repair {
                node,
                is_evicted: true,
            }),
            None,
        ) => Some(Step::CommitRepair(node)),
        (_, Some(target)) => Some(Step::Commit(target.clone())),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::GroupId;

    use super::*;
    use crate::control::test_metadata::ids;
    use crate::control::test_status::{caught_up, leading};

    fn partition(replicas: &[u64], target: Option<&[u64]>) -> Partition {
        Partition {
            group: GroupId(1),
            replicas: ids(replicas),
            target: target.map(ids),
            leaving: Vec::new(),
            started: true,
            repair: None,
            recovery: None,
        }
    }

    fn step(partition: &Partition, status: &GroupStatus) -> Option<Step> {
        next_step(partition, status, |_| true)
    }

    #[test]
    fn a_leader_that_is_moved_away_hands_over_once_its_successor_has_caught_up() {
        let moving = partition(&[1, 2, 3], Some(&[4, 2, 3]));
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4]);
        caught_up(&mut status, 2, 0);
        assert_eq!(
            step(&moving, &status),
            Some(Step::Wait),
            "the newcomer is not caught up"
        );
        caught_up(&mut status, 4, 0);
        let handed = Some(Step::HandOver(NodeId(2)));
        assert_eq!(step(&moving, &status), handed);
        let mut successor = leading(2, &[1, 2, 3]);
        successor.learners = ids(&[4]);
        caught_up(&mut successor, 4, 0);
        let changed = Some(Step::ChangeVoters(ids(&[2, 3, 4])));
        assert_eq!(step(&moving, &successor), changed);

        status.joint = Some(ids(&[2, 3, 4]));
        status.membership_committed = false;
        assert_eq!(step(&moving, &status), Some(Step::Wait));
        status.membership_committed = true;
        assert_eq!(
            step(&moving, &status),
            Some(Step::HandOver(NodeId(4))),
            "it does not complete a change that removes it"
        );
        let back = partition(&[1, 2, 3], Some(&[1, 2, 3]));
        let old = Some(Step::ChangeVoters(ids(&[1, 2, 3])));
        assert_eq!(step(&back, &status), old, "cancelled");
        let elsewhere = partition(&[1, 2, 3], Some(&[5, 2, 1]));
        assert_eq!(
            step(&elsewhere, &status),
            Some(Step::HandOver(NodeId(2))),
            "a change in progress ends before the next one"
        );
    }

    #[test]
    fn a_reassignment_adds_a_learner_changes_the_voters_commits_and_ends() {
        let moving = partition(&[1, 2, 3], Some(&[4, 2, 1]));
        let mut status = leading(1, &[1, 2, 3]);
        assert_eq!(step(&moving, &status), Some(Step::AddLearner(NodeId(4))));
        status.learners = ids(&[4]);
        status.membership_committed = false;
        assert_eq!(step(&moving, &status), Some(Step::Wait), "not committed");
        status.membership_committed = true;
        assert_eq!(step(&moving, &status), Some(Step::Wait), "not caught up");
        caught_up(&mut status, 4, REASSIGNMENT_LAG_MAX_COUNT + 1);
        assert_eq!(step(&moving, &status), Some(Step::Wait), "still behind");
        caught_up(&mut status, 4, REASSIGNMENT_LAG_MAX_COUNT);
        let first = status.membership;
        status.membership = status.last;
        let without = "without the entry that added it, it does not vote";
        assert_eq!(step(&moving, &status), Some(Step::Wait), "{without}");
        status.membership = first;
        let goal: BTreeSet<NodeId> = ids(&[1, 2, 4]);
        assert_eq!(
            step(&moving, &status),
            Some(Step::ChangeVoters(goal.clone()))
        );
        status.joint = Some(goal.clone());
        assert_eq!(
            step(&moving, &status),
            Some(Step::ChangeVoters(goal.clone()))
        );
        status.joint = None;
        status.voters = goal;
        status.learners = BTreeSet::new();
        assert_eq!(step(&moving, &status), Some(Step::Commit(ids(&[4, 2, 1]))));
        assert_eq!(step(&partition(&[4, 2, 1], None), &status), None);
    }

    #[test]
    fn a_cancelled_reassignment_is_reverted() {
        let back = partition(&[1, 2, 3], Some(&[1, 2, 3]));
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4]);
        assert_eq!(step(&back, &status), Some(Step::RemoveLearner(NodeId(4))));
        status.learners = BTreeSet::new();
        assert_eq!(step(&back, &status), Some(Step::Commit(ids(&[1, 2, 3]))));
    }

    #[test]
    fn a_corrupt_replica_is_evicted_and_rejoins_as_a_learner() {
        let mut corrupt = partition(&[1, 2, 3], None);
        let node = NodeId(3);
        corrupt.repair = Some(Repair {
            node,
            is_evicted: false,
        });
        let mut status = leading(1, &[1, 2, 3]);
        let without: BTreeSet<NodeId> = ids(&[1, 2]);
        assert_eq!(
            step(&corrupt, &status),
            Some(Step::ChangeVoters(without.clone()))
        );
        status.voters = without;
        status.learners = ids(&[3]);
        assert_eq!(step(&corrupt, &status), Some(Step::RemoveLearner(node)));
        status.learners = BTreeSet::new();
        assert_eq!(step(&corrupt, &status), Some(Step::CommitEviction(node)));
        corrupt.repair = Some(Repair {
            node,
            is_evicted: true,
        });
        assert_eq!(step(&corrupt, &status), Some(Step::AddLearner(node)));
        status.learners = ids(&[3]);
        assert_eq!(step(&corrupt, &status), Some(Step::Wait));
        caught_up(&mut status, 3, 0);
        let all: BTreeSet<NodeId> = ids(&[1, 2, 3]);
        assert_eq!(
            step(&corrupt, &status),
            Some(Step::ChangeVoters(all.clone()))
        );
        status.voters = all;
        status.learners = BTreeSet::new();
        assert_eq!(step(&corrupt, &status), Some(Step::CommitRepair(node)));
        corrupt.repair = None;
        assert_eq!(step(&corrupt, &status), None);
    }

    #[test]
    fn a_silent_node_stays_a_member() {
        let mut status = leading(1, &[1, 2, 3]);
        status.followers.clear();
        assert_eq!(step(&partition(&[1, 2, 3], None), &status), None);
    }
}
