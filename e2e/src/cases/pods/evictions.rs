//! Pods that others take: `kubectl rollout restart`, `kubectl drain`, autoscalers, spot hosts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::Api;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    AvailabilityWatch, CHANGE_MAX, LOSS_PAUSE_MAX, PAUSE_MAX, Replacement, await_ready,
    pod_incarnations, pods, ready, up_count,
};
use crate::chart::Chart;
use crate::load::Load;
use crate::sandbox::{Sandbox, await_for};

/// Taint of a host that is taken away.
const SPOT: &str = "lograft.io/e2e-spot";
/// Grace period of a host in a hurry.
const HURRIED_SECONDS: u32 = 5;
/// Time for a drain of a host.
const DRAIN_MAX: Duration = Duration::from_mins(3);

/// Host of a pod.
fn host_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

/// The host of the pod `name`, and another host that runs a pod.
async fn two_hosts(sandbox: &Sandbox, name: &str) -> anyhow::Result<(String, String)> {
    let pods = pods(sandbox).await?;
    let host = pods.get(name).and_then(host_of).context("no host")?;
    let mut others = pods.values().filter_map(host_of);
    let other = others.find(|other| *other != host);
    Ok((host, other.context("all pods have one host")?))
}

/// Changes the spec of a Kubernetes node.
async fn change_host(sandbox: &Sandbox, host: &str, spec: Value) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(sandbox.client.clone());
    let patch = Patch::Merge(json!({"spec": spec}));
    nodes.patch(host, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Adds a taint to a host, or removes it.
async fn taint(sandbox: &Sandbox, host: &str, is_tainted: bool) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(sandbox.client.clone());
    let spec = nodes.get(host).await?.spec.unwrap_or_default();
    let mut taints = spec.taints.unwrap_or_default();
    taints.retain(|taint| taint.key != SPOT);
    if is_tainted {
        taints.push(Taint {
            key: SPOT.to_owned(),
            effect: "NoExecute".to_owned(),
            ..Taint::default()
        });
    }
    change_host(sandbox, host, json!({"taints": taints})).await
}

/// The pods of all LogClusters of the sandbox on a host that are not being deleted.
async fn on_host(sandbox: &Sandbox, host: &str) -> anyhow::Result<Vec<String>> {
    let own = ListParams::default().labels("lograft.io/cluster");
    let pods = sandbox.api::<Pod>().list(&own).await?.items.into_iter();
    let there = pods.filter(|pod| {
        pod.metadata.deletion_timestamp.is_none() && host_of(pod).as_deref() == Some(host)
    });
    Ok(there.filter_map(|pod| pod.metadata.name).collect())
}

