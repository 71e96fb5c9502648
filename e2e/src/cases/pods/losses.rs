//! What goes away without being asked to.

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
    CHANGE_MAX, LOSS_PAUSE_MAX, Onlooker, PAUSE_MAX, await_ready, await_replaced, lives, pods,
    ready, up_count,
};
use crate::chart::Chart;
use crate::load::Load;
use crate::world::{World, await_condition, await_for};

/// Ids of the nodes, by pod.
fn ids(status: &LogClusterStatus) -> Vec<Option<i64>> {
    status.members.iter().map(|member| member.node_id).collect()
}

fn ensure_same_nodes(one: &LogClusterStatus, other: &LogClusterStatus) -> anyhow::Result<()> {
    let (one, other) = (ids(one), ids(other));
    ensure!(one == other, "{one:?} {other:?}");
    Ok(())
}

pub(in crate::cases) async fn a_deleted_pod_comes_back_with_its_disk(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(world, json!({})).await?;
    let load = Load::start(world, &chart.node_image, Duration::from_secs(30), None).await?;
    let old = lives(world).await?;
    world
        .api::<Pod>()
        .delete("events-1", &DeleteParams::default())
        .await?;
    await_for(CHANGE_MAX, "another pod", || async {
        let now = lives(world).await?;
        let is_new = now
            .get("events-1")
            .is_some_and(|life| Some(life) != old.get("events-1"));
        Ok(is_new.then_some(()))
    })
    .await?;
    let after = await_ready(world, CHANGE_MAX).await?;
    ensure_same_nodes(&before, &after)?;
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn a_lost_disk_joins_as_a_new_node(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(world, json!({})).await?;
    let load = Load::start(world, &chart.node_image, Duration::from_mins(1), None).await?;
    // The first pod's: an empty disk there must not make a second cluster.
    let claims = world.api::<PersistentVolumeClaim>();
    claims
        .delete("data-events-0", &DeleteParams::default())
        .await?;
    world
        .api::<Pod>()
        .delete("events-0", &DeleteParams::default())
        .await?;
    let is_other = |status: &LogClusterStatus| {
        let id = |status: &LogClusterStatus| ids(status).first().copied().flatten();
        super::is_ready(status) && id(status) > id(&before)
    };
    let after = world
        .status_for(CHANGE_MAX, "a new node in the first pod", is_other)
        .await?;
    ensure!(after.cluster_id == before.cluster_id, "another cluster");
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn a_deleted_stateful_set_adopts_its_pods(
    world: &World,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(world, json!({})).await?;
    let before = lives(world).await?;
    let sets = world.api::<StatefulSet>();
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
        let pods = pods(world).await?;
        let is_adopted = new != old && pods.len() == 3 && pods.values().all(owners);
        Ok(is_adopted.then_some(()))
    })
    .await?;
    await_ready(world, CHANGE_MAX).await?;
    ensure!(lives(world).await? == before, "pods were touched");
    Ok(())
}

