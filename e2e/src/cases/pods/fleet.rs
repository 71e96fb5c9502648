//! A change that comes with the operator reaches one cluster after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use lograft_crds::names::{ANNOTATION_ROLLOUT_WAVE, LABEL_CLUSTER};
use lograft_crds::{LogCluster, LogClusterStatus};
use serde_json::json;

use super::{CHANGE_MAX, is_ready, is_up, versions};
use crate::cases::said::{blocked_for, condition};
use crate::chart::Chart;
use crate::sandbox::{Sandbox, await_for};

/// The clusters with their waves. The first one by name is not the first one by wave.
const CLUSTERS: [(&str, i32); 3] = [("alpha", 5), ("beta", 0), ("gamma", -1)];
/// Their names in the order in which they get a change.
const ORDER: [&str; 3] = ["gamma", "beta", "alpha"];
/// Pods of each.
const NODES: usize = 3;
const SOAK: Duration = Duration::from_secs(20);
/// Time for all clusters to become ready on one machine.
const ALL_READY_MAX: Duration = Duration::from_mins(4);
/// Time for the canary, its soak, and the others.
const ALL_CHANGED_MAX: Duration = Duration::from_mins(10);
/// A version that no registry has.
const MISSING_VERSION: &str = "99.0.0";

/// UIDs and readiness of the pods of each cluster, by pod.
type Pods = BTreeMap<String, BTreeMap<String, (String, bool)>>;

async fn create_all(sandbox: &Sandbox) -> anyhow::Result<()> {
    for (name, wave) in CLUSTERS {
        let spec = json!({"storage": {"size": "1Gi"}, "log": {"segmentSize": "4Mi"}});
        sandbox.create_as(name, spec).await?;
        let annotations = json!({ANNOTATION_ROLLOUT_WAVE: wave.to_string()});
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let api = sandbox.api::<LogCluster>();
        api.patch(name, &PatchParams::default(), &patch).await?;
    }
    await_all(sandbox, ALL_READY_MAX, "all clusters to be ready", is_ready).await
}

async fn await_all(
    sandbox: &Sandbox,
    timeout: Duration,
    what: &str,
    is_so: fn(&LogClusterStatus) -> bool,
) -> anyhow::Result<()> {
    await_for(timeout, what, || async {
        let all = sandbox
            .api::<LogCluster>()
            .list(&ListParams::default())
            .await?;
        let fits = |cluster: &LogCluster| cluster.status.as_ref().is_some_and(is_so);
        let are_all = all.items.len() == CLUSTERS.len() && all.items.iter().all(fits);
        Ok(are_all.then_some(()))
    })
    .await
}

