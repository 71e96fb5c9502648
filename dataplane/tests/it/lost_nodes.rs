//! Nodes that are lost for good, and those that come back after all.

use std::path::Path;
use std::time::Duration;

use lograft_core::limits::COORDINATORS_COUNT;
use lograft_node::config::RecoverySettings;
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::group_service_client::GroupServiceClient;
use tokio::sync::watch;

use crate::cluster::{Cluster, eventually};
use crate::decommission::decommission;
use crate::links::Links;
use crate::load::{assert_kept, produce_steadily};

/// Silence after which a node counts as lost.
const AFTER: Duration = Duration::from_secs(3);
const PARTITIONS: u32 = 4;

fn unstarted() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.recovery = RecoverySettings {
        dead_node_after_ms: u64::try_from(AFTER.as_millis()).unwrap(),
    };
    cluster
}

/// The first use of groups creates the coordinators.
async fn create_coordinators(cluster: &Cluster) {
    eventually("the coordinators", async || {
        let request = log::JoinGroupRequest {
            group: "g".to_owned(),
            member_id: "m".to_owned(),
            client_id: "test".to_owned(),
            topics: vec!["t".to_owned()],
            ..log::JoinGroupRequest::default()
        };
        let mut groups = GroupServiceClient::new(cluster.channel(0));
        groups.join_group(request).await.ok()
    })
    .await;
}

fn described(reply: &admin::DescribeClusterReply, id: u64) -> &admin::NodeDescription {
    let mut nodes = reply.nodes.iter();
    nodes.find(|node| node.node_id == id).unwrap()
}

fn problem<'a>(reply: &'a admin::DescribeClusterReply, kind: &str) -> Option<&'a str> {
    let mut problems = reply.problems.iter();
    problems
        .find(|problem| problem.kind == kind)
        .map(|problem| problem.text.as_str())
}

async fn wait_until_replaced(cluster: &Cluster, asked: usize) {
    eventually("the lost node to be replaced", async || {
        let reply = cluster.describe(asked).await;
        (reply.healthy && problem(&reply, "NODE_REPLACED").is_some()).then_some(())
    })
    .await;
}

