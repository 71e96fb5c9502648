use proptest::prelude::*;

use super::*;
use crate::feature_level::FeatureLevel;
use crate::ids::GroupId;
use crate::limits::COORDINATORS_COUNT;
use crate::metadata::tests::{apply, cluster, create, registration};
use crate::metadata::{MetaError, Repair};
use crate::offset::LogIndex;
use crate::reason::Reason;

const AFTER: Duration = Duration::from_mins(10);
const NOW_MS: i64 = 1_800_000_000_000;

fn set(numbers: &[u64]) -> BTreeSet<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

fn finalized(nodes: u8) -> Metadata {
    let mut metadata = cluster(nodes);
    let level = FeatureLevel(2);
    apply(&mut metadata, &Command::FinalizeLevel { level });
    metadata
}

fn start_all(metadata: &mut Metadata) {
    let groups: Vec<GroupId> = metadata.partitions().map(|p| p.partition.group).collect();
    for group in groups {
        apply(metadata, &Command::StartPartition { group });
    }
}

/// Topics with these replicas, all started.
fn with_topics(nodes: u8, topics: &[&[u64]]) -> Metadata {
    let mut metadata = finalized(nodes);
    for (number, replicas) in topics.iter().enumerate() {
        apply(&mut metadata, &create(&format!("t{number}"), &[*replicas]));
    }
    start_all(&mut metadata);
    metadata
}

fn mark(metadata: &mut Metadata, node: u64) {
    let node = NodeId(node);
    let since_ms = NOW_MS;
    apply(metadata, &Command::MarkLost { node, since_ms });
}

fn finish_moves(metadata: &mut Metadata) {
    let moved: Vec<Command> = metadata
        .partitions()
        .filter_map(|place| {
            let (group, replicas) = (place.partition.group, place.partition.target.clone()?);
            Some(Command::CommitMove { group, replicas })
        })
        .collect();
    for command in &moved {
        apply(metadata, command);
    }
}

fn replace(metadata: &Metadata) -> Vec<Command> {
    plan_replacements(metadata, |_| true)
}

/// The observation of a leader that heard of `heard` all the time, and of the other members until
/// `silent_for` ago.
fn silence(metadata: &Metadata, heard: &[u64], silent_for: Duration) -> Silence {
    let members: BTreeSet<NodeId> = metadata.members().map(|node| node.id).collect();
    let mut silence = Silence::default();
    let step = Duration::from_secs(1);
    let mut now = Duration::from_hours(1);
    let end = now + silent_for;
    silence.observe(now, &members, |_| Some(Duration::ZERO));
    while now < end {
        now = end.min(now + step);
        let age = |node: NodeId| heard.contains(&node.get()).then_some(Duration::ZERO);
        silence.observe(now, &members, age);
    }
    silence
}

fn rule(voters: &BTreeSet<NodeId>) -> LostRule<'_> {
    LostRule {
        after: Some(AFTER),
        voters,
        now_ms: NOW_MS,
    }
}

#[test]
fn silence_counts_from_the_last_sign_and_from_the_start_of_watching() {
    let members = set(&[1, 2]);
    let mut silence = Silence::default();
    let second = Duration::from_secs(1);
    let mut now = Duration::from_hours(5);
    assert_eq!(silence.of(NodeId(1)), None);
    silence.observe(now, &members, |_| None);
    assert_eq!(silence.of(NodeId(1)), Some(Duration::ZERO), "new here");
    for _ in 0..10 {
        now += second;
        // An old reading of a node is no sign of now.
        silence.observe(now, &members, |node| {
            Some(if node == NodeId(1) { second / 2 } else { AFTER })
        });
    }
    assert_eq!(silence.of(NodeId(1)), Some(second / 2));
    assert_eq!(silence.of(NodeId(2)), Some(10 * second));
    silence.observe(now, &set(&[1]), |_| None);
    assert_eq!(silence.of(NodeId(2)), None, "it is no member any more");
    silence.forget();
    assert_eq!(silence.of(NodeId(1)), None);
}

#[test]
fn a_leader_that_was_paused_blames_nobody() {
    let members = set(&[1, 2, 3, 4]);
    let mut silence = Silence::default();
    let now = Duration::from_hours(5);
    silence.observe(now, &members, |_| Some(Duration::ZERO));
    let later = now + SILENCE_CHECK_GAP_MAX + Duration::from_secs(1);
    silence.observe(later, &members, |_| Some(later.saturating_sub(now)));
    assert_eq!(silence.of(NodeId(2)), Some(Duration::ZERO));
}