async fn pods(sandbox: &Sandbox) -> anyhow::Result<Pods> {
    let all = sandbox.api::<Pod>().list(&ListParams::default()).await?;
    let mut found = Pods::new();
    for pod in all {
        let label = |pod: &Pod| pod.metadata.labels.as_ref()?.get(LABEL_CLUSTER).cloned();
        let (Some(cluster), Some(name)) = (label(&pod), pod.metadata.name.clone()) else {
            continue;
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let of_cluster = found.entry(cluster).or_default();
        of_cluster.insert(name, (uid, is_up(&pod)));
    }
    Ok(found)
}

/// Whether a reason is in `status.blocked` of a cluster.
async fn is_blocked_by(sandbox: &Sandbox, name: &str, reason: &str) -> anyhow::Result<bool> {
    let status = sandbox.api::<LogCluster>().get(name).await?.status;
    Ok(status.is_some_and(|status| blocked_for(&status, reason).is_some()))
}

pub(in crate::cases) async fn a_change_of_the_operator_stops_at_the_first_cluster_that_gets_stuck(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    create_all(sandbox).await?;
    let before = pods(sandbox).await?;
    let version = ["node.version=", MISSING_VERSION].concat();
    let values = [version.as_str(), "node.upgradeClusters=true"];
    chart.install_with(&values).await?;
    let result = stops_at_the_first(sandbox, &before).await;
    // The default is taken back; the first cluster goes back to it by itself.
    let present = versions::tag(&chart.node_image)?;
    let version = ["node.version=", present].concat();
    chart
        .install_with(&[&version, "node.upgradeClusters=true"])
        .await?;
    result?;
    await_all(
        sandbox,
        CHANGE_MAX,
        "all clusters to be ready again",
        is_ready,
    )
    .await?;
    let after = pods(sandbox).await?;
    for name in &ORDER[1..] {
        ensure!(before[*name] == after[*name], "{name} has other pods");
    }
    chart.install().await
}

async fn stops_at_the_first(sandbox: &Sandbox, before: &Pods) -> anyhow::Result<()> {
    let [first, others @ ..] = ORDER;
    await_for(CHANGE_MAX, "the first cluster to be stuck", || async {
        let is_stuck = is_blocked_by(sandbox, first, "RolloutStuck").await?;
        Ok(is_stuck.then_some(()))
    })
    .await?;
    await_for(CHANGE_MAX, "the others to wait", || async {
        let mut count = 0;
        for name in others {
            count += usize::from(is_blocked_by(sandbox, name, "RolloutHeld").await?);
        }
        Ok((count == others.len()).then_some(()))
    })
    .await?;
    // Long enough for the operator to look at each of them again.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let now = pods(sandbox).await?;
    for name in others {
        ensure!(before[name] == now[name], "{name} has other pods");
    }
    let lost = now[first].values().filter(|(_, is_up)| !is_up).count();
    ensure!(lost == 1, "{lost} pods of {first} are not ready");
    Ok(())
}

/// When the first pod of a cluster was replaced, and when all were and are ready.
#[derive(Clone, Copy, Default)]
struct Rollout {
    started: Option<Instant>,
    ended: Option<Instant>,
}

pub(in crate::cases) async fn a_change_of_the_operator_goes_to_one_cluster_first_then_by_wave(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let former = versions::former_node()?;
    let former = ["node.version=", versions::tag(&former)?].concat();
    chart.install_with(&[&former]).await?;
    let result = one_after_the_other(sandbox, chart).await;
    chart.install().await?;
    result
}

async fn one_after_the_other(sandbox: &Sandbox, chart: &Chart) -> anyhow::Result<()> {
    create_all(sandbox).await?;
    let before = pods(sandbox).await?;
    let soak = format!("fleet.canarySoakSeconds={}", SOAK.as_secs());
    let values = [
        "node.upgradeClusters=true",
        "fleet.maxConcurrentRollouts=1",
        &soak,
    ];
    chart.install_with(&values).await?;
    let mut rollouts: BTreeMap<&str, Rollout> = BTreeMap::new();
    let started = Instant::now();
    loop {
        look(&before, &pods(sandbox).await?, &mut rollouts)?;
        let ended = rollouts.values().filter(|rollout| rollout.ended.is_some());
        if ended.count() == ORDER.len() {
            break;
        }
        ensure!(
            started.elapsed() < ALL_CHANGED_MAX,
            "not all clusters are changed"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let at = |name: &str| rollouts.get(name).copied().context("a rollout");
    for (former, next) in ORDER.iter().zip(&ORDER[1..]) {
        let (ended, started) = (at(former)?.ended, at(next)?.started);
        ensure!(ended <= started, "{next} started before {former} had ended");
    }
    let (ended, next) = (at(ORDER[0])?.ended, at(ORDER[1])?.started);
    let soaked = next.zip(ended).map(|(next, ended)| next - ended);
    let soaked = soaked.context("both rollouts")?;
    // The operator sees the end of the rollout up to a reconcile earlier or later.
    ensure!(
        soaked + Duration::from_secs(5) >= SOAK,
        "the second cluster started {soaked:?} after the first one"
    );
    let all = started.elapsed().as_secs();
    sandbox.report_figure(format!(
        "three clusters in {all} s, the second one {} s after the first",
        soaked.as_secs()
    ));
    // The feature level of the new version is finalized later.
    let is_serving = |status: &LogClusterStatus| {
        condition(status, "Ready").is_ok_and(|ready| ready.status == "True")
    };
    await_all(sandbox, CHANGE_MAX, "all clusters to be ready", is_serving).await
}

/// Notes starts and ends; fails if two clusters have pods that are not ready.
fn look(
    before: &Pods,
    now: &Pods,
    rollouts: &mut BTreeMap<&'static str, Rollout>,
) -> anyhow::Result<()> {
    let mut down = Vec::new();
    for name in ORDER {
        let (old, new) = (&before[name], now.get(name));
        let new = new.cloned().unwrap_or_default();
        let is_new = |(pod, (uid, _)): (&String, &(String, bool))| {
            old.get(pod).is_none_or(|(former, _)| former != uid)
        };
        let fresh = new.iter().filter(|entry| is_new(*entry)).count();
        let up = new.values().filter(|(_, is_up)| *is_up).count();
        if up < NODES {
            down.push(name);
        }
        let rollout = rollouts.entry(name).or_default();
        if fresh > 0 {
            rollout.started.get_or_insert_with(Instant::now);
        }
        if fresh == NODES && up == NODES {
            rollout.ended.get_or_insert_with(Instant::now);
        }
    }
    ensure!(down.len() <= 1, "pods of {down:?} are not ready at once");
    Ok(())
}
