//! Topics get another number of replicas while they are written to.

use lograft_core::Reason;
use lograft_proto::admin::v1 as admin;
use tokio::sync::watch;

use crate::cluster::{Cluster, eventually};
use crate::control::{bound, reason};
use crate::load::{assert_kept, produce_steadily};

const PARTITIONS: u32 = 3;

fn alter(factor: u32) -> admin::AlterTopicRequest {
    admin::AlterTopicRequest {
        name: "t".to_owned(),
        replication_factor: Some(factor),
        ..admin::AlterTopicRequest::default()
    }
}

/// Waits until every partition of a topic has so many voters, and nothing is left to do.
async fn replicated(cluster: &Cluster, asked: usize, topic: &str, factor: usize) {
    eventually("the replicas", async || {
        let reply = cluster.describe(asked).await;
        let mut partitions = reply.partitions.iter().filter(|p| p.topic == topic);
        let is_done = |p: &admin::PartitionDescription| {
            let is_voter = |r: &admin::ReplicaDescription| r.voter;
            p.replicas.len() == factor
                && p.replicas.iter().all(is_voter)
                && p.target_nodes.is_empty()
        };
        (reply.healthy && partitions.all(is_done)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_raised_and_lowered_under_load() {
    let cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", PARTITIONS, 1).await;
    let (stop, stopped) = watch::channel(false);
    let producers =
        (0..PARTITIONS).map(|partition| produce_steadily(&cluster, 0, partition, stopped.clone()));
    let changes = async {
        for factor in [3, 1, 2] {
            let reply = cluster.admin(1).alter_topic(alter(factor)).await.unwrap();
            let topic = reply.into_inner().topic.unwrap();
            assert_eq!(topic.replication_factor, factor);
            replicated(&cluster, 1, "t", factor as usize).await;
        }
        stop.send_replace(true);
    };
    let (produced, ()) = tokio::join!(futures_util::future::join_all(producers), changes);
    for (partition, produced) in (0..).zip(&produced) {
        assert!(!produced.acknowledged.is_empty());
        assert_kept(&cluster, 2, partition, &produced.acknowledged).await;
    }
    let refused = cluster.admin(0).alter_topic(alter(4)).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::InvalidReplicationFactor));
    assert_eq!(bound(&refused), "1..=3");
    let refused = cluster.admin(0).alter_topic(alter(0)).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::InvalidReplicationFactor));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_a_number_follows_the_cluster_from_one_node_to_three() {
    let mut cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 2, 0).await;
    cluster.create_topic(0, "given", 1, 1).await;
    cluster.produce(0, 0, "early").await;
    for at in 1..3 {
        cluster.add().await;
        cluster.ready(at).await;
    }
    replicated(&cluster, 2, "t", 3).await;
    replicated(&cluster, 2, "given", 1).await;
    cluster.stop(0).await;
    assert_eq!(cluster.read_all(1, 0).await, ["early"]);
    cluster.produce(1, 1, "late").await;
}
