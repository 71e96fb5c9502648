use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::assignment::plan_drain;
use crate::feature_level::FeatureLevel;
use crate::ids::GroupId;
use crate::metadata::tests::{apply, cluster, create, registration};
use crate::offset::LogIndex;
use crate::reason::Reason;

fn finalized(nodes: u8) -> Metadata {
    let mut metadata = cluster(nodes);
    let level = FeatureLevel(2);
    apply(&mut metadata, &Command::FinalizeLevel { level });
    metadata
}

fn following(name: &str, assignment: &[&[u64]]) -> Command {
    let Command::CreateTopic {
        name,
        retention,
        settings,
        assignment,
        ..
    } = create(name, assignment)
    else {
        panic!("{name}");
    };
    Command::CreateTopic {
        name,
        retention,
        settings,
        assignment,
        follows_default: true,
    }
}

fn alter(name: &str, count: u32) -> Command {
    Command::AlterTopic {
        name: name.to_owned(),
        retention: None,
        settings: TopicSettings::default(),
        reset: Vec::new(),
        growth: None,
        topic_id: None,
        replication_factor: Some(FactorChange {
            count,
            follows_default: false,
        }),
    }
}

fn groups(metadata: &Metadata) -> Vec<GroupId> {
    metadata.partitions().map(|p| p.partition.group).collect()
}

fn start_all(metadata: &mut Metadata) {
    for group in groups(metadata) {
        apply(metadata, &Command::StartPartition { group });
    }
}

fn apply_all(metadata: &mut Metadata, plan: &[Command]) {
    for command in plan {
        apply(metadata, command);
    }
}

fn finish_moves(metadata: &mut Metadata) {
    for group in groups(metadata) {
        let target = metadata.group(group).unwrap().partition.target.clone();
        if let Some(replicas) = target {
            apply(metadata, &Command::CommitMove { group, replicas });
        }
    }
}

fn plan(metadata: &Metadata) -> Vec<Command> {
    plan_factors(metadata, 3, |_| true)
}

/// Plans and finishes moves until nothing is left.
fn settle(metadata: &mut Metadata) {
    let mut rounds = 0;
    loop {
        let plan = plan(metadata);
        if plan.is_empty() {
            return;
        }
        apply_all(metadata, &plan);
        finish_moves(metadata);
        rounds += 1;
        assert!(rounds < 100, "{plan:?}");
    }
}

fn replicas(metadata: &Metadata) -> Vec<Vec<u64>> {
    let partitions = metadata.partitions();
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
    partitions.map(|p| ids(&p.partition.replicas)).collect()
}

fn error(metadata: &mut Metadata, command: &Command) -> Reason {
    metadata.apply(command, LogIndex(900)).unwrap_err().reason()
}

#[test]
fn a_topic_that_nobody_gave_a_number_grows_with_the_cluster() {
    let mut metadata = finalized(1);
    apply(&mut metadata, &following("a", &[&[1], &[1]]));
    apply(&mut metadata, &create("b", &[&[1]]));
    assert_eq!(plan(&metadata), [], "there is one node");
    apply(&mut metadata, &Command::RegisterNode(registration(2)));
    apply(&mut metadata, &Command::RegisterNode(registration(3)));
    apply(&mut metadata, &Command::RegisterNode(registration(4)));
    let raised = plan(&metadata);
    assert_eq!(
        raised.len(),
        1,
        "the other one was given a number: {raised:?}"
    );
    apply_all(&mut metadata, &raised);
    assert_eq!(metadata.topic("a").unwrap().replication_factor, 3);
    assert_eq!(below_factor_count(metadata.topic("a").unwrap()), 2);
    assert_eq!(plan(&metadata), [], "no partition has started");
    start_all(&mut metadata);
    settle(&mut metadata);
    assert_eq!(below_factor_count(metadata.topic("a").unwrap()), 0);
    let sizes: Vec<usize> = replicas(&metadata).iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 3, 1]);
    assert!(
        replicas(&metadata).iter().all(|r| r[0] == 1),
        "leaders stay"
    );
    // Its nodes may come back: it is not lowered, and a number that is given ends it.
    assert_eq!(plan_factors(&metadata, 2, |_| true), []);
    apply(&mut metadata, &alter("a", 2));
    settle(&mut metadata);
    assert_eq!(metadata.topic("a").unwrap().replication_factor, 2);
}