#[test]
fn a_node_is_marked_after_the_time_and_found_at_its_first_sign() {
    let mut metadata = with_topics(4, &[&[1, 2, 3]]);
    let voters = set(&[1, 2, 3]);
    let early = silence(
        &metadata,
        &[1, 2, 4],
        AFTER.saturating_sub(Duration::from_millis(1)),
    );
    assert_eq!(plan_mark(&metadata, &early, rule(&voters)), None);
    let silent = silence(&metadata, &[1, 2, 4], AFTER);
    let marked = plan_mark(&metadata, &silent, rule(&voters)).unwrap();
    let expected = Command::MarkLost {
        node: NodeId(3),
        since_ms: NOW_MS - 600_000,
    };
    assert_eq!(marked, expected);
    let off = LostRule {
        after: None,
        ..rule(&voters)
    };
    assert_eq!(plan_mark(&metadata, &silent, off), None, "it is off");
    apply(&mut metadata, &marked);
    assert_eq!(plan_mark(&metadata, &silent, rule(&voters)), None, "done");
    let back = silence(&metadata, &[1, 2, 3, 4], AFTER);
    let found = Command::FindNode { node: NodeId(3) };
    let planned = plan_mark(&metadata, &back, off);
    assert_eq!(planned.as_ref(), Some(&found), "also when it is off");
    apply(&mut metadata, &found);
    assert_eq!(metadata.lost_nodes().count(), 0);
}

#[test]
fn nobody_is_marked_by_a_minority_without_a_spare_or_before_the_level() {
    let metadata = with_topics(5, &[&[1, 2, 3]]);
    let of_five = set(&[1, 2, 3, 4, 5]);
    let cut_off = silence(&metadata, &[1, 2], AFTER);
    assert_eq!(plan_mark(&metadata, &cut_off, rule(&of_five)), None);
    let few_nodes = silence(&metadata, &[1, 2, 3], AFTER);
    let voters = set(&[1, 4, 5]);
    assert_eq!(plan_mark(&metadata, &few_nodes, rule(&voters)), None);
    let node = NodeId(4);
    let marked = plan_mark(&metadata, &few_nodes, rule(&of_five)).unwrap();
    assert!(matches!(marked, Command::MarkLost { node: found, .. } if found == node));

    let three = with_topics(3, &[&[1, 2, 3]]);
    let silent = silence(&three, &[1, 2], AFTER);
    assert_eq!(plan_mark(&three, &silent, rule(&set(&[1, 2, 3]))), None);
    let wide = with_topics(5, &[&[1, 2, 3, 4, 5]]);
    let silent = silence(&wide, &[1, 2, 3, 4], AFTER);
    assert_eq!(plan_mark(&wide, &silent, rule(&of_five)), None);

    let mut old = cluster(5);
    let silent = silence(&old, &[1, 2, 3, 4], AFTER);
    assert_eq!(plan_mark(&old, &silent, rule(&of_five)), None);
    let since_ms = NOW_MS;
    let command = Command::MarkLost { node, since_ms };
    let refused = old.apply(&command, LogIndex(900)).unwrap_err();
    assert_eq!(refused.reason(), Reason::FeatureNotFinalized);
}

#[test]
fn a_mark_without_a_spare_is_refused_and_a_lost_node_gets_nothing_new() {
    let mut three = with_topics(3, &[&[1, 2, 3]]);
    let (node, since_ms) = (NodeId(3), NOW_MS);
    let command = Command::MarkLost { node, since_ms };
    let refused = three.apply(&command, LogIndex(900)).unwrap_err();
    let expected = MetaError::NoSpareNode {
        node,
        active: 2,
        needed: 3,
    };
    assert_eq!(refused, expected);
    assert_eq!(refused.reason(), Reason::TooFewNodes);
    let unknown = Command::FindNode { node: NodeId(9) };
    let refused = three.apply(&unknown, LogIndex(900)).unwrap_err();
    assert_eq!(refused.reason(), Reason::UnknownNode);

    let mut metadata = with_topics(4, &[&[1, 2, 3]]);
    mark(&mut metadata, 4);
    assert!(candidates(&metadata).iter().all(|c| c.id != NodeId(4)));
    let refused = metadata.apply(&create("new", &[&[1, 2, 4]]), LogIndex(900));
    assert!(refused.is_err());
    let draining = metadata.apply(&Command::DrainNode { node: NodeId(1) }, LogIndex(900));
    assert_eq!(draining.unwrap_err().reason(), Reason::TooFewNodes);
}

