use lograft_core::metadata::Command;
use lograft_core::{ClusterId, Offset, Term};

use lograft_core::check::{CheckName, NodeChecks, PlacementFindings, RaisedCheck, Severity};

use super::description::{PartitionHealth, ReplicaState};
use super::*;
use crate::control::node_report::NodeReport;
use crate::control::test_metadata::{apply, cluster, create, create_coordinators, ids};
use crate::identity::Member;

fn follower(group: u64, leader: u64) -> ReplicaReport {
    ReplicaReport {
        group: GroupId(group),
        term: Term(3),
        leader: Some(NodeId(leader)),
        ..ReplicaReport::default()
    }
}

fn leader(group: u64, node: u64, lags: &[(u64, u64)]) -> ReplicaReport {
    ReplicaReport {
        ready_leader: true,
        voters: ids(&[1, 2, 3]),
        high_watermark: Offset(70),
        lags: lags
            .iter()
            .map(|(node, lag)| (NodeId(*node), *lag))
            .collect(),
        ..follower(group, node)
    }
}

fn report(node: u64, replicas: Vec<ReplicaReport>) -> NodeReport {
    let member = Member {
        cluster: ClusterId::from_bytes([1; 16]),
        node: NodeId(node),
    };
    NodeReport {
        member: Some(member),
        version: "0.1.0".to_owned(),
        disk_free_bytes: 5 << 20,
        replicas,
        ..NodeReport::default()
    }
}

fn metadata() -> Metadata {
    let mut metadata = cluster(3);
    create(&mut metadata, "t", &[&[2, 1, 3]]);
    metadata
}

fn healthy() -> Vec<NodeReport> {
    vec![
        report(1, vec![leader(0, 1, &[(2, 0), (3, 0)]), follower(1, 2)]),
        report(2, vec![follower(0, 1), leader(1, 2, &[(1, 3), (3, 0)])]),
        report(3, vec![follower(0, 1), follower(1, 2)]),
    ]
}

/// Kinds, severities and texts of the notes about where replicas are.
fn placement_notes(metadata: &Metadata) -> Vec<(String, Severity, String)> {
    let findings = PlacementFindings::new(metadata, 3);
    let problems = problems::of_placement(metadata, &findings, &|_| true).into_iter();
    problems
        .map(|problem| (problem.kind, problem.severity, problem.text))
        .collect()
}

#[test]
fn topics_with_too_few_replicas_and_nodes_without_any_are_named() {
    let mut metadata = cluster(4);
    for name in ["a", "b", "c", "d", "e", "f"] {
        create(&mut metadata, name, &[&[1]]);
    }
    create(&mut metadata, "g", &[&[1, 2]]);
    let single = "topics a, b, c, d, e and 1 more have partitions with one replica, although more \
                  nodes could hold one: a lost disk loses their records";
    let few = "topic g has partitions with fewer replicas than new topics get";
    let empty = "nodes 3 (node-3), 4 (node-4) have no replicas, while others have several";
    let note = |kind: &str, text: &str| (kind.to_owned(), Severity::Note, text.to_owned());
    let expected = [
        note("PARTITION_SINGLE_REPLICA", single),
        note("PARTITION_FEW_REPLICAS", few),
        note("NODE_WITHOUT_REPLICAS", empty),
    ];
    assert_eq!(placement_notes(&metadata), expected);
    let whole = super::tests::metadata();
    assert_eq!(placement_notes(&whole), []);
}

fn describe(
    metadata: &Metadata,
    reports: impl IntoIterator<Item = NodeReport>,
) -> ClusterDescription {
    describe_named(metadata, reports, &|_| true)
}

fn describe_named(
    metadata: &Metadata,
    reports: impl IntoIterator<Item = NodeReport>,
    is_named: IsNamed<'_>,
) -> ClusterDescription {
    let reports = Reports::new(reports);
    let silent = SilentNodes {
        metadata,
        dead_node_after: None,
        now_ms: 0,
    };
    describe_cluster(silent, (&reports, is_named), Some(NodeId(3)))
}