#[test]
fn a_topic_that_follows_the_cluster_does_not_hold_up_a_decommission() {
    let mut metadata = finalized(2);
    apply(&mut metadata, &following("a", &[&[1, 2]]));
    start_all(&mut metadata);
    let node = NodeId(1);
    apply(&mut metadata, &Command::DrainNode { node });
    assert_eq!(metadata.topic("a").unwrap().replication_factor, 1);
    let moves = plan_drain(&metadata, node);
    let group = groups(&metadata)[0];
    let replicas = vec![NodeId(2)];
    assert_eq!(moves, [Command::SetTarget { group, replicas }]);
    apply_all(&mut metadata, &moves);
    finish_moves(&mut metadata);
    apply(&mut metadata, &Command::RemoveNode { node });
    assert_eq!(plan(&metadata), []);
    apply(&mut metadata, &Command::RegisterNode(registration(3)));
    settle(&mut metadata);
    assert_eq!(replicas_of_a(&metadata), [2, 3]);
    // A number that was given does.
    apply(&mut metadata, &alter("a", 2));
    let refused = error(&mut metadata, &Command::DrainNode { node: NodeId(3) });
    assert_eq!(refused, Reason::TooFewNodes);
}

fn replicas_of_a(metadata: &Metadata) -> Vec<u64> {
    replicas(metadata).remove(0)
}

#[test]
fn a_changed_factor_is_bounded_by_the_nodes_and_needs_the_level() {
    let mut metadata = finalized(3);
    apply(&mut metadata, &create("t", &[&[1]]));
    for count in [0, 4, 99] {
        let refused = error(&mut metadata, &alter("t", count));
        assert_eq!(refused, Reason::InvalidReplicationFactor, "{count}");
    }
    assert_eq!(error(&mut metadata, &alter("no", 1)), Reason::UnknownTopic);
    let mut old = cluster(3);
    apply(&mut old, &create("t", &[&[1]]));
    assert_eq!(error(&mut old, &alter("t", 3)), Reason::FeatureNotFinalized);
    let refused = error(&mut old, &following("u", &[&[1]]));
    assert_eq!(refused, Reason::FeatureNotFinalized);
    // Before the level, a target with another number is refused, whatever the topic says.
    start_all(&mut old);
    let group = groups(&old)[0];
    let replicas = [1, 2].map(NodeId).to_vec();
    let refused = error(&mut old, &Command::SetTarget { group, replicas });
    assert_eq!(refused, Reason::InvalidArgument);
}

#[test]
fn a_target_has_the_number_of_now_or_one_nearer_to_that_of_the_topic() {
    let mut metadata = finalized(5);
    apply(&mut metadata, &create("t", &[&[1, 2]]));
    start_all(&mut metadata);
    apply(&mut metadata, &alter("t", 4));
    let group = groups(&metadata)[0];
    let target = |nodes: &[u64]| Command::SetTarget {
        group,
        replicas: nodes.iter().copied().map(NodeId).collect(),
    };
    for nodes in [&[1][..], &[1, 2, 3, 4, 5]] {
        assert_eq!(
            error(&mut metadata, &target(nodes)),
            Reason::InvalidArgument
        );
    }
    for nodes in [&[1, 3][..], &[1, 2, 3], &[1, 2, 3, 4]] {
        apply(&mut metadata, &target(nodes));
    }
}

