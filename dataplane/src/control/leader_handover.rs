//! How a group's voters become others without its leader taking its own vote away.
//!
//! A leader that changed the voters to a set without itself would have to end a change that it is
//! no part of, and leave its group without a leader for as long as the others need to notice. So a
//! leader that is to leave hands over first, to a voter that stays, and that one changes the
//! voters. Where none stays (a single replica that moves), or none of those that stay can be
//! reached, the newcomers become voters beside the leader, and one of them takes over.

use std::collections::BTreeSet;

use lograft_core::NodeId;
use lograft_core::limits::MOVE_LAG_MAX_COUNT;
use lograft_raft::GroupStatus;

/// What the leader does to bring the voters to those wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Succession {
    /// Make these the voters: the leader is among them.
    ChangeVoters(BTreeSet<NodeId>),
    /// Hand leadership to this voter that stays.
    HandOver(NodeId),
    /// Nobody can take over yet.
    Wait,
}

/// The next step from the committed membership in `status` to the voters in `wished`, for the
/// group's leader. In the joint state `wished` is one of its two sides; else newcomers among them
/// are caught up learners already. The first in `order` that can leads next.
pub(super) fn succession_step(
    status: &GroupStatus,
    wished: &BTreeSet<NodeId>,
    order: impl IntoIterator<Item = NodeId>,
    is_reachable: impl Fn(NodeId) -> bool,
) -> Succession {
    if wished.contains(&status.node) {
        return Succession::ChangeVoters(wished.clone());
    }
    let is_voter = |node: &NodeId| {
        let joint = status.joint.as_ref();
        status.voters.contains(node) || joint.is_some_and(|joint| joint.contains(node))
    };
    let heirs: Vec<NodeId> = order
        .into_iter()
        .filter(|node| wished.contains(node))
        .chain(wished.iter().copied())
        .filter(|node| is_voter(node) && is_reachable(*node))
        .collect();
    let is_caught_up = |node: &&NodeId| status.is_caught_up(**node, MOVE_LAG_MAX_COUNT);
    if let Some(heir) = heirs.iter().find(is_caught_up) {
        return Succession::HandOver(*heir);
    }
    let mut widened = wished.clone();
    widened.insert(status.node);
    // Half a change cannot end without those that are silent, and where there are no newcomers
    // there is no heir to be won: who is silent is no less a voter.
    if !heirs.is_empty() || status.joint.is_some() || widened.is_subset(&status.voters) {
        return Succession::Wait;
    }
    Succession::ChangeVoters(widened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::ids;
    use crate::control::test_status::{caught_up, leading};

    /// The step of a leader for this order of replicas, everyone but `silent` reachable.
    fn step(status: &GroupStatus, order: &[u64], silent: &[u64]) -> Succession {
        let wished = ids(order);
        let order: Vec<NodeId> = ids(order);
        succession_step(status, &wished, order, |n| !silent.contains(&n.get()))
    }

    fn all_caught_up(status: &mut GroupStatus, nodes: &[u64]) {
        for node in nodes {
            caught_up(status, *node, 0);
        }
    }

    #[test]
    fn a_leader_that_stays_changes_the_voters() {
        let status = leading(2, &[1, 2, 3]);
        let change = Succession::ChangeVoters(ids(&[2, 3, 4]));
        assert_eq!(step(&status, &[4, 2, 3], &[]), change);
    }

    #[test]
    fn a_leader_of_three_hands_over_to_the_first_that_stays_and_never_to_the_newcomer() {
        let mut status = leading(1, &[1, 2, 3]);
        all_caught_up(&mut status, &[2, 3, 4]);
        let to = |node| Succession::HandOver(NodeId(node));
        assert_eq!(step(&status, &[4, 3, 2], &[]), to(3));
        assert_eq!(step(&status, &[4, 3, 2], &[3]), to(2), "3 has crashed");
        caught_up(&mut status, 3, MOVE_LAG_MAX_COUNT + 1);
        assert_eq!(step(&status, &[4, 3, 2], &[]), to(2), "3 is behind");
        assert_eq!(step(&status, &[4, 3, 2], &[2]), Succession::Wait);
    }

    #[test]
    fn silence_alone_widens_or_shrinks_nothing() {
        let mut status = leading(1, &[1, 2, 3]);
        all_caught_up(&mut status, &[2, 3]);
        assert_eq!(step(&status, &[2, 3], &[2, 3]), Succession::Wait);
    }

    #[test]
    fn two_replicas_change_under_the_one_that_stays() {
        let mut status = leading(1, &[1, 2]);
        all_caught_up(&mut status, &[2, 3]);
        assert_eq!(step(&status, &[3, 2], &[]), Succession::HandOver(NodeId(2)));
        let mut status = leading(2, &[1, 2]);
        all_caught_up(&mut status, &[1, 3]);
        let change = Succession::ChangeVoters(ids(&[2, 3]));
        assert_eq!(step(&status, &[3, 2], &[]), change);
    }

    #[test]
    fn a_single_replica_moves_by_way_of_two() {
        let mut status = leading(1, &[1]);
        status.learners = ids(&[2]);
        all_caught_up(&mut status, &[2]);
        let both = Succession::ChangeVoters(ids(&[1, 2]));
        assert_eq!(step(&status, &[2], &[]), both);
        status.voters = ids(&[1, 2]);
        status.learners = ids(&[]);
        assert_eq!(step(&status, &[2], &[]), Succession::HandOver(NodeId(2)));
        assert_eq!(step(&status, &[2], &[2]), Succession::Wait, "2 has crashed");
        let status = leading(2, &[1, 2]);
        let alone = Succession::ChangeVoters(ids(&[2]));
        assert_eq!(step(&status, &[2], &[]), alone);
    }

    #[test]
    fn newcomers_take_over_where_none_that_stays_is_there() {
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4, 5]);
        all_caught_up(&mut status, &[2, 4, 5]);
        let widened = Succession::ChangeVoters(ids(&[1, 3, 4, 5]));
        assert_eq!(step(&status, &[3, 4, 5], &[3]), widened);
        status.voters = ids(&[1, 3, 4, 5]);
        status.learners = ids(&[]);
        let handed = Succession::HandOver(NodeId(4));
        assert_eq!(step(&status, &[3, 4, 5], &[3]), handed);
    }

    #[test]
    fn a_joint_change_is_ended_by_a_leader_that_it_keeps() {
        let mut status = leading(1, &[1, 2, 3]);
        status.joint = Some(ids(&[2, 3, 4]));
        assert_eq!(step(&status, &[4, 2, 3], &[]), Succession::Wait, "unheard");
        all_caught_up(&mut status, &[2, 3, 4]);
        let to = |node| Succession::HandOver(NodeId(node));
        assert_eq!(step(&status, &[4, 2, 3], &[]), to(4));
        assert_eq!(step(&status, &[4, 2, 3], &[4]), to(2), "4 has crashed");
        assert_eq!(step(&status, &[4, 2, 3], &[2, 3, 4]), Succession::Wait);
        let back = Succession::ChangeVoters(ids(&[1, 2, 3]));
        assert_eq!(step(&status, &[1, 2, 3], &[]), back, "it was called off");
        let mut status = leading(4, &[1, 2, 3]);
        status.joint = Some(ids(&[2, 3, 4]));
        let end = Succession::ChangeVoters(ids(&[2, 3, 4]));
        assert_eq!(step(&status, &[4, 2, 3], &[]), end);
    }
}
