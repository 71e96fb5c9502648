//! What somebody asks for.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::DeleteParams;
use lograft_crds::LogClusterStatus;
use serde_json::json;

use super::{
    CHANGE_MAX, Onlooker, PAUSE_MAX, await_ready, await_replaced, capacity, is_up, lives, pods,
    ready,
};
use crate::chart::Chart;
use crate::load::Load;
use crate::world::{World, await_condition, await_for};

/// A load that lasts about as long as a change of three pods.
const LOAD: Duration = Duration::from_secs(50);

pub(in crate::cases) async fn a_rolling_change_under_load_loses_nothing(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(world, json!({})).await?;
    let load = Load::start(world, &chart.node_image, LOAD, None).await?;
    let (before, onlooker) = (lives(world).await?, Onlooker::start(world, 3));
    world
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    await_replaced(world, &before).await?;
    onlooker.finish().await?;
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn a_change_in_the_middle_of_another(
    world: &World,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(world, json!({})).await?;
    let (before, onlooker) = (lives(world).await?, Onlooker::start(world, 3));
    world
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    await_for(CHANGE_MAX, "the first pod to be replaced", || async {
        let now = lives(world).await?;
        Ok((before
            .iter()
            .any(|(name, life)| now.get(name) != Some(life)))
        .then_some(()))
    })
    .await?;
    world
        .change(json!({"observability": {"logLevel": "info", "logFormat": "text"}}))
        .await?;
    await_replaced(world, &before).await?;
    onlooker.finish().await?;
    let hash = |pod: &k8s_openapi::api::core::v1::Pod| {
        let annotations = pod.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get("lograft.io/rollout-hash").cloned())
    };
    let hashes: std::collections::BTreeSet<_> = pods(world).await?.values().map(hash).collect();
    ensure!(hashes.len() == 1, "{hashes:?}");
    Ok(())
}

pub(in crate::cases) async fn an_image_that_cannot_start_stops_at_the_first_pod(
    world: &World,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(world, json!({})).await?;
    let (before, onlooker) = (lives(world).await?, Onlooker::start(world, 3));
    world
        .change(json!({"version": "0.0.0-is-not-there"}))
        .await?;
    let says = |status: &LogClusterStatus| {
        let text = status.blocked_on.clone().unwrap_or_default();
        text.contains("to come up") && text.contains("go back")
    };
    let status = world
        .status_for(CHANGE_MAX, "the rollout to say that it is stuck", says)
        .await?;
    world.tell(format!(
        "blockedOn: {}",
        status.blocked_on.unwrap_or_default()
    ));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let up = pods(world).await?;
    let up: Vec<_> = up
        .iter()
        .filter(|(_, pod)| is_up(pod))
        .map(|(name, _)| name)
        .collect();
    ensure!(up == ["events-0", "events-1"], "up are {up:?}");
    world.change(json!({"version": null})).await?;
    await_ready(world, CHANGE_MAX).await?;
    onlooker.finish().await?;
    let after = lives(world).await?;
    let same: Vec<_> = before
        .iter()
        .filter(|(name, life)| after.get(*name) == Some(life))
        .collect();
    ensure!(same.len() == 2, "not two pods stayed: {same:?}");
    Ok(())
}

pub(in crate::cases) async fn disks_grow_under_their_pods(
    world: &World,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(world, json!({})).await?;
    let before = lives(world).await?;
    world.change(json!({"storage": {"size": "2Gi"}})).await?;
    await_condition("claims and the set to have the new size", || async {
        let set = world.api::<StatefulSet>().get_opt("events").await?;
        let template = set
            .and_then(|set| set.spec?.volume_claim_templates?.into_iter().next())
            .and_then(|claim| claim.spec?.resources?.requests?.get("storage").cloned());
        let mut grown = template.is_some_and(|size| size.0 == "2Gi");
        for at in 0..3 {
            let size = capacity(world, at).await?;
            grown &= size.is_some_and(|size| ["2Gi", "2147483648"].contains(&size.as_str()));
        }
        Ok(grown.then_some(()))
    })
    .await?;
    await_ready(world, CHANGE_MAX).await?;
    ensure!(lives(world).await? == before, "pods were touched");
    Ok(())
}

