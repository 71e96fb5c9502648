use proptest::prelude::*;

use super::*;
use crate::feature_level::FeatureLevel;
use crate::ids::{ClusterId, GroupId};
use crate::metadata::{Registration, RegistrationToken};
use crate::offset::LogIndex;
use crate::rebalance::{Layout, plan_leaders};
use crate::retention::RetentionPolicy;
use crate::topic_config::TopicSettings;

fn registration(n: u8) -> Registration {
    Registration {
        token: RegistrationToken::from_random([n; 16]),
        name: format!("node-{n}"),
        client_address: "c:1".to_owned(),
        peer_address: "p:1".to_owned(),
        zone: String::new(),
    }
}

pub(crate) fn apply(metadata: &mut Metadata, command: &Command) {
    let index = LogIndex(metadata.version().get() + 1);
    metadata
        .apply(command, index)
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
}

pub(crate) fn cluster(nodes: u8) -> Metadata {
    let mut metadata = Metadata::default();
    let cluster_id = ClusterId::from_bytes([1; 16]);
    apply(
        &mut metadata,
        &Command::InitCluster {
            cluster_id,
            first_node: registration(1),
            level: FeatureLevel::ZERO,
        },
    );
    for n in 2..=nodes {
        apply(&mut metadata, &Command::RegisterNode(registration(n)));
    }
    metadata
}

pub(crate) fn create(
    metadata: &mut Metadata,
    name: &str,
    partitions: u32,
    replication_factor: u32,
) {
    let assignment = place_topic(candidates(metadata), partitions, replication_factor).unwrap();
    let retention = RetentionPolicy::default();
    apply(
        metadata,
        &Command::CreateTopic {
            follows_default: false,
            name: name.to_owned(),
            retention,
            settings: TopicSettings::default(),
            assignment,
        },
    );
    let groups: Vec<GroupId> = metadata.partitions().map(|p| p.partition.group).collect();
    for group in groups {
        apply(metadata, &Command::StartPartition { group });
    }
}

fn finish_moves(metadata: &mut Metadata) {
    let moves: Vec<Command> = metadata
        .partitions()
        .filter_map(|p| {
            let replicas = p.partition.target.clone()?;
            Some(Command::CommitMove {
                group: p.partition.group,
                replicas,
            })
        })
        .collect();
    for command in moves {
        apply(metadata, &command);
    }
}

fn spread(counts: impl Iterator<Item = u32> + Clone) -> u32 {
    counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
}

#[test]
fn too_few_nodes_are_rejected() {
    let error = place_topic(candidates(&cluster(2)), 1, 3).unwrap_err();
    assert_eq!(
        error,
        TopicError::ReplicationFactor {
            replication_factor: 3,
            max: 2
        }
    );
}

#[test]
fn replicas_are_in_different_zones() {
    let candidate = |id: u64, zone: &str| Candidate {
        id: NodeId(id),
        zone: zone.to_owned(),
        replicas: 0,
        leaders: 0,
    };
    let nodes = vec![
        candidate(1, "a"),
        candidate(2, "a"),
        candidate(3, "b"),
        candidate(4, "b"),
        candidate(5, "c"),
    ];
    for replicas in place_topic(nodes, 30, 3).unwrap() {
        let zone = |n: &NodeId| n.get().div_ceil(2);
        let zones: BTreeSet<u64> = replicas.iter().map(zone).collect();
        assert_eq!(zones.len(), 3, "{replicas:?}");
    }
}

#[test]
fn followers_are_not_always_the_same_pairs() {
    let assignment = place_topic(candidates(&cluster(6)), 60, 2).unwrap();
    let pairs: BTreeSet<Vec<NodeId>> = assignment.into_iter().collect();
    assert!(pairs.len() > 12, "only {} different pairs", pairs.len());
}

#[test]
fn a_drain_plans_each_move_once_and_frees_the_node() {
    let mut metadata = cluster(4);
    create(&mut metadata, "t", 12, 3);
    let node = NodeId(2);
    apply(&mut metadata, &Command::DrainNode { node });
    let plan = plan_drain(&metadata, node);
    let held = metadata
        .partitions()
        .filter(|p| p.partition.is_on(node))
        .count();
    assert_eq!(plan.len(), held);
    for command in &plan {
        apply(&mut metadata, command);
    }
    assert_eq!(plan_drain(&metadata, node), [], "all moves are in progress");
    finish_moves(&mut metadata);
    assert!(!metadata.partitions().any(|p| p.partition.is_on(node)));
    apply(&mut metadata, &Command::RemoveNode { node });
}

#[test]
fn a_drain_redirects_moves_to_the_node() {
    let mut metadata = cluster(4);
    create(&mut metadata, "t", 1, 2);
    let partition = metadata.partitions().next().unwrap().partition.clone();
    let free: Vec<NodeId> = metadata
        .active_nodes()
        .map(|n| n.id)
        .filter(|n| !partition.is_on(*n))
        .collect();
    let group = partition.group;
    let replicas = vec![partition.replicas[0], free[0]];
    apply(&mut metadata, &Command::SetTarget { group, replicas });
    apply(&mut metadata, &Command::DrainNode { node: free[0] });
    let plan = plan_drain(&metadata, free[0]);
    assert_eq!(plan.len(), 1);
    apply(&mut metadata, &plan[0]);
    let target = metadata
        .group(group)
        .unwrap()
        .partition
        .target
        .clone()
        .unwrap();
    assert_eq!(target[0], partition.replicas[0]);
    assert!(target[1] == free[1] || target[1] == partition.replicas[1]);
}

