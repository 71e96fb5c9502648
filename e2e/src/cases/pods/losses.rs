//! Losses of pods, disks, objects, hosts and the operator.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use kube::api::DeleteParams;
use lograft_crds::{LogCluster, LogClusterStatus};
use serde_json::json;
use tokio::process::Command;

use super::{
    CHANGE_MAX, LOSS_PAUSE_MAX, PAUSE_MAX, Replacement, await_ready, pod_incarnations, pods, ready,
    up_count,
};
use crate::chart::Chart;
use crate::load::Load;
use crate::sandbox::{Sandbox, await_condition, await_for};

/// Ids of the nodes, in the order of their pods.
fn ids(status: &LogClusterStatus) -> Vec<Option<i64>> {
    status.members.iter().map(|member| member.node_id).collect()
}

fn ensure_same_nodes(one: &LogClusterStatus, other: &LogClusterStatus) -> anyhow::Result<()> {
    let (one, other) = (ids(one), ids(other));
    ensure!(one == other, "{one:?} {other:?}");
    Ok(())
}

pub(in crate::cases) async fn a_deleted_pod_comes_back_with_its_disk(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(sandbox, json!({})).await?;
    let load = Load::start(sandbox, &chart.node_image, Duration::from_secs(30), None).await?;
    let old = pod_incarnations(sandbox).await?;
    sandbox
        .api::<Pod>()
        .delete("events-1", &DeleteParams::default())
        .await?;
    await_for(CHANGE_MAX, "another pod", || async {
        let now = pod_incarnations(sandbox).await?;
        let is_new = now
            .get("events-1")
            .is_some_and(|life| Some(life) != old.get("events-1"));
        Ok(is_new.then_some(()))
    })
    .await?;
    let after = await_ready(sandbox, CHANGE_MAX).await?;
    ensure_same_nodes(&before, &after)?;
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn a_lost_disk_joins_as_a_new_node(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(sandbox, json!({})).await?;
    let load = Load::start(sandbox, &chart.node_image, Duration::from_mins(1), None).await?;
    // The disk of the first pod: empty, it must not bootstrap a second cluster.
    let claims = sandbox.api::<PersistentVolumeClaim>();
    claims
        .delete("data-events-0", &DeleteParams::default())
        .await?;
    sandbox
        .api::<Pod>()
        .delete("events-0", &DeleteParams::default())
        .await?;
    let is_other = |status: &LogClusterStatus| {
        let id = |status: &LogClusterStatus| ids(status).first().copied().flatten();
        super::is_ready(status) && id(status) > id(&before)
    };
    let after = sandbox
        .status_for(CHANGE_MAX, "a new node in the first pod", is_other)
        .await?;
    ensure!(
        after.cluster_id == before.cluster_id,
        "the cluster id changed"
    );
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn a_deleted_stateful_set_adopts_its_pods(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let before = pod_incarnations(sandbox).await?;
    let sets = sandbox.api::<StatefulSet>();
    let old = sets.get("events").await?.metadata.uid;
    sets.delete("events", &DeleteParams::orphan()).await?;
    await_condition("the pods to belong to the new set", || async {
        let new = sets
            .get_opt("events")
            .await?
            .and_then(|set| set.metadata.uid);
        let owners = |pod: &Pod| {
            let owners = pod.metadata.owner_references.clone().unwrap_or_default();
            owners.iter().any(|owner| Some(&owner.uid) == new.as_ref())
        };
        let pods = pods(sandbox).await?;
        let is_adopted = new != old && pods.len() == 3 && pods.values().all(owners);
        Ok(is_adopted.then_some(()))
    })
    .await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    ensure!(
        pod_incarnations(sandbox).await? == before,
        "pods were restarted or replaced"
    );
    Ok(())
}

pub(in crate::cases) async fn deleted_objects_are_recreated_and_pods_stay(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let (before, kinds) = (
        pod_incarnations(sandbox).await?,
        sandbox.objects("namespace").await?,
    );
    let load = Load::start(sandbox, &chart.node_image, Duration::from_secs(20), None).await?;
    delete!(
        sandbox,
        Service: "events-client",
        Service: "events-nodes",
        ConfigMap: "events-config",
        ConfigMap: "events-peers",
        ServiceAccount: "events-node",
        Secret: "events-operator-tls",
        Secret: "events-admin-tls"
    );
    await_condition("all objects to exist again", || async {
        Ok((sandbox.objects("namespace").await? == kinds).then_some(()))
    })
    .await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    ensure!(
        pod_incarnations(sandbox).await? == before,
        "pods were restarted or replaced"
    );
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn a_recreated_cluster_adopts_its_disks(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    let before = ready(sandbox, json!({})).await?;
    let clusters = sandbox.api::<LogCluster>();
    clusters.delete("events", &DeleteParams::default()).await?;
    await_for(CHANGE_MAX, "its pods to be gone", || async {
        Ok(pods(sandbox).await?.is_empty().then_some(()))
    })
    .await?;
    let claims = sandbox.api::<PersistentVolumeClaim>();
    let left = claims
        .list(&kube::api::ListParams::default())
        .await?
        .items
        .len();
    ensure!(left == 3, "{left} disks are left");
    let after = ready(sandbox, json!({})).await?;
    ensure!(
        after.cluster_id == before.cluster_id && ids(&after) == ids(&before),
        "{:?} {:?}",
        before.cluster_id,
        after.cluster_id
    );
    Ok(())
}

/// The operator is killed during creation, during a rollout, during scaling, and while disks grow.
/// Its successor completes the change, and nothing is done twice.
pub(in crate::cases) async fn the_operator_is_killed_in_each_lane(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    sandbox
        .create(json!({"storage": {"size": "1Gi"}, "log": {"segmentSize": "4Mi"}}))
        .await?;
    sandbox
        .status("an id", |status| status.cluster_id.is_some())
        .await?;
    chart.kill().await?;
    let made = await_ready(sandbox, CHANGE_MAX).await?;
    let mut joined = ids(&made);
    joined.sort_unstable();
    ensure!(joined == [Some(1), Some(2), Some(3)], "{made:?}");

    let replacement = Replacement::start(sandbox).await?;
    sandbox
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    await_for(CHANGE_MAX, "a pod to be replaced", || async {
        let up = up_count(sandbox).await?;
        Ok((up < 3).then_some(()))
    })
    .await?;
    chart.kill().await?;
    replacement.finish(sandbox).await?;

    sandbox.change(json!({"replicas": 4})).await?;
    await_condition("a fourth pod", || async {
        Ok((pods(sandbox).await?.len() == 4).then_some(()))
    })
    .await?;
    chart.kill().await?;
    let four = |status: &LogClusterStatus| super::is_ready(status) && status.members.len() == 4;
    sandbox.status_for(CHANGE_MAX, "four nodes", four).await?;
    sandbox
        .change(json!({"replicas": 3, "storage": {"size": "2Gi"}}))
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    chart.kill().await?;
    let three = |status: &LogClusterStatus| super::is_ready(status) && status.members.len() == 3;
    let after = sandbox.status_for(CHANGE_MAX, "three nodes", three).await?;
    ensure!(
        after.cluster_id == made.cluster_id,
        "the cluster id changed"
    );
    ensure_same_nodes(&after, &made)?;
    Ok(())
}

pub(in crate::cases) async fn pods_keep_running_without_an_operator(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(sandbox, json!({})).await?;
    chart.stop().await?;
    let load = Load::start(sandbox, &chart.node_image, Duration::from_secs(25), None).await?;
    sandbox
        .api::<Pod>()
        .delete("events-2", &DeleteParams::default())
        .await?;
    await_for(CHANGE_MAX, "the pod to be back", || async {
        let up = up_count(sandbox).await?;
        Ok((up == 3).then_some(()))
    })
    .await?;
    load.finish_within(PAUSE_MAX).await?;
    chart.start().await?;
    let after = await_ready(sandbox, CHANGE_MAX).await?;
    ensure_same_nodes(&after, &before)?;
    Ok(())
}

pub(super) const DOWN: &str = "LOGRAFT_E2E_NODE_DOWN";
pub(super) const UP: &str = "LOGRAFT_E2E_NODE_UP";

/// The missing requirement for stopping a host.
pub(in crate::cases) fn lacks_node_faults() -> Option<String> {
    let lacking = [DOWN, UP]
        .into_iter()
        .find(|name| std::env::var_os(name).is_none())?;
    Some(format!(
        "{lacking} is not set: a command that stops or restarts the Kubernetes node $NODE"
    ))
}

pub(super) async fn host_fault(variable: &str, node: &str) -> anyhow::Result<()> {
    let command = std::env::var(variable)?;
    let done = Command::new("sh")
        .args(["-c", &command])
        .env("NODE", node)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.success(), "{command}: {said}");
    Ok(())
}

pub(in crate::cases) async fn a_lost_host_is_reported_and_survived(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(sandbox, json!({})).await?;
    let pods = pods(sandbox).await?;
    let host = |name: &str| {
        let pod = pods.get(name).and_then(|pod| pod.spec.as_ref());
        pod.and_then(|spec| spec.node_name.clone())
            .context("the pod has no host")
    };
    let (lost, other) = (host("events-1")?, host("events-0")?);
    let length = Duration::from_secs(45);
    let load = Load::start(sandbox, &chart.node_image, length, Some(&other)).await?;
    host_fault(DOWN, &lost).await?;
    let is_reported = |status: &LogClusterStatus| {
        let mut conditions = status.conditions.iter();
        conditions.any(|c| c.type_ == "Degraded" && c.reason == "NodeLost")
    };
    let reported = sandbox
        .status_for(CHANGE_MAX, "the loss to be reported", is_reported)
        .await;
    let soaked = load.finish_within(LOSS_PAUSE_MAX).await;
    host_fault(UP, &lost).await?;
    reported?;
    soaked?;
    let after = await_ready(sandbox, CHANGE_MAX).await?;
    ensure_same_nodes(&after, &before)?;
    Ok(())
}