fn kinds(described: &ClusterDescription) -> Vec<&str> {
    described
        .problems
        .iter()
        .map(|problem| problem.kind.as_str())
        .collect()
}

#[test]
fn a_meta_group_that_lacks_voters_is_a_problem() {
    let mut reports = healthy();
    reports[0].replicas[0].voters = ids(&[1]);
    let described = describe(&metadata(), reports);
    assert_eq!(kinds(&described), ["META_FEW_VOTERS"]);
    assert!(!described.healthy);
}

#[test]
fn a_healthy_cluster_has_no_problems() {
    let described = describe(&metadata(), healthy());
    assert_eq!(kinds(&described), Vec::<&str>::new());
    assert!(described.healthy);
    assert_eq!(described.meta_leader, Some(NodeId(1)));
    assert_eq!(described.answered_by, Some(NodeId(3)));
    let node = &described.nodes[1];
    assert_eq!(node.meta_role, MetaRole::Voter);
    assert_eq!((node.leader_count, node.replica_count), (1, 1));
    let partition = &described.partitions[0];
    assert_eq!(partition.health, PartitionHealth::Healthy);
    assert_eq!(
        (partition.leader, partition.high_watermark),
        (Some(NodeId(2)), Offset(70))
    );
    assert_eq!(partition.replicas[1].lag_entries, Some(3));
}

#[test]
fn coordinators_of_consumer_groups_without_a_leader_are_a_problem() {
    let mut metadata = metadata();
    create_coordinators(&mut metadata, &[2, 1, 3]);
    let described = describe(&metadata, healthy());
    assert_eq!(kinds(&described), ["PARTITION_UNAVAILABLE"]);
    assert!(!described.healthy);
    let text = &described.problems[0].text;
    assert!(text.contains("$coordinators/0"), "{text}");
    assert_eq!(described.partitions.len(), 9);
}

#[test]
fn a_nodes_lag_is_the_sum_over_all_groups() {
    let mut reports = healthy();
    reports[0].replicas[0] = leader(0, 1, &[(2, 0), (3, 40)]);
    reports[1].replicas[1] = leader(1, 2, &[(1, 3), (3, 2)]);
    let described = describe(&metadata(), reports);
    let lags: Vec<u64> = described
        .nodes
        .iter()
        .map(|node| node.lag_entries)
        .collect();
    assert_eq!(lags, [3, 0, 42]);
}

#[test]
fn a_node_that_does_not_answer_and_its_replicas_are_unreachable() {
    let mut reports = healthy();
    reports.remove(2);
    let described = describe(&metadata(), reports);
    assert!(!described.healthy);
    assert_eq!(
        kinds(&described),
        ["NODE_UNREACHABLE", "PARTITION_UNDER_REPLICATED"]
    );
    assert!(described.nodes[2].report.is_none());
    assert_eq!(
        described.partitions[0].replicas[2].state,
        ReplicaState::Unreachable
    );
}

#[test]
fn a_leader_that_does_not_answer_is_not_counted_as_one() {
    let mut reports = healthy();
    reports.remove(1);
    let described = describe(&metadata(), reports);
    assert_eq!(described.partitions[0].leader, None);
    assert_eq!(
        kinds(&described),
        ["PARTITION_UNAVAILABLE", "NODE_UNREACHABLE"]
    );
    assert_eq!(described.problems[0].text, "partition t/0 has no leader");
}

#[test]
fn of_two_nodes_that_report_to_lead_the_newer_term_counts() {
    let mut reports = healthy();
    let mut old = leader(1, 1, &[]);
    old.term = Term(2);
    reports[0].replicas[1] = old;
    let described = describe(&metadata(), reports);
    assert_eq!(described.partitions[0].leader, Some(NodeId(2)));
}