#[test]
fn replicas_of_a_lost_node_are_replaced_and_the_others_stay() {
    let mut metadata = with_topics(4, &[&[1, 2, 3], &[3, 1, 2], &[1, 2, 4], &[3], &[3, 2]]);
    assert_eq!(replace(&metadata), [], "nobody is lost");
    mark(&mut metadata, 3);
    let plan = replace(&metadata);
    let groups: Vec<GroupId> = metadata.partitions().map(|p| p.partition.group).collect();
    let target = |at: usize, replicas: &[u64]| Command::SetTarget {
        group: groups[at],
        replicas: replicas.iter().copied().map(NodeId).collect(),
    };
    // Without a majority (one replica, or one of two) a partition is not touched.
    assert_eq!(plan, [target(0, &[1, 2, 4]), target(1, &[4, 1, 2])]);
    assert_eq!(plan_replacements(&metadata, |node| node != NodeId(4)), []);
    apply(&mut metadata, &plan[0]);
    let node = NodeId(3);
    let expected = LostReplicas {
        replacing_count: 1,
        waiting_count: 3,
        without_majority_count: 2,
    };
    assert_eq!(LostReplicas::new(&metadata, node), expected);
    assert_eq!(replace(&metadata), [target(1, &[4, 1, 2])], "in progress");
    // It comes back before the first copy is done, and keeps what it has.
    apply(&mut metadata, &Command::FindNode { node });
    let partition = |metadata: &Metadata, at: usize| -> Partition {
        metadata.group(groups[at]).unwrap().partition.clone()
    };
    let cancelled = partition(&metadata, 0);
    assert_eq!(cancelled.target.as_ref(), Some(&cancelled.replicas));
    assert_eq!(replace(&metadata), []);
}

#[test]
fn a_target_on_a_node_that_is_lost_too_is_replaced() {
    let mut metadata = with_topics(6, &[&[1, 2, 3]]);
    mark(&mut metadata, 3);
    let plan = replace(&metadata);
    apply(&mut metadata, &plan[0]);
    let partition = metadata.partitions().next().unwrap().partition.clone();
    let second = partition.target.as_ref().unwrap()[2];
    mark(&mut metadata, second.get());
    let plan = replace(&metadata);
    let [Command::SetTarget { replicas, .. }] = &plan[..] else {
        panic!("{plan:?}");
    };
    assert_eq!(replicas[..2], [NodeId(1), NodeId(2)]);
    assert!(replicas[2] != second && replicas[2] != NodeId(3));
    apply(&mut metadata, &plan[0]);
}

#[test]
fn a_corrupt_replica_counts_as_no_voter_that_answers() {
    let mut metadata = with_topics(4, &[&[1, 2, 3]]);
    let group = metadata.partitions().next().unwrap().partition.group;
    let node = NodeId(2);
    apply(&mut metadata, &Command::ReportDamage { group, node });
    mark(&mut metadata, 3);
    assert_eq!(replace(&metadata), [], "only one of three is whole");
    let repair = metadata.group(group).unwrap().partition.repair;
    let is_evicted = false;
    assert_eq!(repair, Some(Repair { node, is_evicted }));
    let mut lost_one = with_topics(4, &[&[1, 2, 3]]);
    apply(&mut lost_one, &Command::ReportDamage { group, node });
    mark(&mut lost_one, 2);
    assert_eq!(
        replace(&lost_one).len(),
        1,
        "the corrupt one is the lost one"
    );
}

#[test]
fn coordinators_are_replaced_and_never_get_fewer() {
    let mut metadata = finalized(4);
    let assignment = vec![[1, 2, 3].map(NodeId).to_vec(); COORDINATORS_COUNT as usize];
    apply(&mut metadata, &Command::CreateCoordinators { assignment });
    start_all(&mut metadata);
    mark(&mut metadata, 3);
    assert_eq!(plan_replacements(&metadata, |node| node != NodeId(4)), []);
    let plan = replace(&metadata);
    assert_eq!(plan.len(), COORDINATORS_COUNT as usize);
    for command in &plan {
        apply(&mut metadata, command);
    }
    finish_moves(&mut metadata);
    for place in metadata.partitions() {
        assert_eq!(place.partition.replicas, [1, 2, 4].map(NodeId));
    }
}