fn set(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn meta_voters_are_odd_and_silence_removes_none() {
    let metadata = cluster(6);
    let voters =
        |now: &[u64], caught_up: &[u64]| meta_voters(&metadata, &set(now), &set(caught_up), 5);
    assert_eq!(voters(&[1], &[]), set(&[1]));
    assert_eq!(
        voters(&[1], &[2]),
        set(&[1]),
        "two voters are no better than one"
    );
    assert_eq!(voters(&[1], &[2, 3]), set(&[1, 2, 3]));
    assert_eq!(voters(&[1, 2, 3], &[4]), set(&[1, 2, 3]));
    assert_eq!(voters(&[1, 2, 3], &[4, 5, 6]), set(&[1, 2, 3, 4, 5]));
    assert_eq!(
        voters(&[1, 2, 3], &[]),
        set(&[1, 2, 3]),
        "no node is known to be caught up"
    );
}

#[test]
fn meta_voters_that_are_lost_change_places_and_never_get_fewer() {
    let mut metadata = cluster(5);
    let level = FeatureLevel(2);
    apply(&mut metadata, &Command::FinalizeLevel { level });
    let (node, since_ms) = (NodeId(2), 1);
    apply(&mut metadata, &Command::MarkLost { node, since_ms });
    let goal =
        |now: &[u64], caught_up: &[u64]| meta_voters(&metadata, &set(now), &set(caught_up), 5);
    assert_eq!(goal(&[1, 2, 3], &[]), set(&[1, 2, 3]), "nobody is there");
    assert_eq!(goal(&[1, 2, 3], &[4]), set(&[1, 3, 4]), "one for one");
    assert_eq!(
        goal(&[1, 3, 4], &[2]),
        set(&[1, 3, 4]),
        "a lost one is no newcomer"
    );
    // First the number grows, then the lost one is replaced.
    assert_eq!(goal(&[1, 2, 3], &[4, 5]), set(&[1, 2, 3, 4, 5]));
    let of_three =
        |now: &[u64], caught_up: &[u64]| meta_voters(&metadata, &set(now), &set(caught_up), 3);
    assert_eq!(of_three(&[1, 2, 3], &[4, 5]), set(&[1, 3, 4]));
}

#[test]
fn meta_voters_that_drain_are_replaced() {
    let mut metadata = cluster(4);
    apply(&mut metadata, &Command::DrainNode { node: NodeId(1) });
    let voters =
        |now: &[u64], caught_up: &[u64]| meta_voters(&metadata, &set(now), &set(caught_up), 5);
    assert_eq!(voters(&[1, 2, 3], &[4]), set(&[2, 3, 4]));
    assert_eq!(voters(&[1, 2, 3], &[]), set(&[2, 3]));
    assert_eq!(
        voters(&[1], &[]),
        set(&[1]),
        "until another node is caught up"
    );
    assert_eq!(voters(&[1], &[2]), set(&[2]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn placement_is_balanced(nodes in 1u8..9, partitions in 1u32..60, factor in 1u32..6) {
        let factor = factor.min(nodes.into());
        let mut metadata = cluster(nodes);
        create(&mut metadata, "a", partitions, factor);
        create(&mut metadata, "b", partitions / 2 + 1, 1);
        let held = candidates(&metadata);
        prop_assert!(spread(held.iter().map(|c| c.leaders)) <= 1, "{:?}", held);
        prop_assert!(spread(held.iter().map(|c| c.replicas)) <= 3, "{:?}", held);
    }

    #[test]
    fn leaders_are_spread_after_a_drain(partitions in 1u32..40, factor in 2u32..4) {
        let mut metadata = cluster(5);
        create(&mut metadata, "t", partitions, factor);
        // All preferred leaders on one node, as far as it has replicas.
        let mut groups: Vec<(GroupId, NodeId)> = Vec::new();
        for place in metadata.partitions() {
            if place.partition.is_on(NodeId(1)) {
                groups.push((place.partition.group, NodeId(1)));
            }
        }
        for (group, node) in groups {
            apply(&mut metadata, &Command::SetPreferredLeader { group, node });
        }
        let leaders = |metadata: &Metadata| plan_leaders(&Layout::unrestricted(metadata)).steps;
        for step in leaders(&metadata) {
            let command = step.command(&metadata).unwrap();
            apply(&mut metadata, &command);
        }
        prop_assert_eq!(leaders(&metadata), vec![]);
        for place in metadata.partitions() {
            let counts: Vec<u32> = candidates(&metadata)
                .iter()
                .filter(|c| place.partition.replicas.contains(&c.id))
                .map(|c| c.leaders)
                .collect();
            let leader = place.partition.preferred_leader().unwrap();
            let led = candidates(&metadata).iter().find(|c| c.id == leader).unwrap().leaders;
            prop_assert!(led <= counts.iter().min().unwrap() + 1);
        }
    }
}
