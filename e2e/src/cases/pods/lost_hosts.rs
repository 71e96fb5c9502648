//! Hosts that are lost for good, with their local disks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use lograft_crds::LogClusterStatus;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::losses::{DOWN, UP, host_fault, lacks_node_faults};
use super::{CHANGE_MAX, LOSS_PAUSE_MAX, await_ready, is_ready, pods, ready};
use crate::cases::said::blocked_for;
use crate::chart::Chart;
use crate::load::Load;
use crate::pod_client::{Credentials, lacks_pod_network};
use crate::sandbox::{Sandbox, await_for};

/// The shortest that `deadNodeAfter` may be.
const DEAD_AFTER: &str = "1m";
/// By then a lost host would have been replaced, if that were possible.
const KEPT_FOR: Duration = Duration::from_secs(100);
/// Label of the hosts of a cluster.
const HOST_LABEL: &str = "lograft.io/e2e-hosts";

/// The missing requirement, if there is one.
pub(in crate::cases) fn lacks_node_faults_or_pod_network() -> Option<String> {
    lacks_node_faults().or_else(lacks_pod_network)
}

fn hosts(sandbox: &Sandbox) -> Api<Node> {
    Api::all(sandbox.client.clone())
}

async fn label(sandbox: &Sandbox, host: &str, value: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"labels": {HOST_LABEL: value}}}));
    let params = PatchParams::default();
    hosts(sandbox).patch(host, &params, &patch).await?;
    Ok(())
}

async fn host_of(sandbox: &Sandbox, pod: &str) -> anyhow::Result<String> {
    let pods = pods(sandbox).await?;
    let spec = pods.get(pod).and_then(|pod| pod.spec.as_ref());
    spec.and_then(|spec| spec.node_name.clone())
        .context("the pod has no host")
}

/// Stops a host and deletes its Node, as an autoscaler does.
async fn lose(sandbox: &Sandbox, host: &str) -> anyhow::Result<()> {
    host_fault(DOWN, host).await?;
    hosts(sandbox)
        .delete(host, &DeleteParams::default())
        .await?;
    Ok(())
}

/// Starts the host again and waits until Kubernetes knows it.
async fn restore(sandbox: &Sandbox, host: &str) -> anyhow::Result<()> {
    host_fault(UP, host).await?;
    await_for(CHANGE_MAX, "the host to be back", || async {
        let node = hosts(sandbox).get_opt(host).await?;
        let status = node.and_then(|node| node.status).unwrap_or_default();
        let mut conditions = status.conditions.into_iter().flatten();
        let is_ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
        Ok(is_ready.then_some(()))
    })
    .await
}

/// A cluster whose pods take a host each, of at most `hosts_max` hosts.
async fn create(
    sandbox: &Sandbox,
    hosts_max: usize,
) -> anyhow::Result<(LogClusterStatus, Vec<String>)> {
    let all = hosts(sandbox).list(&ListParams::default()).await?.items;
    let names: Vec<String> = all
        .into_iter()
        .filter_map(|node| node.metadata.name)
        .take(hosts_max)
        .collect();
    ensure!(
        names.len() == hosts_max,
        "{hosts_max} hosts are needed, there are {}",
        names.len()
    );
    for name in &names {
        label(sandbox, name, json!(sandbox.namespace)).await?;
    }
    let spec = json!({
        "topology": {"spread": "required"},
        "podTemplate": {"nodeSelector": {HOST_LABEL: sandbox.namespace}},
        "recovery": {"deadNodeAfter": DEAD_AFTER},
    });
    Ok((ready(sandbox, spec).await?, names))
}

/// Takes the labels off and brings the lost host back, whatever has happened.
async fn clean_up(sandbox: &Sandbox, names: &[String], lost: &str) -> anyhow::Result<()> {
    restore(sandbox, lost).await?;
    for name in names {
        label(sandbox, name, Value::Null).await?;
    }
    Ok(())
}

pub(in crate::cases) async fn a_host_lost_for_good_is_replaced_by_a_spare(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let (before, names) = create(sandbox, 4).await?;
    let (lost, other) = (
        host_of(sandbox, "events-1").await?,
        host_of(sandbox, "events-0").await?,
    );
    let length = Duration::from_mins(4);
    let load = Load::start(sandbox, &chart.node_image, length, Some(&other)).await?;
    let started = Instant::now();
    let lost_at = lose(sandbox, &lost).await;
    let id = |status: &LogClusterStatus| status.members.get(1).and_then(|member| member.node_id);
    let is_replaced = |status: &LogClusterStatus| {
        is_ready(status) && status.members.len() == 3 && id(status) > id(&before)
    };
    let replaced = sandbox
        .status_for(CHANGE_MAX, "a new node on the spare host", is_replaced)
        .await;
    let took = started.elapsed();
    let soaked = load.finish_within(LOSS_PAUSE_MAX).await;
    clean_up(sandbox, &names, &lost).await?;
    lost_at?;
    replaced?;
    sandbox.report_figure(format!(
        "whole again {:.0} s after the loss of a host, {DEAD_AFTER} of them waiting",
        took.as_secs_f32()
    ));
    soaked
}

/// What must hold while a host is lost and there is no spare.
async fn nothing_shrinks(sandbox: &Sandbox) -> anyhow::Result<String> {
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let count = set.spec.and_then(|spec| spec.replicas);
    ensure!(count == Some(3), "{count:?} pods are wanted");
    let credentials = Credentials::of_admin(sandbox).await?;
    let described = credentials
        .connect()
        .await?
        .admin()
        .describe_cluster(false)
        .await?;
    ensure!(!described.partitions.is_empty(), "no partitions");
    for partition in &described.partitions {
        let voters = partition.replicas.iter().filter(|r| r.voter).count();
        ensure!(voters == 3, "{partition:?}");
    }
    let status = sandbox
        .status("what it waits for", |status| status.blocked_on.is_some())
        .await?;
    let reasons: Vec<&str> = status.blocked.iter().map(|b| b.reason.as_str()).collect();
    let is_named = blocked_for(&status, "HostLost").is_some()
        || reasons
            .iter()
            .any(|reason| reason.contains("Unschedulable"));
    let text = status.blocked_on.clone().unwrap_or_default();
    ensure!(is_named, "blockedOn does not name it: {text} {reasons:?}");
    Ok(text)
}

pub(in crate::cases) async fn without_a_spare_a_lost_host_is_named_and_nothing_shrinks(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let (_, names) = create(sandbox, 3).await?;
    let (lost, other) = (
        host_of(sandbox, "events-1").await?,
        host_of(sandbox, "events-0").await?,
    );
    let length = KEPT_FOR + Duration::from_secs(30);
    let load = Load::start(sandbox, &chart.node_image, length, Some(&other)).await?;
    let lost_at = lose(sandbox, &lost).await;
    sleep(KEPT_FOR).await;
    let kept = nothing_shrinks(sandbox).await;
    let soaked = load.finish_within(LOSS_PAUSE_MAX).await;
    clean_up(sandbox, &[], &lost).await?;
    label(sandbox, &lost, json!(sandbox.namespace)).await?;
    let healed = await_ready(sandbox, CHANGE_MAX).await;
    for name in &names {
        label(sandbox, name, Value::Null).await?;
    }
    lost_at?;
    sandbox.report_figure(format!("blockedOn: {}", kept?));
    soaked?;
    healed.map(drop)
}
