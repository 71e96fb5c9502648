//! Changes of the spec.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::DeleteParams;
use lograft_crds::LogClusterStatus;
use serde_json::json;

use super::{
    AvailabilityWatch, CHANGE_MAX, PAUSE_MAX, Replacement, await_ready, capacity, is_up,
    pod_incarnations, pods, ready,
};
use crate::cases::said::condition;
use crate::chart::Chart;
use crate::load::Load;
use crate::sandbox::{Sandbox, await_condition, await_for};

/// Duration of a load during the replacement of three pods.
const LOAD: Duration = Duration::from_secs(50);

pub(in crate::cases) async fn a_rolling_change_under_load_loses_nothing(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let load = Load::start_with_group(sandbox, &chart.node_image, LOAD).await?;
    let replacement = Replacement::start(sandbox).await?;
    sandbox
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    replacement.finish(sandbox).await?;
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn a_change_during_another_change(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let replacement = Replacement::start(sandbox).await?;
    sandbox
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    await_for(CHANGE_MAX, "the first pod to be replaced", || async {
        let now = pod_incarnations(sandbox).await?;
        Ok((replacement
            .before
            .iter()
            .any(|(name, life)| now.get(name) != Some(life)))
        .then_some(()))
    })
    .await?;
    sandbox
        .change(json!({"observability": {"logLevel": "info", "logFormat": "text"}}))
        .await?;
    replacement.finish(sandbox).await?;
    let hash = |pod: &k8s_openapi::api::core::v1::Pod| {
        let annotations = pod.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get("lograft.io/rollout-hash").cloned())
    };
    let hashes: std::collections::BTreeSet<_> = pods(sandbox).await?.values().map(hash).collect();
    ensure!(hashes.len() == 1, "{hashes:?}");
    Ok(())
}

pub(in crate::cases) async fn an_image_that_cannot_start_stops_at_the_first_pod(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let (before, availability) = (
        pod_incarnations(sandbox).await?,
        AvailabilityWatch::start(sandbox, 3),
    );
    sandbox
        .change(json!({"version": "99.0.0-is-not-there"}))
        .await?;
    let says = |status: &LogClusterStatus| {
        let text = status.blocked_on.clone().unwrap_or_default();
        text.contains("does not start") && text.contains("revert")
    };
    let status = sandbox
        .status_for(CHANGE_MAX, "the rollout to say that it is stuck", says)
        .await?;
    sandbox.report_figure(format!(
        "blockedOn: {}",
        status.blocked_on.unwrap_or_default()
    ));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let up = pods(sandbox).await?;
    let up: Vec<_> = up
        .iter()
        .filter(|(_, pod)| is_up(pod))
        .map(|(name, _)| name)
        .collect();
    ensure!(up == ["events-0", "events-1"], "up are {up:?}");
    sandbox.change(json!({"version": null})).await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    availability.finish().await?;
    let after = pod_incarnations(sandbox).await?;
    let same: Vec<_> = before
        .iter()
        .filter(|(name, life)| after.get(*name) == Some(life))
        .collect();
    ensure!(same.len() == 2, "not exactly two pods stayed: {same:?}");
    Ok(())
}

pub(in crate::cases) async fn disks_grow_under_their_pods(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let before = pod_incarnations(sandbox).await?;
    sandbox.change(json!({"storage": {"size": "2Gi"}})).await?;
    await_condition("claims and the set to have the new size", || async {
        let set = sandbox.api::<StatefulSet>().get_opt("events").await?;
        let template = set
            .and_then(|set| set.spec?.volume_claim_templates?.into_iter().next())
            .and_then(|claim| claim.spec?.resources?.requests?.get("storage").cloned());
        let mut grown = template.is_some_and(|size| size.0 == "2Gi");
        for at in 0..3 {
            let size = capacity(sandbox, at).await?;
            grown &= size.is_some_and(|size| ["2Gi", "2147483648"].contains(&size.as_str()));
        }
        Ok(grown.then_some(()))
    })
    .await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    ensure!(
        pod_incarnations(sandbox).await? == before,
        "pods were restarted or replaced"
    );
    Ok(())
}