#[test]
fn corruption_lag_and_a_full_disk_are_problems() {
    let mut reports = healthy();
    reports[0].replicas[1].corrupt = true;
    reports[1].replicas[1].lags.insert(NodeId(3), 1_000_000);
    reports[2].disk_low = true;
    let described = describe(&metadata(), reports);
    assert_eq!(
        kinds(&described),
        ["REPLICA_CORRUPT", "DISK_LOW", "PARTITION_UNDER_REPLICATED"]
    );
    assert_eq!(
        described.problems[1].text,
        "node 3 (node-3) rejects writes: its disk has only 5 MiB free"
    );
    let replicas = described.partitions[0].replicas.iter();
    let states: Vec<ReplicaState> = replicas.map(|replica| replica.state).collect();
    assert_eq!(
        states,
        [
            ReplicaState::InSync,
            ReplicaState::Corrupt,
            ReplicaState::Behind
        ]
    );
}

#[test]
fn topics_that_may_not_be_named_are_counted() {
    let mut metadata = cluster(2);
    let replicas: Vec<&[u64]> = vec![&[1]; 3];
    create(&mut metadata, "secret", &replicas);
    let reports = || [report(1, vec![leader(0, 1, &[])]), report(2, vec![])];
    let text = |described: &ClusterDescription| described.problems[0].text.clone();
    let hidden = describe_named(&metadata, reports(), &|_| false);
    assert_eq!(text(&hidden), "3 partitions have no leader");
    create(&mut metadata, "known", &replicas[..1]);
    let some = describe_named(&metadata, reports(), &|name| name == "known");
    assert_eq!(
        text(&some),
        "4 partitions have no leader: known/0 and 3 more"
    );
    let findings = PlacementFindings::new(&metadata, 3);
    let texts = |is_named: IsNamed<'_>| {
        let problems = problems::of_placement(&metadata, &findings, is_named);
        problems.into_iter().map(|p| p.text).collect::<String>()
    };
    assert!(texts(&|_| true).contains("topics known, secret have"));
    let some = texts(&|name| name == "known");
    assert!(some.contains("topics known and 1 more have") && !some.contains("secret"));
    assert!(texts(&|_| false).contains("2 topics have"));
}

#[test]
fn checks_that_a_node_raises_are_problems_in_the_order_of_the_table() {
    let mut reports = healthy();
    let clock = RaisedCheck::new(CheckName::ClockOff, []);
    let opening = RaisedCheck::new(CheckName::ReplicasOpening, []);
    reports[1].checks = NodeChecks::of(&[clock]);
    reports[2].checks = NodeChecks::of(&[opening]);
    let described = describe(&metadata(), reports);
    assert_eq!(kinds(&described), ["REPLICAS_OPENING", "CLOCK_OFF"]);
    let clock = &described.problems[1];
    assert!(clock.text.starts_with("node 2 (node-2) has a clock"));
    assert_eq!(clock.node, Some(NodeId(2)));
    assert_eq!(clock.next_step, "correct the clock of its machine");
    assert!(!described.healthy, "a warning degrades");
}

#[test]
fn many_problems_of_one_kind_are_one_sentence_and_a_drain_does_not_degrade() {
    let mut metadata = cluster(2);
    let replicas: Vec<&[u64]> = vec![&[1]; 8];
    create(&mut metadata, "t", &replicas);
    apply(&mut metadata, &Command::DrainNode { node: NodeId(2) });
    let reports = [report(1, vec![leader(0, 1, &[])]), report(2, vec![])];
    let described = describe(&metadata, reports);
    assert_eq!(
        kinds(&described),
        ["PARTITION_UNAVAILABLE", "NODE_DRAINING"]
    );
    assert_eq!(
        described.problems[0].text,
        "8 partitions have no leader: t/0, t/1, t/2, t/3, t/4 and 3 more"
    );
    assert_eq!(described.problems[1].severity, Severity::Note);
}

#[test]
fn a_topic_is_described_alone() {
    let mut metadata = metadata();
    create(&mut metadata, "u", &[&[1, 2, 3]]);
    let reports = Reports::new(healthy());
    let topic = describe_topic(&metadata, "t", &reports).unwrap();
    assert_eq!((topic.partitions.len(), topic.replication_factor), (1, 3));
    assert!(describe_topic(&metadata, "v", &reports).is_none());
}