/// Up to four, the start of the way back, and after all up again; then back to three, and once more
/// up: the new node begins on an empty disk.
pub(in crate::cases) async fn nodes_come_and_go_and_stay_after_all(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(world, json!({})).await?;
    let load = Load::start(world, &chart.node_image, Duration::from_mins(1), None).await?;
    world.change(json!({"replicas": 4})).await?;
    let four = |status: &LogClusterStatus| {
        super::is_ready(status) && status.ready_replicas == 4 && status.members.len() == 4
    };
    let status = world.status_for(CHANGE_MAX, "four nodes", four).await?;
    let fourth = status.members.get(3).and_then(|member| member.node_id);
    ensure!(fourth.is_some(), "{:?}", status.members);
    // Called back at once: whether or not the decommission had begun, the node stays.
    world.change(json!({"replicas": 3})).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.change(json!({"replicas": 4})).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world
        .status_for(CHANGE_MAX, "four nodes again", four)
        .await?;
    world.change(json!({"replicas": 3})).await?;
    let three = |status: &LogClusterStatus| super::is_ready(status) && status.members.len() == 3;
    world.status_for(CHANGE_MAX, "three nodes", three).await?;
    await_condition("the fourth pod to be gone", || async {
        Ok((pods(world).await?.len() == 3).then_some(()))
    })
    .await?;
    let claims = world.api::<PersistentVolumeClaim>();
    claims
        .get("data-events-3")
        .await
        .context("the left node's disk stays")?;
    world.change(json!({"replicas": 4})).await?;
    let status = world
        .status_for(CHANGE_MAX, "a fourth node anew", four)
        .await?;
    let anew = status.members.get(3).and_then(|member| member.node_id);
    ensure!(anew > fourth, "{anew:?} after {fourth:?}");
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn certificates_are_loaded_without_a_restart(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(world, json!({})).await?;
    let lived = lives(world).await?;
    let load = Load::start(world, &chart.node_image, Duration::from_secs(100), None).await?;
    world
        .api::<Secret>()
        .delete("events-node-tls", &DeleteParams::default())
        .await?;
    let ends = |status: &LogClusterStatus| {
        let members = status.members.iter();
        members
            .map(|member| member.cert_not_after.clone())
            .collect::<Vec<_>>()
    };
    // What status tells is what the nodes have loaded. kubelet looks once a minute or so.
    let old = ends(&before);
    let is_new = |status: &LogClusterStatus| {
        let new = ends(status);
        new.len() == 3
            && new
                .iter()
                .zip(&old)
                .all(|(new, old)| new.is_some() && new != old)
    };
    world
        .status_for(CHANGE_MAX, "the nodes to tell of new certificates", is_new)
        .await?;
    ensure!(lives(world).await? == lived, "a pod was restarted for it");
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

const SIZED_DISKS: &str = "LOGRAFT_E2E_SIZED_DISKS";

/// What is missing to fill a disk.
pub(in crate::cases) fn lacks_sized_disks() -> Option<String> {
    let lacks = std::env::var_os(SIZED_DISKS).is_none();
    lacks.then(|| format!("{SIZED_DISKS} is not set: volumes are as large as their claims say"))
}

/// Writes are refused before the disk is full; it grows by itself, and they go on: to who writes
/// that is a pause.
pub(in crate::cases) async fn a_disk_that_fills_up_grows(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    let storage = json!({
        "size": "1Gi",
        "autoGrow": {"maxSize": "4Gi", "thresholdPercent": 80},
    });
    ready(world, json!({"storage": storage})).await?;
    let lived = lives(world).await?;
    // About 10 MB/s: more than the disk has room for, less than the grown one.
    let length = Duration::from_secs(80);
    let options = ["--rate", "200", "--record-size", "8KiB"];
    let load = Load::start_as(world, &chart.node_image, length, None, &options).await?;
    let soaked = load.finish().await?;
    world.tell(format!(
        "{} MB acknowledged, longest pause of a partition {:.2} s",
        soaked.acked * 8192 / 1_000_000,
        soaked.longest_pause.as_secs_f32()
    ));
    await_condition("the claims to have grown", || async {
        let mut grown = 0;
        for at in 0..3 {
            let size = capacity(world, at).await?;
            grown += usize::from(size.is_some_and(|size| size != "1Gi"));
        }
        Ok((grown == 3).then_some(()))
    })
    .await?;
    await_ready(world, CHANGE_MAX).await?;
    ensure!(lives(world).await? == lived, "pods were touched");
    Ok(())
}