/// Evicts a pod. Returns whether the budget allowed it.
async fn evict(api: &Api<Pod>, name: &str) -> anyhow::Result<bool> {
    match api.evict(name, &EvictParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        // The budget, or a conflict with another eviction.
        Err(kube::Error::Api(status)) if [409, 429].contains(&status.code) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Does with a host what `kubectl drain` does: no new pods, and evictions until none is left.
async fn drain(sandbox: &Sandbox, host: &str) -> anyhow::Result<()> {
    change_host(sandbox, host, json!({"unschedulable": true})).await?;
    let api = sandbox.api::<Pod>();
    await_for(DRAIN_MAX, "the host to be drained", || async {
        let left = on_host(sandbox, host).await?;
        for pod in &left {
            evict(&api, pod).await?;
        }
        Ok(left.is_empty().then_some(()))
    })
    .await
}

pub(in crate::cases) async fn a_rollout_restart_under_load_takes_one_pod_at_a_time(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let load = Load::start(sandbox, &chart.node_image, Duration::from_secs(50), None).await?;
    let replacement = Replacement::start(sandbox).await?;
    // What `kubectl rollout restart statefulset events` writes.
    let at = k8s_openapi::jiff::Timestamp::now().to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": at});
    let template = json!({"metadata": {"annotations": annotations}});
    let patch = json!({"spec": {"template": template}});
    sandbox.edit::<StatefulSet>("events", patch).await?;
    replacement.finish(sandbox).await?;
    load.finish_within(PAUSE_MAX).await
}

/// A cluster whose pods crash does not hold up the drain of a host, and the healthy one beside it
/// loses nothing.
pub(in crate::cases) async fn a_drain_beside_a_crash_loop_ends(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    // The image has no program of a node.
    let broken = json!({"storage": {"size": "1Gi"}, "image": chart.operator_image});
    sandbox.create_as("broken", broken).await?;
    let (host, other) = two_hosts(sandbox, "events-1").await?;
    await_for(CHANGE_MAX, "a broken pod on the host", || async {
        let pods = on_host(sandbox, &host).await?;
        Ok(pods
            .iter()
            .any(|pod| pod.starts_with("broken-"))
            .then_some(()))
    })
    .await?;
    let length = Duration::from_mins(1);
    let load = Load::start(sandbox, &chart.node_image, length, Some(&other)).await?;
    let availability = AvailabilityWatch::start(sandbox, 3);
    let started = Instant::now();
    let drained = drain(sandbox, &host).await;
    sandbox.report_figure(format!("drained in {} s", started.elapsed().as_secs()));
    change_host(sandbox, &host, json!({"unschedulable": null})).await?;
    drained?;
    await_ready(sandbox, CHANGE_MAX).await?;
    availability.finish().await?;
    load.finish_within(PAUSE_MAX).await
}

/// A host is taken away: its pods are deleted by a taint, whatever the budget says. Then another
/// pod goes with a grace period of a few seconds.
pub(in crate::cases) async fn an_interrupted_spot_host_loses_nothing(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let before = pod_incarnations(sandbox).await?;
    let (host, other) = two_hosts(sandbox, "events-1").await?;
    let length = Duration::from_secs(90);
    let load = Load::start(sandbox, &chart.node_image, length, Some(&other)).await?;
    taint(sandbox, &host, true).await?;
    let gone = await_for(CHANGE_MAX, "the pods to leave the host", || async {
        Ok(on_host(sandbox, &host).await?.is_empty().then_some(()))
    })
    .await;
    // The host is back, with its disk: other hosts cannot have that of a local volume.
    taint(sandbox, &host, false).await?;
    gone?;
    await_ready(sandbox, CHANGE_MAX).await?;
    let hurried = DeleteParams::default().grace_period(HURRIED_SECONDS);
    sandbox.api::<Pod>().delete("events-0", &hurried).await?;
    await_for(CHANGE_MAX, "both pods to be replaced", || async {
        let now = pod_incarnations(sandbox).await?;
        let is_new = |name: &&str| {
            now.get(*name)
                .is_some_and(|life| Some(life) != before.get(*name))
        };
        Ok(["events-0", "events-1"].iter().all(is_new).then_some(()))
    })
    .await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    load.finish_within(LOSS_PAUSE_MAX).await
}

/// Every pod is evicted again and again, as often as the budget allows, while a rollout replaces
/// them: never two are away.
pub(in crate::cases) async fn evictions_during_a_rollout_take_one_pod_at_a_time(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    const STORM: Duration = Duration::from_secs(40);
    // A pod that is still pending is evicted without the budget: it needs time to start.
    const STORM_PAUSE: Duration = Duration::from_secs(3);
    ready(sandbox, json!({})).await?;
    let length = Duration::from_secs(80);
    let load = Load::start(sandbox, &chart.node_image, length, None).await?;
    let replacement = Replacement::start(sandbox).await?;
    sandbox
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    let api = sandbox.api::<Pod>();
    let (started, mut evicted) = (Instant::now(), 0);
    while started.elapsed() < STORM {
        for name in ["events-0", "events-1", "events-2"] {
            evicted += u32::from(evict(&api, name).await?);
        }
        tokio::time::sleep(STORM_PAUSE).await;
    }
    sandbox.report_figure(format!("{evicted} evictions allowed"));
    ensure!(evicted > 0, "no eviction was allowed");
    replacement.finish(sandbox).await?;
    ensure!(up_count(sandbox).await? == 3, "not all pods are up");
    load.finish_within(PAUSE_MAX).await
}