#[test]
fn a_draining_or_lost_node_may_stay_while_another_replica_moves() {
    let mut metadata = with_topics(5, &[&[1, 2, 3]]);
    let group = metadata.partitions().next().unwrap().partition.group;
    apply(&mut metadata, &Command::DrainNode { node: NodeId(2) });
    mark(&mut metadata, 3);
    let plan = replace(&metadata);
    let [Command::SetTarget { replicas, .. }] = &plan[..] else {
        panic!("{plan:?}");
    };
    assert!(replicas.contains(&NodeId(2)) && !replicas.contains(&NodeId(3)));
    apply(&mut metadata, &plan[0]);
    let back = Command::SetTarget {
        group,
        replicas: [1, 4, 3].map(NodeId).to_vec(),
    };
    apply(&mut metadata, &back);
    let new = Command::SetTarget {
        group,
        replicas: [1, 2, 3].map(NodeId).to_vec(),
    };
    apply(&mut metadata, &new);
    // Below the level, all programs refuse it.
    let mut old = cluster(4);
    apply(&mut old, &create("t", &[&[1, 2, 3]]));
    start_all(&mut old);
    apply(&mut old, &Command::DrainNode { node: NodeId(2) });
    let group = old.partitions().next().unwrap().partition.group;
    let replicas = [4, 2, 3].map(NodeId).to_vec();
    let refused = old.apply(&Command::SetTarget { group, replicas }, LogIndex(900));
    assert_eq!(refused.unwrap_err().reason(), Reason::NodeDecommissioned);
}

#[test]
fn the_new_replica_is_in_the_zone_of_the_lost_one() {
    let mut metadata = finalized(1);
    for n in 2..=5 {
        let mut registration = registration(n);
        registration.zone = format!("zone-{}", n % 3);
        apply(&mut metadata, &Command::RegisterNode(registration));
    }
    // Nodes 2 and 5 share a zone, and node 3 has one with nobody.
    apply(&mut metadata, &create("t", &[&[2, 3, 4]]));
    start_all(&mut metadata);
    mark(&mut metadata, 2);
    let plan = plan_replacements(&metadata, |node| node != NodeId(1));
    let [Command::SetTarget { replicas, .. }] = &plan[..] else {
        panic!("{plan:?}");
    };
    assert_eq!(replicas[..], [5, 3, 4].map(NodeId));
}

#[test]
fn few_partitions_are_replaced_at_once() {
    let replicas: &[u64] = &[1, 2, 3];
    let many = vec![replicas; 2 * LOST_REPLACEMENTS_MAX_COUNT];
    let mut metadata = with_topics(4, &many);
    mark(&mut metadata, 3);
    let plan = replace(&metadata);
    assert_eq!(plan.len(), LOST_REPLACEMENTS_MAX_COUNT);
    for command in &plan[1..] {
        apply(&mut metadata, command);
    }
    assert_eq!(replace(&metadata).len(), 1);
}

proptest! {
    /// Whatever is where, and whoever is lost one after the other: the number of replicas stays,
    /// they are on distinct nodes, and nothing is left to plan at the end but partitions without a
    /// majority.
    #[test]
    fn replacements_converge_and_never_shrink(
        nodes in 4_u8..9,
        zones in 1_u8..4,
        factor in 1_usize..5,
        partitions in prop::collection::vec(0_usize..100, 1..40),
        lost in prop::collection::vec(1_u64..9, 1..4),
    ) {
        let mut metadata = finalized(1);
        for n in 2..=nodes {
            let mut registration = registration(n);
            registration.zone = format!("zone-{}", n % zones);
            apply(&mut metadata, &Command::RegisterNode(registration));
        }
        let factor = factor.min(nodes.into());
        for (number, first) in partitions.iter().enumerate() {
            let replicas: Vec<u64> = (0..factor)
                .map(|at| (first + at) as u64 % u64::from(nodes) + 1)
                .collect();
            apply(&mut metadata, &create(&format!("t{number}"), &[&replicas]));
        }
        start_all(&mut metadata);
        for node in lost {
            let (node, since_ms) = (NodeId(node), NOW_MS);
            let command = Command::MarkLost { node, since_ms };
            let index = metadata.version().next();
            if metadata.apply(&command, index).is_err() {
                continue;
            }
            let mut rounds = 0;
            loop {
                let plan = replace(&metadata);
                if plan.is_empty() {
                    break;
                }
                prop_assert!(plan.len() <= LOST_REPLACEMENTS_MAX_COUNT);
                for command in &plan {
                    apply(&mut metadata, command);
                }
                finish_moves(&mut metadata);
                rounds += 1;
                prop_assert!(rounds <= partitions.len());
            }
            let found = LostReplicas::new(&metadata, node);
            prop_assert_eq!(found.replacing_count, 0);
            prop_assert_eq!(found.waiting_count, found.without_majority_count);
            prop_assert!(factor < 3 || found.waiting_count == 0, "{found:?}");
        }
        for place in metadata.partitions() {
            let replicas: BTreeSet<NodeId> = place.partition.replicas.iter().copied().collect();
            prop_assert_eq!(replicas.len(), factor);
        }
    }
}
