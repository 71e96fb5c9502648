//! A node is asked whether it may be stopped.

use std::time::Duration;

use lograft_core::Reason;
use lograft_core::limits::{PREFERRED_JITTER_MAX, PREFERRED_STABLE_MIN};
use lograft_proto::admin::v1 as admin;
use tonic::Status;

use crate::cluster::{Cluster, eventually};
use crate::control::reason;
use crate::load::lead_all;

async fn prepare(
    cluster: &Cluster,
    asked: usize,
    node_id: u64,
) -> Result<admin::PrepareStopReply, Status> {
    let request = admin::PrepareStopRequest { node_id };
    let reply = cluster.admin(asked).prepare_stop(request).await?;
    Ok(reply.into_inner())
}

/// How many groups a node leads, the meta group included.
async fn led_by(cluster: &Cluster, asked: usize, node_id: u64) -> usize {
    let described = cluster.describe(asked).await;
    let partitions = described.partitions.iter().map(|p| p.leader_node);
    let leaders = partitions.chain([described.meta_leader_node]);
    leaders.filter(|leader| *leader == Some(node_id)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_stop_leads_nothing_and_is_left_alone() {
    let cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 4, 3).await;
    cluster.healthy(0, 3).await;
    let node_id = cluster.id_of(0).await;
    // They are the node's by preference too: without a rest they would soon be handed back.
    assert_eq!(lead_all(&cluster, 1, node_id).await, 4);
    for asked in [1, 0] {
        let reply = prepare(&cluster, asked, node_id).await.unwrap();
        assert!(reply.ready && reply.keeps_majorities, "{reply:?}");
        assert_eq!(
            (reply.waits_for.len(), reply.notes.len()),
            (0, 0),
            "{reply:?}"
        );
    }
    assert_eq!(led_by(&cluster, 1, node_id).await, 0);
    tokio::time::sleep(PREFERRED_STABLE_MIN + PREFERRED_JITTER_MAX + Duration::from_secs(2)).await;
    assert_eq!(
        led_by(&cluster, 1, node_id).await,
        0,
        "it was not left alone"
    );
    let refused = prepare(&cluster, 1, 99).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::UnknownNode));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_node_is_away_nothing_is_moved() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 2, 3).await;
    cluster.healthy(0, 3).await;
    let node_id = cluster.id_of(0).await;
    lead_all(&cluster, 1, node_id).await;
    let away = cluster.id_of(2).await;
    cluster.stop(2).await;
    let reply = prepare(&cluster, 1, node_id).await.unwrap();
    assert!(!reply.ready);
    let why = format!(
        "waiting for a majority of the meta group, t/0, t/1 to be in sync without node {node_id}: \
         node {away} does not answer"
    );
    assert_eq!(reply.waits_for, [why]);
    assert!(!reply.keeps_majorities, "{reply:?}");
    assert_eq!(led_by(&cluster, 1, node_id).await, 3, "something was moved");
    // The one that is away may be stopped: it is the one that is being changed.
    let reply = prepare(&cluster, 1, away).await.unwrap();
    assert!(reply.ready, "{reply:?}");
    cluster.restart(2).await;
    eventually("the node to be in sync again", async || {
        let reply = prepare(&cluster, 1, node_id).await.ok()?;
        reply.ready.then_some(())
    })
    .await;
    assert_eq!(led_by(&cluster, 1, node_id).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_may_stop_and_is_told_what_pauses() {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 2, 1).await;
    let reply = prepare(&cluster, 0, 1).await.unwrap();
    assert!(reply.ready, "{reply:?}");
    let note = "the meta group, t/0, t/1 cannot be written while node 1 is stopped: \
                too few replicas";
    assert_eq!(reply.notes, [note]);
    cluster.produce(0, 0, "still served").await;
}
