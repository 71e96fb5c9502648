//! Leader handover during a membership change: how a group gets new voters without its leader
//! removing itself. Pure.
//!
//! A leader that changed the voters to a set without itself would have to complete a change that
//! it is not part of, and would leave the group without a leader until the others time out and
//! elect one. So a leader that will be removed first transfers its leadership to a voter that
//! stays, and that one changes the voters. If no voter stays (a single replica that moves), or
//! none of those that stay is reachable, the new replicas become voters beside the leader, and one
//! of them takes over.

use std::collections::BTreeSet;

use lograft_core::NodeId;
use lograft_core::limits::REASSIGNMENT_LAG_MAX_COUNT;
use lograft_raft::GroupStatus;

/// The next step of a leader that changes the voters of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VoterStep {
    /// Change the voters to these. The leader is one of them.
    ChangeVoters(BTreeSet<NodeId>),
    /// Transfer the leadership to this voter, which stays.
    HandOver(NodeId),
    /// Wait: no voter can take over yet.
    Wait,
}

/// The next step from the committed membership in `status` to the voters in `goal`, for the
/// group's leader.
///
/// In a joint membership `goal` is one of its two sides. Otherwise the new nodes in `goal` are
/// learners that have caught up. The first node in `order` that can lead becomes the next leader.
pub(crate) fn voter_step(
    status: &GroupStatus,
    goal: &BTreeSet<NodeId>,
    order: impl IntoIterator<Item = NodeId>,
    is_reachable: impl Fn(NodeId) -> bool,
) -> VoterStep {
    if goal.contains(&status.node) {
        return VoterStep::ChangeVoters(goal.clone());
    }
    let is_voter = |node: &NodeId| {
        let joint = status.joint.as_ref();
        status.voters.contains(node) || joint.is_some_and(|joint| joint.contains(node))
    };
    let successors: Vec<NodeId> = order
        .into_iter()
        .filter(|node| goal.contains(node))
        .chain(goal.iter().copied())
        .filter(|node| is_voter(node) && is_reachable(*node))
        .collect();
    let is_caught_up = |node: &&NodeId| status.is_caught_up(**node, REASSIGNMENT_LAG_MAX_COUNT);
    if let Some(successor) = successors.iter().find(is_caught_up) {
        return VoterStep::HandOver(*successor);
    }
    let mut widened = goal.clone();
    widened.insert(status.node);
    // The voters are widened only by new nodes that can take over. A successor that is merely
    // behind will catch up. In a joint membership both majorities must agree, so silent voters
    // block the change either way. And if `widened` adds no node, it would only remove voters
    // because they are silent.
    if !successors.is_empty() || status.joint.is_some() || widened.is_subset(&status.voters) {
        return VoterStep::Wait;
    }
    VoterStep::ChangeVoters(widened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::ids;
    use crate::control::test_status::{caught_up, leading};

    /// The step of a leader for this order of replicas, everyone but `silent` reachable.
    fn step(status: &GroupStatus, order: &[u64], silent: &[u64]) -> VoterStep {
        let goal = ids(order);
        let order: Vec<NodeId> = ids(order);
        voter_step(status, &goal, order, |n| !silent.contains(&n.get()))
    }

    fn all_caught_up(status: &mut GroupStatus, nodes: &[u64]) {
        for node in nodes {
            caught_up(status, *node, 0);
        }
    }

    #[test]
    fn a_leader_that_stays_changes_the_voters() {
        let status = leading(2, &[1, 2, 3]);
        let change = VoterStep::ChangeVoters(ids(&[2, 3, 4]));
        assert_eq!(step(&status, &[4, 2, 3], &[]), change);
    }

    #[test]
    fn a_leader_of_three_hands_over_to_the_first_voter_that_stays_and_never_to_a_new_one() {
        let mut status = leading(1, &[1, 2, 3]);
        all_caught_up(&mut status, &[2, 3, 4]);
        let to = |node| VoterStep::HandOver(NodeId(node));
        assert_eq!(step(&status, &[4, 3, 2], &[]), to(3));
        assert_eq!(step(&status, &[4, 3, 2], &[3]), to(2), "3 has crashed");
        caught_up(&mut status, 3, REASSIGNMENT_LAG_MAX_COUNT + 1);
        assert_eq!(step(&status, &[4, 3, 2], &[]), to(2), "3 is behind");
        assert_eq!(step(&status, &[4, 3, 2], &[2]), VoterStep::Wait);
    }

    #[test]
    fn a_silent_voter_alone_changes_nothing() {
        let mut status = leading(1, &[1, 2, 3]);
        all_caught_up(&mut status, &[2, 3]);
        assert_eq!(step(&status, &[2, 3], &[2, 3]), VoterStep::Wait);
    }

    #[test]
    fn with_two_replicas_the_one_that_stays_changes_the_voters() {
        let mut status = leading(1, &[1, 2]);
        all_caught_up(&mut status, &[2, 3]);
        assert_eq!(step(&status, &[3, 2], &[]), VoterStep::HandOver(NodeId(2)));
        let mut status = leading(2, &[1, 2]);
        all_caught_up(&mut status, &[1, 3]);
        let change = VoterStep::ChangeVoters(ids(&[2, 3]));
        assert_eq!(step(&status, &[3, 2], &[]), change);
    }

    #[test]
    fn a_single_replica_is_moved_through_a_group_of_two() {
        let mut status = leading(1, &[1]);
        status.learners = ids(&[2]);
        all_caught_up(&mut status, &[2]);
        let both = VoterStep::ChangeVoters(ids(&[1, 2]));
        assert_eq!(step(&status, &[2], &[]), both);
        status.voters = ids(&[1, 2]);
        status.learners = ids(&[]);
        assert_eq!(step(&status, &[2], &[]), VoterStep::HandOver(NodeId(2)));
        assert_eq!(step(&status, &[2], &[2]), VoterStep::Wait, "2 has crashed");
        let status = leading(2, &[1, 2]);
        let alone = VoterStep::ChangeVoters(ids(&[2]));
        assert_eq!(step(&status, &[2], &[]), alone);
    }

    #[test]
    fn new_replicas_take_over_if_no_voter_that_stays_is_reachable() {
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4, 5]);
        all_caught_up(&mut status, &[2, 4, 5]);
        let widened = VoterStep::ChangeVoters(ids(&[1, 3, 4, 5]));
        assert_eq!(step(&status, &[3, 4, 5], &[3]), widened);
        status.voters = ids(&[1, 3, 4, 5]);
        status.learners = ids(&[]);
        let handed = VoterStep::HandOver(NodeId(4));
        assert_eq!(step(&status, &[3, 4, 5], &[3]), handed);
    }

    #[test]
    fn a_joint_change_is_completed_by_a_leader_that_it_keeps() {
        let mut status = leading(1, &[1, 2, 3]);
        status.joint = Some(ids(&[2, 3, 4]));
        assert_eq!(
            step(&status, &[4, 2, 3], &[]),
            VoterStep::Wait,
            "no progress known"
        );
        all_caught_up(&mut status, &[2, 3, 4]);
        let to = |node| VoterStep::HandOver(NodeId(node));
        assert_eq!(step(&status, &[4, 2, 3], &[]), to(4));
        assert_eq!(step(&status, &[4, 2, 3], &[4]), to(2), "4 has crashed");
        assert_eq!(step(&status, &[4, 2, 3], &[2, 3, 4]), VoterStep::Wait);
        let back = VoterStep::ChangeVoters(ids(&[1, 2, 3]));
        assert_eq!(step(&status, &[1, 2, 3], &[]), back, "cancelled");
        let mut status = leading(4, &[1, 2, 3]);
        status.joint = Some(ids(&[2, 3, 4]));
        let end = VoterStep::ChangeVoters(ids(&[2, 3, 4]));
        assert_eq!(step(&status, &[4, 2, 3], &[]), end);
    }
}
