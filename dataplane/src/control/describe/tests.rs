use lograft_core::metadata::Command;
use lograft_proto::admin::v1::{MetaRole, PartitionHealth, ReplicaState};
use lograft_proto::raft::v1::FollowerLag;

use super::*;
use crate::control::test_metadata::{apply, cluster, create};

fn follower(group: u64, leader: u64) -> ReplicaReport {
    ReplicaReport {
        group_id: group,
        term: 3,
        leader_node: Some(leader),
        ..ReplicaReport::default()
    }
}

fn leader(group: u64, node: u64, lags: &[(u64, u64)]) -> ReplicaReport {
    ReplicaReport {
        ready_leader: true,
        voters: vec![1, 2, 3],
        high_watermark: 70,
        lags: lags
            .iter()
            .map(|(n, e)| FollowerLag {
                node_id: *n,
                entries: *e,
            })
            .collect(),
        ..follower(group, node)
    }
}

fn report(node: u64, replicas: Vec<ReplicaReport>) -> NodeReport {
    NodeReport {
        node_id: node,
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

fn kinds(reply: &admin::DescribeClusterReply) -> Vec<&str> {
    reply
        .problems
        .iter()
        .map(|problem| problem.kind.as_str())
        .collect()
}

#[test]
fn a_meta_group_that_lacks_voters_is_a_problem() {
    let mut reports = healthy();
    reports[0].replicas[0].voters = vec![1];
    let reply = describe_cluster(&metadata(), &Reports::new(reports), 3);
    assert_eq!(kinds(&reply), ["META_FEW_VOTERS"]);
    assert!(!reply.healthy);
}

#[test]
fn a_healthy_cluster_has_no_problems() {
    let reply = describe_cluster(&metadata(), &Reports::new(healthy()), 3);
    assert_eq!(kinds(&reply), Vec::<&str>::new());
    assert!(reply.healthy);
    assert_eq!((reply.meta_leader_node, reply.answered_by), (Some(1), 3));
    assert_eq!(reply.nodes[1].meta_role(), MetaRole::Voter);
    assert_eq!((reply.nodes[1].leaders, reply.nodes[1].replicas), (1, 1));
    let partition = &reply.partitions[0];
    assert_eq!(partition.health(), PartitionHealth::Healthy);
    assert_eq!(
        (partition.leader_node, partition.high_watermark),
        (Some(2), 70)
    );
    assert_eq!(partition.replicas[1].lag_entries, Some(3));
}

#[test]
fn a_node_tells_its_certificates_and_its_lag_of_all_groups_is_summed() {
    let mut reports = healthy();
    reports[0].replicas[0] = leader(0, 1, &[(2, 0), (3, 40)]);
    reports[1].replicas[1] = leader(1, 2, &[(1, 3), (3, 2)]);
    reports[2].certificate_not_after_s = Some(77);
    reports[2].ca_fingerprints = vec!["ab".to_owned(), "cd".to_owned()];
    let reply = describe_cluster(&metadata(), &Reports::new(reports.clone()), 1);
    let lags: Vec<u64> = reply.nodes.iter().map(|node| node.lag_entries).collect();
    assert_eq!(lags, [3, 0, 42]);
    assert_eq!(reply.nodes[2].certificate_not_after_s, Some(77));
    assert_eq!(reply.nodes[2].ca_fingerprints, ["ab", "cd"]);
    reports.truncate(2);
    let reply = describe_cluster(&metadata(), &Reports::new(reports), 1);
    assert_eq!(reply.nodes[2].certificate_not_after_s, None, "it is silent");
    assert!(reply.nodes[2].ca_fingerprints.is_empty());
}

#[test]
fn a_silent_node_is_shown_and_its_replicas_with_it() {
    let mut reports = healthy();
    reports.remove(2);
    let reply = describe_cluster(&metadata(), &Reports::new(reports), 1);
    assert!(!reply.healthy);
    assert_eq!(
        kinds(&reply),
        ["NODE_UNREACHABLE", "PARTITION_UNDER_REPLICATED"]
    );
    assert!(!reply.nodes[2].reachable);
    assert_eq!(
        reply.partitions[0].replicas[2].state(),
        ReplicaState::Unreachable
    );
}

#[test]
fn a_leader_that_does_not_answer_is_no_leader() {
    let mut reports = healthy();
    reports.remove(1);
    let reply = describe_cluster(&metadata(), &Reports::new(reports), 1);
    assert_eq!(reply.partitions[0].leader_node, None);
    assert_eq!(kinds(&reply), ["PARTITION_UNAVAILABLE", "NODE_UNREACHABLE"]);
    assert_eq!(reply.problems[0].text, "partition t/0 has no leader");
}

#[test]
fn of_two_that_say_that_they_lead_the_newer_counts() {
    let mut reports = healthy();
    let mut old = leader(1, 1, &[]);
    old.term = 2;
    reports[0].replicas[1] = old;
    let reply = describe_cluster(&metadata(), &Reports::new(reports), 1);
    assert_eq!(reply.partitions[0].leader_node, Some(2));
}

#[test]
fn damage_lag_and_a_full_disk_are_told() {
    let mut reports = healthy();
    reports[0].replicas[1].corrupt = true;
    reports[1].replicas[1].lags[1].entries = 1_000_000;
    reports[2].disk_low = true;
    let reply = describe_cluster(&metadata(), &Reports::new(reports), 1);
    assert_eq!(
        kinds(&reply),
        ["REPLICA_CORRUPT", "DISK_LOW", "PARTITION_UNDER_REPLICATED"]
    );
    assert_eq!(
        reply.problems[1].text,
        "node 3 (node-3) refuses writes: only 5 MiB of its disk are free"
    );
    let states: Vec<ReplicaState> = reply.partitions[0]
        .replicas
        .iter()
        .map(admin::ReplicaDescription::state)
        .collect();
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
fn many_of_a_kind_are_one_sentence_and_a_drain_is_no_fault() {
    let mut metadata = cluster(2);
    let replicas: Vec<&[u64]> = vec![&[1]; 8];
    create(&mut metadata, "t", &replicas);
    apply(
        &mut metadata,
        &Command::DrainNode {
            node: lograft_core::NodeId(2),
        },
    );
    let reports = [report(1, vec![leader(0, 1, &[])]), report(2, vec![])];
    let reply = describe_cluster(&metadata, &Reports::new(reports), 1);
    assert_eq!(kinds(&reply), ["PARTITION_UNAVAILABLE", "NODE_DRAINING"]);
    assert_eq!(
        reply.problems[0].text,
        "8 partitions have no leader: t/0, t/1, t/2, t/3, t/4 and 3 more"
    );
    assert!(!reply.problems[1].degrades);
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
