//! A group that lost its majority is recovered from one replica.

use lograft_core::{NodeId, Term};
use lograft_raft::make_only_voter;

use crate::cluster::{Cluster, batch, eventually, nodes, until};

/// The survivor lacks the last entries that the others have committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_keeps_its_log_and_the_group_grows_again_from_it() {
    let mut cluster = Cluster::of(3).await;
    for seed in 0..20 {
        cluster.write(batch(seed, 3, 100)).await;
    }
    let kept = cluster.converged().await;
    let survivor = NodeId(3);
    let others = [NodeId(1), NodeId(2)];
    cluster.crash(survivor).await;
    for seed in 20..25 {
        cluster.write(batch(seed, 3, 100)).await;
    }
    for node in others {
        cluster.crash(node).await;
    }
    let before = cluster.make_only_voter(survivor).await;
    // A crash before the epoch is stored repeats it.
    let again = cluster.make_only_voter(survivor).await;
    assert!(again.term > before.term && again.index > before.index);
    cluster.start(survivor).await;
    assert_eq!(cluster.leader().await, survivor);
    let status = cluster.group(survivor).status();
    assert_eq!(status.voters, nodes([3]));
    assert!(status.joint.is_none() && status.learners.is_empty());
    assert!(status.term > again.term);
    eventually("the log is applied", || {
        cluster.replicas[&survivor].sum() == kept
    })
    .await;
    cluster.write(batch(100, 3, 100)).await;
    for node in [NodeId(4), NodeId(5)] {
        cluster.start(node).await;
        cluster.group(survivor).add_learner(node).await.unwrap();
    }
    let grown = nodes([3, 4, 5]);
    until(
        cluster.group(survivor),
        "the new replicas catch up",
        |status| {
            let learners = [NodeId(4), NodeId(5)];
            learners.iter().all(|node| status.is_caught_up(*node, 0))
        },
    )
    .await;
    cluster
        .group(survivor)
        .change_voters(grown.clone())
        .await
        .unwrap();
    cluster.write(batch(101, 3, 100)).await;
    assert_eq!(cluster.group(survivor).status().voters, grown);
    cluster.converged().await;
    cluster.shutdown().await;
}

/// A replica that was never in a group has no log to keep, and can still be made the first voter.
#[tokio::test]
async fn an_empty_log_becomes_a_group_of_one() {
    let mut cluster = Cluster::of(1).await;
    let node = NodeId(9);
    let first = cluster.make_only_voter(node).await;
    assert_eq!((first.term, first.index.get()), (Term(1), 0));
    cluster.start(node).await;
    until(cluster.group(node), "it leads", |status| status.ready).await;
    cluster.shutdown().await;
}

impl Cluster {
    /// Makes a node that does not run the only voter.
    async fn make_only_voter(&mut self, node: NodeId) -> lograft_core::LogId {
        let storage = self.stopped_storage(node).await;
        let (log, _) = storage
            .open_group(
                crate::cluster::GROUP,
                lograft_storage::GroupOptions::default(),
            )
            .unwrap();
        let made = make_only_voter(&log, node, 1).await.unwrap();
        storage.close_group(crate::cluster::GROUP).unwrap();
        made
    }
}