/// Scales to four, starts to scale down, and reverts that; then scales to three, and up again: the
/// new node starts with an empty disk.
pub(in crate::cases) async fn scaling_up_and_down_and_reverting_it(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let load = Load::start_with_group(sandbox, &chart.node_image, Duration::from_mins(1)).await?;
    sandbox.change(json!({"replicas": 4})).await?;
    let four = |status: &LogClusterStatus| {
        super::is_ready(status) && status.ready_replicas == 4 && status.members.len() == 4
    };
    let status = sandbox.status_for(CHANGE_MAX, "four nodes", four).await?;
    let fourth = status.members.get(3).and_then(|member| member.node_id);
    ensure!(fourth.is_some(), "{:?}", status.members);
    // Reverted at once: whether or not the decommission has started, the node stays.
    sandbox.change(json!({"replicas": 3})).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    sandbox.change(json!({"replicas": 4})).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    sandbox
        .status_for(CHANGE_MAX, "four nodes again", four)
        .await?;
    sandbox.change(json!({"replicas": 3})).await?;
    let three = |status: &LogClusterStatus| super::is_ready(status) && status.members.len() == 3;
    sandbox.status_for(CHANGE_MAX, "three nodes", three).await?;
    await_condition("the fourth pod to be gone", || async {
        Ok((pods(sandbox).await?.len() == 3).then_some(()))
    })
    .await?;
    let claims = sandbox.api::<PersistentVolumeClaim>();
    claims
        .get("data-events-3")
        .await
        .context("the disk of the decommissioned node is missing")?;
    sandbox.change(json!({"replicas": 4})).await?;
    let status = sandbox
        .status_for(CHANGE_MAX, "a new fourth node", four)
        .await?;
    let new = status.members.get(3).and_then(|member| member.node_id);
    ensure!(new > fourth, "{new:?} after {fourth:?}");
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn certificates_are_reloaded_without_a_restart(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let before = ready(sandbox, json!({})).await?;
    let incarnations = pod_incarnations(sandbox).await?;
    let load = Load::start(sandbox, &chart.node_image, Duration::from_secs(100), None).await?;
    sandbox
        .api::<Secret>()
        .delete("events-node-tls", &DeleteParams::default())
        .await?;
    let ends = |status: &LogClusterStatus| {
        let members = status.members.iter();
        members
            .map(|member| member.cert_not_after.clone())
            .collect::<Vec<_>>()
    };
    // Status reports the certificates that nodes have loaded. kubelet syncs about once a minute.
    let old = ends(&before);
    let is_new = |status: &LogClusterStatus| {
        let new = ends(status);
        new.len() == 3
            && new
                .iter()
                .zip(&old)
                .all(|(new, old)| new.is_some() && new != old)
    };
    sandbox
        .status_for(CHANGE_MAX, "the nodes to report new certificates", is_new)
        .await?;
    ensure!(
        pod_incarnations(sandbox).await? == incarnations,
        "a pod was restarted"
    );
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

/// A topic that was made with one node and without a replication factor gets a replica on each of
/// the new nodes.
pub(in crate::cases) async fn a_cluster_of_one_that_grows_protects_its_topics(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({"replicas": 1})).await?;
    let load = Load::start_with_group(sandbox, &chart.node_image, Duration::from_mins(1)).await?;
    sandbox.change(json!({"replicas": 3})).await?;
    let is_protected = |status: &LogClusterStatus| {
        let checks = [
            "PARTITION_SINGLE_REPLICA",
            "PARTITION_BELOW_FACTOR",
            "NODE_WITHOUT_REPLICAS",
        ];
        let mut notes = status.notes.iter();
        super::is_ready(status)
            && status.members.len() == 3
            && condition(status, "Degraded").is_ok_and(|found| found.reason != "SingleReplica")
            && !notes.any(|note| checks.contains(&note.check.as_str()))
    };
    sandbox
        .status_for(CHANGE_MAX, "three nodes with all replicas", is_protected)
        .await?;
    load.finish_within(PAUSE_MAX).await?;
    Ok(())
}

const SIZED_DISKS: &str = "LOGRAFT_E2E_SIZED_DISKS";

/// The missing requirement for filling a disk.
pub(in crate::cases) fn lacks_sized_disks() -> Option<String> {
    let lacks = std::env::var_os(SIZED_DISKS).is_none();
    lacks.then(|| {
        format!("{SIZED_DISKS} is not set: it means that volumes have the size of their claims")
    })
}

/// Writes are refused before the disk is full; the disk grows automatically and writes continue:
/// producers see a pause.
pub(in crate::cases) async fn a_disk_that_fills_up_grows(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let storage = json!({
        "size": "1Gi",
        "autoGrow": {"maxSize": "4Gi", "thresholdPercent": 80},
    });
    ready(sandbox, json!({"storage": storage})).await?;
    let incarnations = pod_incarnations(sandbox).await?;
    // About 10 MB/s: exceeds the disk, but not the grown disk.
    let length = Duration::from_secs(80);
    let options = ["--rate", "200", "--record-size", "8KiB"];
    let load = Load::start_as(sandbox, &chart.node_image, length, None, &options).await?;
    let soaked = load.finish().await?;
    sandbox.report_figure(format!(
        "{} MB acknowledged, longest pause of a partition {:.2} s",
        soaked.acked * 8192 / 1_000_000,
        soaked.longest_pause.as_secs_f32()
    ));
    await_condition("the claims to have grown", || async {
        let mut grown = 0;
        for at in 0..3 {
            let size = capacity(sandbox, at).await?;
            grown += usize::from(size.is_some_and(|size| size != "1Gi"));
        }
        Ok((grown == 3).then_some(()))
    })
    .await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    ensure!(
        pod_incarnations(sandbox).await? == incarnations,
        "pods were restarted or replaced"
    );
    Ok(())
}