pub(in crate::cases) async fn what_is_deleted_is_put_back_and_pods_stay(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(world, json!({})).await?;
    let (before, kinds) = (lives(world).await?, world.objects("namespace").await?);
    let load = Load::start(world, &chart.node_image, Duration::from_secs(20), None).await?;
    delete!(
        world,
        Service: "events-client",
        Service: "events-nodes",
        ConfigMap: "events-config",
        ConfigMap: "events-peers",
        ServiceAccount: "events-node",
        Secret: "events-operator-tls",
        Secret: "events-admin-tls"
    );
    await_condition("all to be there again", || async {
        Ok((world.objects("namespace").await? == kinds).then_some(()))
    })
    .await?;
    await_ready(world, CHANGE_MAX).await?;
    ensure!(lives(world).await? == before, "pods were touched");
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn a_deleted_cluster_finds_its_disks_again(
    world: &World,
    _: &Chart,
) -> anyhow::Result<()> {
    let before = ready(world, json!({})).await?;
    let clusters = world.api::<LogCluster>();
    clusters.delete("events", &DeleteParams::default()).await?;
    await_for(CHANGE_MAX, "its pods to be gone", || async {
        Ok(pods(world).await?.is_empty().then_some(()))
    })
    .await?;
    let claims = world.api::<PersistentVolumeClaim>();
    let left = claims
        .list(&kube::api::ListParams::default())
        .await?
        .items
        .len();
    ensure!(left == 3, "{left} disks are left");
    let after = ready(world, json!({})).await?;
    ensure!(
        after.cluster_id == before.cluster_id && ids(&after) == ids(&before),
        "{:?} {:?}",
        before.cluster_id,
        after.cluster_id
    );
    Ok(())
}

/// Killed while it makes a cluster, while it replaces pods, while it adds and removes a node, and
/// while disks grow. What it had begun is ended by the next, and nothing is done twice.
pub(in crate::cases) async fn the_operator_is_killed_in_each_lane(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    world
        .create(json!({"storage": {"size": "1Gi"}, "log": {"segmentSize": "4Mi"}}))
        .await?;
    world
        .status("an id", |status| status.cluster_id.is_some())
        .await?;
    chart.kill().await?;
    let made = await_ready(world, CHANGE_MAX).await?;
    let mut joined = ids(&made);
    joined.sort_unstable();
    ensure!(joined == [Some(1), Some(2), Some(3)], "{made:?}");

    let (before, onlooker) = (lives(world).await?, Onlooker::start(world, 3));
    world
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    await_for(CHANGE_MAX, "a pod to be away", || async {
        let up = up_count(world).await?;
        Ok((up < 3).then_some(()))
    })
    .await?;
    chart.kill().await?;
    await_replaced(world, &before).await?;
    onlooker.finish().await?;

    world.change(json!({"replicas": 4})).await?;
    await_condition("a fourth pod", || async {
        Ok((pods(world).await?.len() == 4).then_some(()))
    })
    .await?;
    chart.kill().await?;
    let four = |status: &LogClusterStatus| super::is_ready(status) && status.members.len() == 4;
    world.status_for(CHANGE_MAX, "four nodes", four).await?;
    world
        .change(json!({"replicas": 3, "storage": {"size": "2Gi"}}))
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    chart.kill().await?;
    let three = |status: &LogClusterStatus| super::is_ready(status) && status.members.len() == 3;
    let after = world.status_for(CHANGE_MAX, "three nodes", three).await?;
    ensure!(after.cluster_id == made.cluster_id, "another cluster");
    ensure_same_nodes(&after, &made)?;
    Ok(())
}

pub(in crate::cases) async fn pods_go_on_without_an_operator(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(world, json!({})).await?;
    chart.stop().await?;
    let load = Load::start(world, &chart.node_image, Duration::from_secs(25), None).await?;
    world
        .api::<Pod>()
        .delete("events-2", &DeleteParams::default())
        .await?;
    await_for(CHANGE_MAX, "the pod to be back", || async {
        let up = up_count(world).await?;
        Ok((up == 3).then_some(()))
    })
    .await?;
    load.finish_within(PAUSE_MAX).await?;
    chart.start().await?;
    let after = await_ready(world, CHANGE_MAX).await?;
    ensure_same_nodes(&after, &before)?;
    Ok(())
}

const DOWN: &str = "LOGRAFT_E2E_NODE_DOWN";
const UP: &str = "LOGRAFT_E2E_NODE_UP";

/// What is missing to take a host away.
pub(in crate::cases) fn lacks_node_faults() -> Option<String> {
    let lacking = [DOWN, UP]
        .into_iter()
        .find(|name| std::env::var_os(name).is_none())?;
    Some(format!(
        "{lacking} is not set: a command that does it to $NODE"
    ))
}

async fn host_fault(variable: &str, node: &str) -> anyhow::Result<()> {
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

pub(in crate::cases) async fn a_lost_host_is_told_and_survived(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(world, json!({})).await?;
    let pods = pods(world).await?;
    let host = |name: &str| {
        let pod = pods.get(name).and_then(|pod| pod.spec.as_ref());
        pod.and_then(|spec| spec.node_name.clone())
            .context("a pod's host")
    };
    let (lost, other) = (host("events-1")?, host("events-0")?);
    let length = Duration::from_secs(45);
    let load = Load::start(world, &chart.node_image, length, Some(&other)).await?;
    host_fault(DOWN, &lost).await?;
    let is_told = |status: &LogClusterStatus| {
        let mut conditions = status.conditions.iter();
        conditions.any(|c| c.type_ == "Degraded" && c.reason == "NodeLost")
    };
    let told = world
        .status_for(CHANGE_MAX, "the loss to be told", is_told)
        .await;
    let soaked = load.finish_within(LOSS_PAUSE_MAX).await;
    host_fault(UP, &lost).await?;
    told?;
    soaked?;
    let after = await_ready(world, CHANGE_MAX).await?;
    ensure_same_nodes(&after, &before)?;
    Ok(())
}
