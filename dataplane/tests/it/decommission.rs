//! Nodes go for good.

use std::time::Duration;

use lograft_core::Reason;
use lograft_proto::admin::v1 as admin;
use tokio::sync::watch;
use tonic::Status;

use crate::cluster::{Cluster, eventually};
use crate::control::{bound, reason};
use crate::load::{Produced, assert_kept, lead_all, produce_steadily};

/// The longest that a partition may take no records when its leader goes for good. An election
/// alone takes nearly as long; a leader that hands over is heard of much sooner.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Asks the node at a place to decommission one.
pub(crate) async fn decommission(
    cluster: &Cluster,
    asked: usize,
    node_id: u64,
) -> Result<admin::NodeState, Status> {
    let request = admin::DecommissionNodeRequest { node_id };
    let reply = cluster.admin(asked).decommission_node(request).await?;
    Ok(reply.into_inner().state())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decommissioned_node_holds_nothing_and_is_gone_for_ever() {
    let mut cluster = Cluster::of(4).await;
    cluster.create_topic(0, "t", 4, 3).await;
    for partition in 0..4 {
        cluster
            .produce(partition as usize, partition, "before")
            .await;
    }
    let leaving = 3;
    let node_id = cluster.id_of(leaving).await;
    let state = decommission(&cluster, 0, node_id).await.unwrap();
    assert_ne!(state, admin::NodeState::Active);
    eventually("the node to be removed", async || {
        let state = decommission(&cluster, 1, node_id).await.unwrap();
        (state == admin::NodeState::Removed).then_some(())
    })
    .await;
    let described = cluster.describe(0).await;
    for partition in &described.partitions {
        assert!(
            partition.replicas.iter().all(|r| r.node_id != node_id),
            "{partition:?}"
        );
        assert_eq!(partition.replicas.len(), 3);
    }
    eventually("the removed node to know", async || {
        cluster
            .waits_for(leaving)
            .filter(|text| text.contains("decommissioned"))
    })
    .await;
    cluster.stop(leaving).await;
    cluster.healthy(0, 4).await;
    for partition in 0..4 {
        assert_eq!(cluster.read_all(0, partition).await, ["before"]);
        cluster.produce(1, partition, "after").await;
    }

    let one_more = cluster.id_of(1).await;
    let refused = decommission(&cluster, 0, one_more).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::TooFewNodes));
    assert_eq!(bound(&refused), "3");
    let refused = decommission(&cluster, 0, 99).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::UnknownNode));

    let newcomer = cluster.add().await;
    cluster.ready(newcomer).await;
    assert_eq!(
        cluster.id_of(newcomer).await,
        node_id + 1,
        "an id is never used again"
    );
    cluster.restart(leaving).await;
    eventually("the removed node to remember", async || {
        cluster
            .waits_for(leaving)
            .filter(|text| text.contains("decommissioned"))
    })
    .await;
}

/// Decommissions a leader under load, up to three times. The best run counts: a busy disk or CPU
/// also delays acknowledgements, but an election would delay them in every run.
async fn leader_goes(nodes: usize, partitions: u32, replicas: u32) {
    let mut gaps = Vec::new();
    while gaps.len() < 3 {
        let gap = longest_gap_while_leader_goes(nodes, partitions, replicas).await;
        if gap < GAP_MAX {
            return;
        }
        gaps.push(gap);
    }
    panic!("longest gaps between acknowledgements: {gaps:?}");
}

/// The node at a place leads all that it can, and is decommissioned while every partition is
/// written to. Returns the longest time without an acknowledgement in a partition.
async fn longest_gap_while_leader_goes(nodes: usize, partitions: u32, replicas: u32) -> Duration {
    let cluster = Cluster::of(nodes).await;
    cluster.create_topic(0, "t", partitions, replicas).await;
    cluster.healthy(0, nodes).await;
    let (leaving, asked) = (0, 1);
    let node_id = cluster.id_of(leaving).await;
    assert!(
        lead_all(&cluster, asked, node_id).await > 0,
        "it led nothing"
    );
    let (stop, stopped) = watch::channel(false);
    let producers = (0..partitions)
        .map(|partition| produce_steadily(&cluster, asked, partition, stopped.clone()));
    let drain = async {
        // The first acknowledgements may take their time.
        for partition in 0..partitions {
            cluster.produce(asked, partition, "first").await;
        }
        decommission(&cluster, asked, node_id).await.unwrap();
        eventually("the node to be removed", async || {
            let state = decommission(&cluster, asked, node_id).await.ok()?;
            (state == admin::NodeState::Removed).then_some(())
        })
        .await;
        stop.send(true).unwrap();
    };
    let (produced, ()) = tokio::join!(futures_util::future::join_all(producers), drain);
    let mut longest = Duration::ZERO;
    for (partition, produced) in (0..).zip(produced) {
        let Produced {
            acknowledged,
            longest_gap,
        } = produced;
        println!(
            "partition {partition}: {} records, {longest_gap:?}",
            acknowledged.len()
        );
        longest = longest.max(longest_gap);
        assert_kept(&cluster, asked, partition, &acknowledged).await;
    }
    let left = cluster.describe(asked).await.partitions;
    assert!(
        left.iter()
            .all(|p| p.leader_node.is_some_and(|n| n != node_id)),
        "{left:?}"
    );
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_of_three_replicas_goes_without_a_pause() {
    leader_goes(4, 4, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_of_two_replicas_goes_without_a_pause() {
    leader_goes(3, 3, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_replica_goes_without_a_pause() {
    leader_goes(3, 3, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decommission_is_called_off_while_the_node_drains() {
    let mut cluster = Cluster::of(4).await;
    cluster.create_topic(0, "t", 4, 3).await;
    cluster.healthy(0, 4).await;
    let ids = [cluster.id_of(0).await, cluster.id_of(3).await];
    // Nothing can move to a node that is away: the drain does not end.
    cluster.stop(3).await;
    let state = decommission(&cluster, 1, ids[0]).await.unwrap();
    assert_eq!(state, admin::NodeState::Draining);
    let recommission = async |node_id| {
        let request = admin::RecommissionNodeRequest { node_id };
        let reply = cluster.admin(1).recommission_node(request).await?;
        Ok::<_, Status>(reply.into_inner().state())
    };
    for _ in 0..2 {
        let state = recommission(ids[0]).await.unwrap();
        assert_eq!(state, admin::NodeState::Active);
    }
    let refused = recommission(99).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::UnknownNode));
    cluster.restart(3).await;
    cluster.healthy(1, 4).await;
    let described = cluster.describe(1).await;
    assert!(
        described
            .nodes
            .iter()
            .all(|n| n.state() == admin::NodeState::Active)
    );
    let still_held = described.partitions.iter().flat_map(|p| &p.replicas);
    assert!(
        still_held.filter(|r| r.node_id == ids[0]).count() > 0,
        "it holds what it held"
    );
}
