//! Purging the log, and the snapshots for followers that need purged entries.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use lograft_core::{LogIndex, NodeId};

use crate::cluster::{Cluster, batch, eventually, nodes, until};

/// Small, so that a test fills many segments.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// Writes `count` batches of 16 KiB, 32 at a time.
async fn fill(cluster: &Cluster, count: u64) {
    for start in (0..count).step_by(32) {
        let chunk = start..count.min(start + 32);
        let mut writes: FuturesUnordered<_> = chunk
            .map(|n| cluster.write(batch(n, 1, 16 * 1024)))
            .collect();
        while writes.next().await.is_some() {}
    }
}

async fn purge_to_end(cluster: &Cluster, node: NodeId) -> LogIndex {
    let group = cluster.group(node);
    until(group, "all followers caught up", |s| {
        s.followers.values().all(|f| f.lag == 0)
    })
    .await;
    let status = group.status();
    let purged = group
        .snapshot_and_purge(status.applied.unwrap().index)
        .await
        .unwrap();
    let Some(boundary) = purged else {
        panic!(
            "no purge: {status:?}, {:?}, {:?}",
            group.status(),
            group.log().latest_checkpoint()
        );
    };
    until(group, "the log is purged", |s| {
        s.purged.is_some_and(|p| p.index >= boundary.index)
    })
    .await;
    boundary.index
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_learner_gets_the_snapshot_then_the_log_and_may_become_leader() {
    let mut cluster = Cluster::with_segments(3, SEGMENT_BYTES).await;
    fill(&cluster, 200).await;
    cluster.converged().await;
    let leader = cluster.leader().await;
    let boundary = purge_to_end(&cluster, leader).await;
    assert!(
        boundary > LogIndex(100),
        "the boundary is far into the log, at {boundary}"
    );
    fill(&cluster, 20).await;

    let new = NodeId(4);
    cluster.start(new).await;
    let group = cluster.group(leader).clone();
    group.add_learner(new).await.unwrap();
    until(&group, "the learner caught up", |s| s.is_caught_up(new, 0)).await;
    assert_eq!(cluster.net.snapshots(), 1);
    let status = cluster.group(new).status();
    assert_eq!(
        status.purged.map(|id| id.index),
        Some(boundary),
        "the learner's log starts at the boundary"
    );
    assert_eq!(cluster.converged().await.batches, 220);

    group.change_voters(nodes([leader.get(), 4])).await.unwrap();
    group.transfer_leader(new).await.unwrap();
    until(cluster.group(new), "the new voter is the leader", |s| {
        s.ready
    })
    .await;
    let old = nodes(1..=3).into_iter().filter(|node| *node != leader);
    for node in old {
        cluster.crash(node).await;
    }
    fill(&cluster, 20).await;
    assert_eq!(cluster.converged().await.batches, 240);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_follower_delays_the_purge_and_a_replica_restarts_from_a_purged_log() {
    let mut cluster = Cluster::with_segments(3, SEGMENT_BYTES).await;
    let leader = cluster.leader().await;
    let slow = *cluster
        .replicas
        .keys()
        .find(|node| **node != leader)
        .unwrap();
    cluster.crash(slow).await;
    fill(&cluster, 150).await;
    let group = cluster.group(leader).clone();
    let all = group.status().applied.unwrap().index;
    assert_eq!(group.snapshot_and_purge(all).await.unwrap(), None);
    let purge = group.status().purge;
    assert_eq!((purge.held_by, purge.requested), (Some(slow), Some(all)));

    cluster.start(slow).await;
    cluster.converged().await;
    until(&group, "the slow follower caught up", |s| {
        s.is_caught_up(slow, 0)
    })
    .await;
    purge_to_end(&cluster, leader).await;
    assert_eq!(group.status().purge.held_by, None);
    assert_eq!(cluster.net.snapshots(), 0);

    let before = cluster.converged().await;
    let purged = group.status().purged;
    drop(group); // The handle keeps the log open.
    cluster.crash(leader).await;
    cluster.start(leader).await;
    assert!(cluster.group(leader).status().purged <= purged);
    assert!(cluster.group(leader).status().purged.is_some());
    cluster.write(batch(1, 1, 8)).await;
    assert_eq!(cluster.converged().await.batches, before.batches + 1);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_a_stalled_stream_gets_a_snapshot_after_the_purge() {
    let cluster = Cluster::with_segments(3, SEGMENT_BYTES).await;
    let leader = cluster.leader().await;
    let slow = *cluster
        .replicas
        .keys()
        .find(|node| **node != leader)
        .unwrap();
    fill(&cluster, 10).await;
    cluster.net.stall(slow);
    fill(&cluster, 150).await;
    let group = cluster.group(leader).clone();
    let all = group.status().applied.unwrap().index;
    group.set_purge_hold(Duration::ZERO);
    let boundary = group
        .snapshot_and_purge(all)
        .await
        .unwrap()
        .expect("no follower may delay the purge");
    until(&group, "the log is purged", |s| {
        s.purged.is_some_and(|p| p.index >= boundary.index)
    })
    .await;
    cluster.net.unstall(slow);
    assert_eq!(cluster.converged().await.batches, 160);
    assert_eq!(cluster.net.snapshots(), 1);
    fill(&cluster, 10).await;
    assert_eq!(cluster.converged().await.batches, 170);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_follower_does_not_delay_the_purge_indefinitely() {
    let mut cluster = Cluster::with_segments(3, SEGMENT_BYTES).await;
    let leader = cluster.leader().await;
    let stopped = *cluster
        .replicas
        .keys()
        .find(|node| **node != leader)
        .unwrap();
    fill(&cluster, 10).await;
    cluster.crash(stopped).await;
    fill(&cluster, 150).await;
    let group = cluster.group(leader).clone();
    group.set_purge_hold(Duration::ZERO);
    let all = group.status().applied.unwrap().index;
    let boundary = group
        .snapshot_and_purge(all)
        .await
        .unwrap()
        .expect("no follower may delay the purge");
    until(&group, "the log is purged", |s| {
        s.purged.is_some_and(|p| p.index >= boundary.index)
    })
    .await;
    cluster.start(stopped).await;
    assert_eq!(cluster.converged().await.batches, 160);
    assert_eq!(cluster.net.snapshots(), 1);
    let status = cluster.group(stopped).status();
    assert_eq!(status.purged.map(|id| id.index), Some(boundary.index));
    cluster.shutdown().await;
}

/// Purges, leader failures and broken streams at the same time. This combination caused openraft
/// #1808 (committed entries lost) and #2116 (a panic between purge and apply).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_batch_is_lost_by_restarts_during_purges() {
    let mut cluster = Cluster::with_segments(3, SEGMENT_BYTES).await;
    let mut written = 0;
    for round in 0..6u64 {
        let leader = cluster.leader().await;
        let purgers: Vec<_> = cluster
            .replicas
            .values()
            .map(|replica| {
                let group = replica.group.clone();
                tokio::spawn(async move {
                    loop {
                        let applied = group.status().applied.map_or(LogIndex::ZERO, |id| id.index);
                        if group.snapshot_and_purge(applied).await.is_err() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                })
            })
            .collect();
        fill(&cluster, 100).await;
        written += 100;
        let victim = if round % 2 == 0 {
            leader
        } else {
            NodeId(1 + leader.get() % 3)
        };
        cluster.crash(victim).await;
        fill(&cluster, 60).await;
        written += 60;
        cluster.start(victim).await;
        let sum = cluster.converged().await;
        // A proposal whose leader failed is retried and may be in the log twice.
        assert!(sum.batches >= written, "{} of {written}", sum.batches);
        written = sum.batches;
        for purger in purgers {
            purger.abort();
        }
    }
    for replica in cluster.replicas.values() {
        assert!(replica.group.status().fatal.is_none());
    }
    eventually("the log has been purged", || {
        cluster
            .replicas
            .values()
            .any(|replica| replica.group.status().purged.is_some())
    })
    .await;
    cluster.shutdown().await;
}
