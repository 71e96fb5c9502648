//! Replicas and leaders follow the nodes: a cluster grows and shrinks while it is written to.

use std::time::Duration;

use lograft_core::{FeatureLevel, Reason};
use lograft_proto::admin::v1 as admin;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::cluster::Cluster;
use crate::control::reason;
use crate::decommission::decommission;
use crate::load::{assert_kept, produce_steadily};

/// How long a whole balance may take on a busy machine.
const BALANCE_MAX: Duration = Duration::from_mins(4);

pub(crate) async fn rebalance(
    cluster: &Cluster,
    asked: usize,
    action: admin::RebalanceAction,
) -> Result<admin::RebalanceReply, Status> {
    let request = admin::RebalanceRequest {
        action: action.into(),
    };
    let reply = cluster.admin(asked).rebalance(request).await?;
    Ok(reply.into_inner())
}

/// Waits longer than `eventually`.
async fn within<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(started.elapsed() < BALANCE_MAX, "waited for {what}");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn is_balanced(cluster: &Cluster) {
    within("the balance to end", async || {
        let plan = rebalance(cluster, 0, admin::RebalanceAction::Plan)
            .await
            .ok()?;
        let is_idle = plan.state() == admin::RebalanceState::Idle;
        (is_idle && plan.moves_in_progress == 0).then(|| {
            assert_eq!((plan.moves, plan.leader_changes), (0, 0), "{plan:?}");
        })
    })
    .await;
}

fn spread(numbers: impl Iterator<Item = u32> + Clone) -> u32 {
    numbers.clone().max().unwrap_or(0) - numbers.min().unwrap_or(0)
}

/// Replicas of the active nodes are at most one apart, and soon their leaders are too.
async fn assert_even(cluster: &Cluster, nodes: usize) {
    let active = |described: admin::DescribeClusterReply| {
        let nodes = described.nodes.into_iter();
        let active = nodes.filter(|node| node.state() == admin::NodeState::Active);
        active.collect::<Vec<_>>()
    };
    let described = active(cluster.describe(0).await);
    assert_eq!(described.len(), nodes);
    let replicas = described.iter().map(|node| node.replicas);
    assert!(spread(replicas) <= 1, "{described:?}");
    within("the leaders to be even", async || {
        let described = active(cluster.describe(0).await);
        let leaders = described.iter().map(|node| node.leaders);
        (spread(leaders) <= 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_become_five_and_three_again_while_they_are_written_to() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 12, 3).await;
    cluster.healthy(0, 3).await;
    is_balanced(&cluster).await;
    let paused = rebalance(&cluster, 1, admin::RebalanceAction::Pause)
        .await
        .unwrap();
    assert_eq!(paused.state(), admin::RebalanceState::Paused);
    for _ in 0..2 {
        let newcomer = cluster.add().await;
        cluster.ready(newcomer).await;
    }
    let plan = rebalance(&cluster, 2, admin::RebalanceAction::Plan)
        .await
        .unwrap();
    assert_eq!((plan.moves, plan.least_moves), (14, 14), "{plan:?}");
    assert_eq!(plan.state(), admin::RebalanceState::Paused);
    assert_eq!(plan.moves_in_progress, 0);

    let (stop, stopped) = watch::channel(false);
    let producers =
        (0..4).map(|partition| produce_steadily(&cluster, 0, partition, stopped.clone()));
    let change = async {
        rebalance(&cluster, 0, admin::RebalanceAction::Resume)
            .await
            .unwrap();
        is_balanced(&cluster).await;
        assert_even(&cluster, 5).await;
        for leaving in [3, 4] {
            let node_id = cluster.id_of(leaving).await;
            within("the node to be removed", async || {
                let state = decommission(&cluster, 0, node_id).await.ok()?;
                (state == admin::NodeState::Removed).then_some(())
            })
            .await;
        }
        is_balanced(&cluster).await;
        assert_even(&cluster, 3).await;
        stop.send_replace(true);
    };
    let (produced, ()) = tokio::join!(futures_util::future::join_all(producers), change);
    for (partition, produced) in (0..).zip(&produced) {
        assert!(!produced.acknowledged.is_empty());
        println!(
            "longest gap of partition {partition}: {:?}",
            produced.longest_gap
        );
        assert_kept(&cluster, 0, partition, &produced.acknowledged).await;
    }
    for partition in &cluster.describe(0).await.partitions {
        assert_eq!(partition.replicas.len(), 3, "{partition:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_relieves_those_of_its_zone_and_leaders_return_after_a_restart() {
    let mut cluster = Cluster::new();
    cluster.zones = ["a", "a", "b", "b"].map(str::to_owned).to_vec();
    let mut cluster = cluster.with_nodes(3).await;
    cluster.create_topic(0, "t", 6, 2).await;
    cluster.healthy(0, 3).await;
    let newcomer = cluster.add().await;
    cluster.ready(newcomer).await;
    let added = cluster.id_of(newcomer).await;
    is_balanced(&cluster).await;
    assert_even(&cluster, 4).await;
    let described = cluster.describe(0).await;
    let zone = |id: u64| {
        described
            .nodes
            .iter()
            .find(|n| n.node_id == id)
            .unwrap()
            .zone
            .clone()
    };
    for partition in &described.partitions {
        let mut zones: Vec<String> = partition.replicas.iter().map(|r| zone(r.node_id)).collect();
        zones.sort();
        assert_eq!(zones, ["a", "b"], "{partition:?}");
    }
    assert!(
        described
            .partitions
            .iter()
            .any(|p| p.preferred_leader_node == added)
    );

    cluster.stop(newcomer).await;
    within("the others to lead", async || {
        let partitions = cluster.describe(0).await.partitions;
        let is_led = |p: &admin::PartitionDescription| p.leader_node.is_some_and(|id| id != added);
        partitions.iter().all(is_led).then_some(())
    })
    .await;
    cluster.restart(newcomer).await;
    within("each preferred leader to lead", async || {
        let partitions = cluster.describe(0).await.partitions;
        let is_right =
            |p: &admin::PartitionDescription| p.leader_node == Some(p.preferred_leader_node);
        partitions.iter().all(is_right).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_needs_its_feature_level_and_a_plan_needs_none() {
    let mut cluster = Cluster::new();
    cluster.level = FeatureLevel(1);
    let cluster = cluster.with_nodes(1).await;
    let plan = rebalance(&cluster, 0, admin::RebalanceAction::Plan)
        .await
        .unwrap();
    assert_eq!(plan.state(), admin::RebalanceState::Idle);
    for action in [admin::RebalanceAction::Start, admin::RebalanceAction::Pause] {
        let refused = rebalance(&cluster, 0, action).await.unwrap_err();
        assert_eq!(reason(&refused), Some(Reason::FeatureNotFinalized));
    }
}