/// The directories of groups on a node's disk, the meta group's left out.
fn group_count(data_dir: &Path) -> usize {
    let entries = std::fs::read_dir(data_dir.join("groups")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "group-0").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_replaced_under_load_and_takes_part_again_when_it_is_back() {
    let mut cluster = unstarted().with_nodes(4).await;
    let (asked, lost) = (0, 2);
    cluster.create_topic(asked, "t", PARTITIONS, 3).await;
    create_coordinators(&cluster).await;
    let id = cluster.id_of(lost).await;
    let before = cluster.describe(asked).await;
    assert!(described(&before, id).replicas > 0);
    cluster.stop(lost).await;

    let (stop, stopped) = watch::channel(false);
    let producers = (0..PARTITIONS)
        .map(|partition| produce_steadily(&cluster, asked, partition, stopped.clone()));
    let replaced = async {
        wait_until_replaced(&cluster, asked).await;
        stop.send_replace(true);
    };
    let (produced, ()) = tokio::join!(futures_util::future::join_all(producers), replaced);
    let reply = cluster.describe(1).await;
    assert!(described(&reply, id).lost_since_ms.is_some());
    let coordinators = COORDINATORS_COUNT as usize;
    assert_eq!(reply.partitions.len(), PARTITIONS as usize + coordinators);
    for partition in &reply.partitions {
        let on_lost = partition.replicas.iter().any(|r| r.node_id == id);
        assert!(!on_lost && partition.replicas.len() == 3, "{partition:?}");
    }
    let voters = reply.nodes.iter().filter(|node| {
        let role = node.meta_role();
        role == admin::MetaRole::Leader || role == admin::MetaRole::Voter
    });
    let voters: Vec<u64> = voters.map(|node| node.node_id).collect();
    assert!(voters.len() == 3 && !voters.contains(&id), "{voters:?}");
    for (partition, produced) in (0..).zip(&produced) {
        assert!(!produced.acknowledged.is_empty());
        assert_kept(&cluster, 1, partition, &produced.acknowledged).await;
    }

    assert!(group_count(&cluster.data_dir(lost)) > 0);
    cluster.restart(lost).await;
    cluster.ready(lost).await;
    eventually("the lost node to be found", async || {
        let reply = cluster.describe(lost).await;
        let found = described(&reply, id).lost_since_ms.is_none();
        (found && reply.healthy).then_some(())
    })
    .await;
    eventually("the node to hold its share and nothing else", async || {
        let reply = cluster.describe(lost).await;
        let replicas = described(&reply, id).replicas;
        let most = reply.nodes.iter().map(|node| node.replicas).max()?;
        let is_balanced = replicas > 0 && replicas + 1 >= most && reply.moves_in_progress == 0;
        let groups = group_count(&cluster.data_dir(lost));
        (is_balanced && groups == replicas as usize).then_some(())
    })
    .await;
    cluster.healthy(lost, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_without_a_majority_are_not_touched_and_an_empty_lost_node_is_retired() {
    let mut cluster = unstarted().with_nodes(4).await;
    // One replica each, on every node.
    cluster.create_topic(0, "t", 4, 1).await;
    cluster.create_topic(0, "wide", 1, 3).await;
    let reply = cluster.describe(0).await;
    let wide = reply.partitions.iter().find(|p| p.topic == "wide").unwrap();
    let on_wide = |id: u64| wide.replicas.iter().any(|r| r.node_id == id);
    let mut lost = 0;
    for at in 1..4 {
        if on_wide(cluster.id_of(at).await) {
            lost = at;
        }
    }
    let id = cluster.id_of(lost).await;
    cluster.stop(lost).await;
    let text = eventually("the other partition to be replaced", async || {
        let reply = cluster.describe(0).await;
        let text = problem(&reply, "NODE_LOST")?;
        text.contains("0 replicas are being replaced, 1 left")
            .then(|| text.to_owned())
    })
    .await;
    assert!(text.contains("of these 1 without a majority"), "{text}");
    let reply = cluster.describe(0).await;
    let alone = |p: &&admin::PartitionDescription| {
        p.topic == "t" && p.replicas.iter().map(|r| r.node_id).eq([id])
    };
    assert_eq!(reply.partitions.iter().filter(alone).count(), 1);
    let wide = reply.partitions.iter().find(|p| p.topic == "wide").unwrap();
    assert!(wide.replicas.len() == 3 && wide.target_nodes.is_empty());

    // Nothing is left on it once its topic is given up: then its id ends at once.
    let request = admin::DeleteTopicRequest {
        name: "t".to_owned(),
        ..admin::DeleteTopicRequest::default()
    };
    cluster.admin(0).delete_topic(request).await.unwrap();
    eventually("the lost node to be removed", async || {
        let state = decommission(&cluster, 0, id).await.unwrap();
        (state == admin::NodeState::Removed).then_some(())
    })
    .await;
    let reply = cluster.describe(0).await;
    assert!(reply.healthy && reply.problems.is_empty(), "{reply:?}");
    let newcomer = cluster.add().await;
    cluster.ready(newcomer).await;
    assert_eq!(cluster.id_of(newcomer).await, 5, "ids are never used again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_spare_nothing_shrinks_and_the_reason_is_named() {
    let mut cluster = unstarted().with_nodes(3).await;
    cluster.create_topic(0, "t", 2, 3).await;
    let lost = 2;
    let id = cluster.id_of(lost).await;
    cluster.stop(lost).await;
    eventually("the node to be missed", async || {
        let reply = cluster.describe(0).await;
        let text = problem(&reply, "NODE_UNREACHABLE")?;
        let reason = "its 2 replicas cannot be replaced: there are 2 other active nodes, and 3 are \
                      needed";
        text.ends_with(reason).then_some(())
    })
    .await;
    tokio::time::sleep(2 * AFTER).await;
    let reply = cluster.describe(0).await;
    assert_eq!(described(&reply, id).lost_since_ms, None);
    for partition in &reply.partitions {
        assert!(partition.replicas.len() == 3 && partition.target_nodes.is_empty());
        assert!(
            partition
                .replicas
                .iter()
                .any(|r| r.node_id == id && r.voter)
        );
    }
    cluster.produce(0, 0, "still").await;
    cluster.restart(lost).await;
    cluster.healthy(0, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_without_a_majority_marks_nobody() {
    let mut cluster = unstarted();
    let links = Links::default();
    cluster.links = Some(links.clone());
    let cluster = cluster.with_nodes(5).await;
    cluster.create_topic(0, "t", PARTITIONS, 3).await;
    cluster.healthy(0, 5).await;
    let leader = cluster.describe(0).await.meta_leader_node.unwrap();
    let mut cut = 0;
    for at in 0..5 {
        if cluster.id_of(at).await == leader {
            cut = at;
        }
    }
    let other = (cut + 1) % 5;
    links.cut(cut);
    wait_until_replaced(&cluster, other).await;
    // The former leader hears of nobody, and blames nobody.
    let reply = cluster.describe(cut).await;
    let lost = reply.nodes.iter().filter(|n| n.lost_since_ms.is_some());
    assert_eq!(lost.count(), 0);
    assert!(reply.partitions.iter().all(|p| p.target_nodes.is_empty()));
    links.mend(cut);
    eventually("the node to be found", async || {
        let reply = cluster.describe(cut).await;
        let lost = reply.nodes.iter().any(|n| n.lost_since_ms.is_some());
        (reply.healthy && !lost).then_some(())
    })
    .await;

    // Each node alone: no majority anywhere, and nobody is lost afterwards.
    (0..5).for_each(|at| links.cut(at));
    tokio::time::sleep(2 * AFTER).await;
    for at in 0..5 {
        let reply = cluster.describe(at).await;
        let lost = reply.nodes.iter().filter(|n| n.lost_since_ms.is_some());
        assert_eq!(lost.count(), 0, "as node {at} sees it");
    }
    (0..5).for_each(|at| links.mend(at));
    cluster.healthy(0, 5).await;
    let reply = cluster.describe(0).await;
    assert!(reply.nodes.iter().all(|n| n.lost_since_ms.is_none()));
}