#[test]
fn fewer_replicas_keep_the_leader_and_the_zones() {
    let mut metadata = finalized(1);
    for (n, zone) in [(2, "a"), (3, "b"), (4, "b"), (5, "c")] {
        let mut registration = registration(n);
        registration.zone = format!("zone-{zone}");
        apply(&mut metadata, &Command::RegisterNode(registration));
    }
    apply(&mut metadata, &create("t", &[&[3, 2, 4, 5]]));
    start_all(&mut metadata);
    apply(&mut metadata, &alter("t", 3));
    let group = groups(&metadata)[0];
    let expected = Command::SetTarget {
        group,
        replicas: [3, 2, 5].map(NodeId).to_vec(),
    };
    assert_eq!(plan(&metadata), [expected], "the leader's zone has two");
    let but_5 = plan_factors(&metadata, 3, |node| node != NodeId(5));
    assert_eq!(but_5, [], "a replica that stays is not whole");
    let but_4 = plan_factors(&metadata, 3, |node| node != NodeId(4));
    assert_eq!(but_4.len(), 1, "the one that goes need not be");
}

#[test]
fn a_lost_replica_goes_first_and_none_is_left_with_fewer_copies() {
    let mut metadata = finalized(5);
    apply(&mut metadata, &create("t", &[&[1, 2, 3]]));
    start_all(&mut metadata);
    apply(&mut metadata, &alter("t", 2));
    let (node, since_ms) = (NodeId(1), 5);
    apply(&mut metadata, &Command::MarkLost { node, since_ms });
    let group = groups(&metadata)[0];
    let replicas = [2, 3].map(NodeId).to_vec();
    assert_eq!(plan(&metadata), [Command::SetTarget { group, replicas }]);
    let (node, since_ms) = (NodeId(2), 5);
    apply(&mut metadata, &Command::MarkLost { node, since_ms });
    assert_eq!(plan(&metadata), [], "a lost one would stay");
    apply(&mut metadata, &Command::FindNode { node: NodeId(1) });
    let node = NodeId(3);
    apply(&mut metadata, &Command::ReportDamage { group, node });
    assert_eq!(plan(&metadata), [], "a replica is under repair");
}

#[test]
fn few_partitions_change_at_once() {
    let mut metadata = finalized(3);
    let assignment: Vec<&[u64]> = vec![&[1]; 2 * FACTOR_CHANGES_MAX_COUNT];
    apply(&mut metadata, &create("t", &assignment));
    start_all(&mut metadata);
    apply(&mut metadata, &alter("t", 3));
    let first = plan(&metadata);
    assert_eq!(first.len(), FACTOR_CHANGES_MAX_COUNT);
    apply_all(&mut metadata, &first[1..]);
    assert_eq!(plan(&metadata).len(), 1);
    settle(&mut metadata);
    assert!(replicas(&metadata).iter().all(|r| r.len() == 3));
}

proptest! {
    /// Whatever the numbers are: partitions get the one of their topic, on distinct nodes, by one
    /// move each, and keep as many of their former replicas as they can.
    #[test]
    fn every_change_converges(
        nodes in 1_u8..7,
        former in 1_usize..7,
        factors in prop::collection::vec(1_u32..7, 1..4),
        partitions in 1_usize..20,
    ) {
        let mut metadata = finalized(nodes);
        let former = former.min(nodes.into());
        let assignment: Vec<Vec<u64>> = (0..partitions)
            .map(|first| (0..former).map(|at| ((first + at) % usize::from(nodes)) as u64 + 1).collect())
            .collect();
        let assignment: Vec<&[u64]> = assignment.iter().map(Vec::as_slice).collect();
        apply(&mut metadata, &create("t", &assignment));
        start_all(&mut metadata);
        for factor in factors {
            let factor = factor.min(nodes.into());
            let before = replicas(&metadata);
            apply(&mut metadata, &alter("t", factor));
            settle(&mut metadata);
            for (before, after) in before.iter().zip(replicas(&metadata)) {
                let after: BTreeSet<u64> = after.into_iter().collect();
                prop_assert_eq!(after.len(), factor as usize);
                let kept = before.iter().filter(|node| after.contains(node)).count();
                prop_assert_eq!(kept, before.len().min(factor as usize));
            }
        }
    }
}
