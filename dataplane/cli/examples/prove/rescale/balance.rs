//! Whether the cluster is even: what the planner says, and what the description shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lograft_client::Client;
use lograft_client::admin_wire::{
    DescribeClusterReply, NodeDescription, NodeState, RebalanceAction, RebalanceState,
};
use tokio::time::sleep;

const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The number of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) nodes: usize,
}

impl Shape {
    pub(super) const THREE: Self = Self { nodes: 3 };
    pub(super) const FIVE: Self = Self { nodes: 5 };
}

/// The replicas and leaders of the active nodes, by id.
#[derive(Clone, Debug)]
pub(super) struct Even {
    pub(super) replicas: Vec<u32>,
    pub(super) leaders: Vec<u32>,
}

/// Waits until nothing is left to move and all preferred leaders lead, and checks the result.
pub(super) async fn wait_even(client: &Client, shape: Shape, patience: Duration) -> Result<Even> {
    let started = Instant::now();
    loop {
        let waits_for = match look(client, shape).await {
            Ok(Ok(even)) => return Ok(even),
            Ok(Err(waits_for)) => waits_for,
            // A node may have been killed a moment ago.
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            started.elapsed() < patience,
            "not even after {patience:?}: {waits_for}"
        );
        sleep(POLL_INTERVAL).await;
    }
}

/// The even numbers, or what they wait for.
async fn look(client: &Client, shape: Shape) -> Result<Result<Even, String>> {
    let admin = client.admin();
    let plan = admin.rebalance(RebalanceAction::Plan).await?;
    let is_settled = plan.state() == RebalanceState::Idle && plan.moves_in_progress == 0;
    if !is_settled || plan.moves > 0 || plan.leader_changes > 0 {
        let in_progress = plan.moves_in_progress;
        let (moves, leaders) = (plan.moves, plan.leader_changes);
        return Ok(Err(format!(
            "{in_progress} moves in progress, {moves} replicas and {leaders} leaders left"
        )));
    }
    let described = admin.describe_cluster(false).await?;
    let active = active_nodes(&described);
    if active.len() != shape.nodes {
        return Ok(Err(format!("{} nodes are active", active.len())));
    }
    let mut partitions = described.partitions.iter();
    if let Some(other) = partitions.find(|p| p.leader_node != Some(p.preferred_leader_node)) {
        let (topic, partition) = (&other.topic, other.partition);
        return Ok(Err(format!(
            "{topic}/{partition} is led by {:?}, not by {}",
            other.leader_node, other.preferred_leader_node
        )));
    }
    Ok(check(&described, &active).map_err(|error| format!("{error:#}")))
}

pub(super) fn active_nodes(described: &DescribeClusterReply) -> Vec<&NodeDescription> {
    let nodes = described.nodes.iter();
    nodes
        .filter(|node| node.state() == NodeState::Active)
        .collect()
}

/// Checks zones and evenness. The numbers of replicas are at most one apart, or, where zones have
/// different numbers of nodes, within each zone.
fn check(described: &DescribeClusterReply, active: &[&NodeDescription]) -> Result<Even> {
    let zone = |node: &NodeDescription| match node.zone.as_str() {
        "" => node.name.clone(),
        zone => zone.to_owned(),
    };
    let mut zones: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for node in active {
        zones.entry(zone(node)).or_default().push(node.replicas);
    }
    let by_id: BTreeMap<u64, String> = active.iter().map(|n| (n.node_id, zone(n))).collect();
    for partition in &described.partitions {
        let held = partition.replicas.iter();
        let held: BTreeSet<_> = held.map(|r| by_id.get(&r.node_id)).collect();
        let expected = partition.replicas.len().min(zones.len());
        ensure!(
            held.len() == expected && !held.contains(&None),
            "{}/{} has replicas in {} of {expected} zones: {:?}",
            partition.topic,
            partition.partition,
            held.len(),
            partition.replicas
        );
    }
    let even = Even {
        replicas: active.iter().map(|node| node.replicas).collect(),
        leaders: active.iter().map(|node| node.leaders).collect(),
    };
    ensure!(spread(&even.leaders) <= 1, "leaders: {:?}", even.leaders);
    let sizes: BTreeSet<usize> = zones.values().map(Vec::len).collect();
    let groups: Vec<Vec<u32>> = if sizes.len() == 1 {
        vec![even.replicas.clone()]
    } else {
        zones.into_values().collect()
    };
    for replicas in groups {
        ensure!(spread(&replicas) <= 1, "replicas: {:?}", even.replicas);
    }
    Ok(even)
}

fn spread(numbers: &[u32]) -> u32 {
    let max = numbers.iter().max().copied().unwrap_or(0);
    max - numbers.iter().min().copied().unwrap_or(0)
}
