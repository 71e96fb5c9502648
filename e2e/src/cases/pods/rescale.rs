//! Clusters that grow to five nodes and shrink to three again under load.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::ensure;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use lograft_client::Client;
use lograft_client::admin_wire::{
    DescribeClusterReply, NodeDescription, NodeState, RebalanceAction, RebalanceState,
};
use lograft_crds::LogClusterStatus;
use serde_json::json;
use tokio::time::sleep;

use super::{CHANGE_MAX, LOSS_PAUSE_MAX, PAUSE_MAX, is_up, pods, ready};
use crate::chart::Chart;
use crate::load::Load;
use crate::pod_client::Credentials;
use crate::sandbox::{Sandbox, await_for};

/// A steady load: 6 partitions with 1,000 records a second each, and a consumer group.
const LOAD: [&str; 4] = ["--rate", "1000", "--members", "3"];
/// Duration of the load of the quiet case: longer than it takes to grow and to shrink.
const LENGTH: Duration = Duration::from_secs(150);
/// How often the cluster grows and shrinks while nodes are killed.
const ROUNDS: &str = "LOGRAFT_E2E_RESCALE_ROUNDS";
const ROUNDS_COUNT: u32 = 1;
/// Duration of the load beside the kills.
const KILLED_LENGTH: Duration = Duration::from_mins(4);
/// Bounds of the time before a kill.
const BEFORE_MS: [u64; 2] = [1000, 8000];

fn has_nodes(count: usize) -> impl Fn(&LogClusterStatus) -> bool {
    move |status| {
        let ready = usize::try_from(status.ready_replicas).unwrap_or(0);
        super::is_ready(status) && ready == count && status.members.len() == count
    }
}

async fn scale(sandbox: &Sandbox, count: usize) -> anyhow::Result<()> {
    sandbox.change(json!({"replicas": count})).await?;
    let what = format!("{count} nodes");
    sandbox
        .status_for(CHANGE_MAX, &what, has_nodes(count))
        .await?;
    await_for(CHANGE_MAX, &format!("{count} pods"), || async {
        Ok((pods(sandbox).await?.len() == count).then_some(()))
    })
    .await
}

/// Waits until nothing is left to move and the numbers are even. Returns the numbers of replicas
/// and of leaders.
async fn await_even(client: &Client, count: usize) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
    await_for(CHANGE_MAX, "replicas and leaders to be even", || async {
        // A node may be away for a moment.
        Ok(look(client, count).await.unwrap_or_default())
    })
    .await
}

async fn look(client: &Client, count: usize) -> anyhow::Result<Option<(Vec<u32>, Vec<u32>)>> {
    let plan = client.admin().rebalance(RebalanceAction::Plan).await?;
    let is_settled = plan.state() == RebalanceState::Idle && plan.moves_in_progress == 0;
    if !is_settled || plan.moves + plan.leader_changes > 0 {
        return Ok(None);
    }
    let described = client.admin().describe_cluster(false).await?;
    let active: Vec<&NodeDescription> = described
        .nodes
        .iter()
        .filter(|node| node.state() == NodeState::Active)
        .collect();
    if active.len() != count || !respects_zones(&described, &active) {
        return Ok(None);
    }
    let replicas = active.iter().map(|node| node.replicas).collect();
    let leaders: Vec<u32> = active.iter().map(|node| node.leaders).collect();
    Ok((spread(&leaders) <= 1).then_some((replicas, leaders)))
}

/// Whether the replicas of each partition are in as many zones as possible, and those of the nodes
/// of a zone at most one apart; where zones have as many nodes, those of all nodes.
fn respects_zones(described: &DescribeClusterReply, active: &[&NodeDescription]) -> bool {
    let zone = |node: &NodeDescription| match node.zone.as_str() {
        "" => node.name.clone(),
        zone => zone.to_owned(),
    };
    let mut zones: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for node in active {
        zones.entry(zone(node)).or_default().push(node.replicas);
    }
    let by_id: BTreeMap<u64, String> = active.iter().map(|n| (n.node_id, zone(n))).collect();
    let is_spread = described.partitions.iter().all(|partition| {
        let held = partition.replicas.iter();
        let held: BTreeSet<_> = held.filter_map(|r| by_id.get(&r.node_id)).collect();
        held.len() == partition.replicas.len().min(zones.len())
    });
    let sizes: BTreeSet<usize> = zones.values().map(Vec::len).collect();
    let groups: Vec<Vec<u32>> = if sizes.len() == 1 {
        vec![zones.into_values().flatten().collect()]
    } else {
        zones.into_values().collect()
    };
    is_spread && groups.iter().all(|replicas| spread(replicas) <= 1)
}

fn spread(numbers: &[u32]) -> u32 {
    let max = numbers.iter().max().copied().unwrap_or(0);
    max - numbers.iter().min().copied().unwrap_or(0)
}

