//! The end of a node, step by step: its replicas are asked away, partition leaders move them, the
//! preferred leaders are spread anew, and once it holds nothing and votes for nothing it is
//! removed for ever. All of it can be read in the metadata, so any leader can go on with it.

use std::collections::BTreeSet;

use lograft_core::assignment::{plan_drain, plan_leaders};
use lograft_core::limits::DRAIN_COMMANDS_MAX_COUNT;
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{NodeId, NodeState};

/// What the meta group's leader is to propose next for nodes that drain; `None` if there are none,
/// or all is under way. `voters` are the meta group's.
pub(super) fn drain_commands(
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
    // Partitions whose group has not begun cannot be moved yet.
    moves.retain(|command| match command {
        Command::SetTarget { group, .. } => metadata
            .group(*group)
            .is_some_and(|place| place.partition.started),
        _ => true,
    });
    if !moves.is_empty() {
        moves.truncate(DRAIN_COMMANDS_MAX_COUNT);
        return Some(moves);
    }
    if replicas_left(metadata, node) > 0 {
        return None;
    }
    let mut leaders = plan_leaders(metadata);
    if !leaders.is_empty() {
        leaders.truncate(DRAIN_COMMANDS_MAX_COUNT);
        return Some(leaders);
    }
    (!voters.contains(&node)).then(|| vec![Command::RemoveNode { node }])
}

/// Replicas that a node still has, may have or is to have.
pub(crate) fn replicas_left(metadata: &Metadata, node: NodeId) -> usize {
    metadata
        .partitions()
        .filter(|place| place.partition.is_on(node))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::{apply, cluster, create, group, ids};

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
    fn a_drain_ends_with_the_removal_and_every_plan_is_quiet_until_something_happens() {
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
            "nobody drains"
        );
        apply(&mut metadata, &Command::DrainNode { node });
        assert_eq!(
            drain_commands(&metadata, &voters(&[1, 2, 4])),
            None,
            "nothing has started"
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
            "under way"
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
        assert_eq!(last, [Command::RemoveNode { node }], "not while it votes");
        apply(&mut metadata, &last[0]);
        assert_eq!(drain_commands(&metadata, &voters(&[1, 2, 4])), None);
    }
}
