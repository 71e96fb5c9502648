//! Decommission of a node, in steps: its replicas get new targets, partition leaders move them,
//! preferred leaders are rebalanced, and once the node has no replicas and is not a voter of the
//! meta group, it is removed. Its id is never used again. The metadata holds the whole state, so
//! any later leader of the meta group can continue. Pure.

use std::collections::BTreeSet;

use lograft_core::assignment::plan_drain;
use lograft_core::limits::{DRAIN_COMMANDS_MAX_COUNT, DRAIN_MOVES_MAX_COUNT};
use lograft_core::metadata::{Command, Metadata, Node};
use lograft_core::rebalance::{Layout, plan_leaders};
use lograft_core::replication_factor::plan_factors;
use lograft_core::{NodeId, NodeState};

/// The commands that the meta group's leader proposes next for draining nodes; `None` if no node
/// drains, or the earlier commands are still in progress. `voters` are those of the meta group.
pub(crate) fn drain_commands(
    metadata: &Metadata,
    voters: &BTreeSet<NodeId>,
) -> Option<Vec<Command>> {
    let draining = metadata
        .nodes()
        .filter(|node| node.state == NodeState::Draining);
    draining
        .map(|node| node.id)
        .find_map(|node| next_for(metadata, node, voters))
}

fn next_for(metadata: &Metadata, node: NodeId, voters: &BTreeSet<NodeId>) -> Option<Vec<Command>> {
    let mut moves = plan_drain(metadata, node);
    // Only a leader moves replicas, and a partition that has not started has none.
    moves.retain(|command| match command {
        Command::SetTarget { group, .. } => metadata
            .group(*group)
            .is_some_and(|place| place.partition.started),
        _ => true,
    });
    if !moves.is_empty() {
        moves.truncate(DRAIN_MOVES_MAX_COUNT.saturating_sub(moves_in_progress(metadata)));
        return (!moves.is_empty()).then_some(moves);
    }
    if replicas_left(metadata, node) > 0 {
        return None;
    }
    let leaders = plan_leaders(&Layout::unrestricted(metadata)).steps;
    let leaders = leaders.iter().filter_map(|step| step.command(metadata));
    let leaders: Vec<Command> = leaders.take(DRAIN_COMMANDS_MAX_COUNT).collect();
    if !leaders.is_empty() {
        return Some(leaders);
    }
    // Removed nodes are refused by all others. A voter must be replaced first: a majority that
    // counts it could otherwise be out of reach, and the meta group would stop.
    (!voters.contains(&node)).then(|| vec![Command::RemoveNode { node }])
}

/// The commands that the meta group's leader proposes next so that partitions have as many replicas
/// as they should; `None` if they have, or get them now. Not while a node is drained, which moves
/// replicas too.
pub(crate) fn factor_commands(
    metadata: &Metadata,
    default: u32,
    is_whole: impl Fn(NodeId) -> bool,
) -> Option<Vec<Command>> {
    let is_draining = |node: &Node| node.state == NodeState::Draining;
    if metadata.nodes().any(is_draining) {
        return None;
    }
    let plan = plan_factors(metadata, default, is_whole);
    (!plan.is_empty()).then_some(plan)
}

/// Number of partitions that are being moved.
pub(crate) fn moves_in_progress(metadata: &Metadata) -> usize {
    let places = metadata.partitions();
    places
        .filter(|place| place.partition.target.is_some())
        .count()
}

/// Number of replicas that a node has, or that are assigned to it.
pub(crate) fn replicas_left(metadata: &Metadata, node: NodeId) -> usize {
    metadata
        .partitions()
        .filter(|place| place.partition.is_on(node))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::{apply, cluster, create, create_coordinators, group, ids};

    fn commit_all(metadata: &mut Metadata) {
        let moves: Vec<Command> = metadata
            .partitions()
            .filter_map(|place| {
                let replicas = place.partition.target.clone()?;
                Some(Command::CommitMove {
                    group: place.partition.group,
                    replicas,
                })
            })
            .collect();
        for command in &moves {
            apply(metadata, command);
        }
    }

    #[test]
    fn a_node_with_coordinators_of_consumer_groups_is_not_empty() {
        let mut metadata = cluster(3);
        create(&mut metadata, "t", &[&[1, 2]]);
        create_coordinators(&mut metadata, &[1, 2, 3]);
        assert_eq!(replicas_left(&metadata, NodeId(2)), 9);
        assert_eq!(replicas_left(&metadata, NodeId(3)), 8);
    }

    #[test]
    fn a_drain_moves_few_replicas_at_once() {
        let mut metadata = cluster(4);
        let count = DRAIN_MOVES_MAX_COUNT + 2;
        let replicas: Vec<&[u64]> = (0..count).map(|_| &[1, 2, 3][..]).collect();
        create(&mut metadata, "t", &replicas);
        for partition in 0..u32::try_from(count).unwrap() {
            let group = group(&metadata, "t", partition);
            apply(&mut metadata, &Command::StartPartition { group });
        }
        let node = NodeId(3);
        apply(&mut metadata, &Command::DrainNode { node });
        let voters: BTreeSet<NodeId> = ids(&[1, 2, 4]);
        let moves = drain_commands(&metadata, &voters).unwrap();
        assert_eq!(moves.len(), DRAIN_MOVES_MAX_COUNT);
        for command in &moves {
            apply(&mut metadata, command);
        }
        assert_eq!(drain_commands(&metadata, &voters), None);
        commit_all(&mut metadata);
        assert_eq!(drain_commands(&metadata, &voters).unwrap().len(), 2);
    }

    #[test]
    fn a_drain_ends_with_the_removal_and_each_step_waits_for_the_one_before() {
        let mut metadata = cluster(4);
        create(
            &mut metadata,
            "t",
            &[&[3, 1, 2], &[3, 2, 1], &[1, 3, 2], &[1, 2, 4]],
        );
        let node = NodeId(3);
        let voters = |numbers: &[u64]| -> BTreeSet<NodeId> { ids(numbers) };
        assert_eq!(
            drain_commands(&metadata, &voters(&[1, 2, 3])),
            None,
            "no node is draining"
        );
        apply(&mut metadata, &Command::DrainNode { node });
        assert_eq!(
            drain_commands(&metadata, &voters(&[1, 2, 4])),
            None,
            "no partition has started"
        );
        for partition in 0..4 {
            let group = group(&metadata, "t", partition);
            apply(&mut metadata, &Command::StartPartition { group });
        }
        let moves = drain_commands(&metadata, &voters(&[1, 2, 4])).unwrap();
        assert_eq!(moves.len(), 3);
        for command in &moves {
            apply(&mut metadata, command);
        }
        assert_eq!(
            drain_commands(&metadata, &voters(&[1, 2, 4])),
            None,
            "in progress"
        );
        commit_all(&mut metadata);
        while let Some(commands) = drain_commands(&metadata, &voters(&[1, 2, 3])) {
            for command in commands {
                assert!(
                    matches!(command, Command::SetPreferredLeader { .. }),
                    "{command:?}"
                );
                apply(&mut metadata, &command);
            }
        }
        let last = drain_commands(&metadata, &voters(&[1, 2, 4])).unwrap();
        assert_eq!(
            last,
            [Command::RemoveNode { node }],
            "not while it is a voter"
        );
        apply(&mut metadata, &last[0]);
        assert_eq!(drain_commands(&metadata, &voters(&[1, 2, 4])), None);
    }
}