pub(in crate::cases) async fn three_nodes_become_five_and_three_again_under_load(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let load = Load::start_as(sandbox, &chart.node_image, LENGTH, None, &LOAD).await?;
    let client = Credentials::of_admin(sandbox).await?;
    let connected = client.connect().await?;
    for count in [5, 3] {
        let started = Instant::now();
        scale(sandbox, count).await?;
        let (replicas, leaders) = await_even(&connected, count).await?;
        sandbox.report_figure(format!(
            "{count} nodes after {:.0} s: replicas {replicas:?}, leaders {leaders:?}",
            started.elapsed().as_secs_f32()
        ));
    }
    load.finish_within(PAUSE_MAX).await
}

/// Pseudo-random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % end.max(1)
    }

    fn time(&mut self, [min_ms, max_ms]: [u64; 2]) -> Duration {
        Duration::from_millis(min_ms + self.below(max_ms - min_ms))
    }
}

/// Kills the operator, and two nodes one after the other, at random times.
async fn kill(sandbox: &Sandbox, chart: &Chart, random: &mut Random) -> anyhow::Result<()> {
    let victims: [Option<()>; 3] = if random.below(2) == 0 {
        [None, Some(()), Some(())]
    } else {
        [Some(()), None, Some(())]
    };
    for node in victims {
        sleep(random.time(BEFORE_MS)).await;
        match node {
            None => chart.kill().await?,
            Some(()) => kill_node(sandbox, random).await?,
        }
    }
    Ok(())
}

/// Kills a node as the loss of its host does, and waits until it is up again or gone for good:
/// never two are down.
async fn kill_node(sandbox: &Sandbox, random: &mut Random) -> anyhow::Result<()> {
    let running = pods(sandbox).await?;
    let up: Vec<&String> = running
        .iter()
        .filter(|(_, pod)| is_up(pod))
        .map(|(name, _)| name)
        .collect();
    ensure!(!up.is_empty(), "no pod is up");
    let at = usize::try_from(random.below(u64::try_from(up.len())?))?;
    let name = up[at].clone();
    let uid = running.get(&name).and_then(|pod| pod.metadata.uid.clone());
    let now = DeleteParams::default().grace_period(0);
    sandbox.api::<Pod>().delete(&name, &now).await?;
    await_for(CHANGE_MAX, "the killed node to be back", || async {
        let pods = pods(sandbox).await?;
        let Some(pod) = pods.get(&name) else {
            // The set makes it again at once, unless it has left.
            let left = sandbox.api::<Pod>().get_opt(&name).await?.is_none();
            let is_wanted = is_wanted(sandbox, &name).await?;
            return Ok((left && !is_wanted).then_some(()));
        };
        Ok((pod.metadata.uid != uid && is_up(pod)).then_some(()))
    })
    .await
}

/// Whether the StatefulSet has a pod of this name.
async fn is_wanted(sandbox: &Sandbox, name: &str) -> anyhow::Result<bool> {
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let count = set.spec.and_then(|spec| spec.replicas).unwrap_or(0);
    Ok((0..count).any(|at| format!("events-{at}") == name))
}

/// The operator and two nodes are killed while the cluster grows, and again while it shrinks.
pub(in crate::cases) async fn rescaling_ends_right_while_the_operator_and_nodes_are_killed(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let rounds = match std::env::var(ROUNDS) {
        Ok(text) => text.parse()?,
        Err(_) => ROUNDS_COUNT,
    };
    let before = ready(sandbox, json!({})).await?;
    let credentials = Credentials::of_admin(sandbox).await?;
    let client = credentials.connect().await?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 1..=rounds {
        let load = if round == 1 {
            let length = KILLED_LENGTH;
            let members = ["--rate", "200", "--members", "3"];
            Some(Load::start_as(sandbox, &chart.node_image, length, None, &members).await?)
        } else {
            None
        };
        for count in [5, 3] {
            let started = Instant::now();
            let killing = kill(sandbox, chart, &mut random);
            let (scaled, all_killed) = tokio::join!(scale(sandbox, count), killing);
            scaled.and(all_killed)?;
            let what = format!("{count} nodes at rest");
            let status = sandbox
                .status_for(CHANGE_MAX, &what, has_nodes(count))
                .await?;
            ensure!(status.cluster_id == before.cluster_id, "another cluster");
            let (replicas, leaders) = await_even(&client, count).await?;
            sandbox.report_figure(format!(
                "round {round}: {count} nodes after {:.0} s: replicas {replicas:?}, \
                 leaders {leaders:?}",
                started.elapsed().as_secs_f32()
            ));
        }
        if let Some(load) = load {
            load.finish_within(LOSS_PAUSE_MAX).await?;
        }
    }
    Ok(())
}
