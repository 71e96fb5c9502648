//! What keeps pods from running, in the words of the controllers of Kubernetes; and what is no
//! alarm.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{DeleteParams, PostParams};
use lograft_crds::LogClusterStatus;
use serde_json::json;

use super::{CHANGE_MAX, await_ready, ready};
use crate::cases::said::{blocked_for, condition, one_warning};
use crate::chart::Chart;
use crate::sandbox::Sandbox;

/// Duration of the watch of a crash loop. `LOGRAFT_E2E_CRASH_SECONDS` sets another.
const CRASH_WATCH: Duration = Duration::from_mins(3);

/// Waits until the status is blocked for a reason whose message contains all of `words`.
async fn await_blocked(
    sandbox: &Sandbox,
    reason: &str,
    words: &[&str],
) -> anyhow::Result<LogClusterStatus> {
    let says = |status: &LogClusterStatus| {
        let mut entries = status.blocked.iter();
        entries.any(|entry| {
            entry.reason == reason && words.iter().all(|word| entry.message.contains(word))
        })
    };
    let what = format!("the status to say {reason} {words:?}");
    let status = sandbox.status_for(CHANGE_MAX, &what, says).await?;
    let sentence = status.blocked_on.clone().unwrap_or_default();
    sandbox.report_figure(format!("blockedOn: {sentence}"));
    Ok(status)
}

pub(in crate::cases) async fn a_quota_is_named_and_the_cluster_starts_without_it(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}});
    let quota: ResourceQuota = serde_json::from_value(quota)?;
    let api = sandbox.api::<ResourceQuota>();
    api.create(&PostParams::default(), &quota).await?;
    sandbox.create(json!({"storage": {"size": "1Gi"}})).await?;
    let status = await_blocked(sandbox, "PodNotCreated", &["events-", "exceeded quota"]).await?;
    let ready = condition(&status, "Ready")?;
    ensure!(ready.reason == "PodBlocked", "{ready:?}");
    api.delete("small", &DeleteParams::default()).await?;
    // The StatefulSet controller tries again after up to 17 minutes: an edit makes it try at once.
    sandbox
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    Ok(())
}

pub(in crate::cases) async fn an_unknown_storage_class_is_named(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    let storage = json!({"size": "1Gi", "storageClassName": "is-not-there"});
    sandbox.create(json!({"storage": storage})).await?;
    await_blocked(
        sandbox,
        "ClaimNotProvisioned",
        &["data-events-0", "is-not-there"],
    )
    .await?;
    Ok(())
}

pub(in crate::cases) async fn pods_that_no_host_takes_have_the_words_of_the_scheduler(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    let template = json!({"nodeSelector": {"lograft.io/e2e": "is-not-there"}});
    sandbox
        .create(json!({"storage": {"size": "1Gi"}, "podTemplate": template}))
        .await?;
    await_blocked(
        sandbox,
        "PodNotScheduled",
        &["events-0", "nodes are available"],
    )
    .await?;
    Ok(())
}

/// An image in which the program of the node does not exist.
pub(in crate::cases) async fn a_crash_loop_is_one_state_and_one_event(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    sandbox
        .change(json!({"image": chart.operator_image}))
        .await?;
    let is_stuck = |status: &LogClusterStatus| blocked_for(status, "RolloutStuck").cloned();
    let status = sandbox
        .status_for(CHANGE_MAX, "the rollout to be stuck", |status| {
            is_stuck(status).is_some()
        })
        .await?;
    let first = is_stuck(&status).context("no entry")?;
    sandbox.report_figure(format!("message: {}", first.message));
    let unready = |status: &LogClusterStatus| {
        let mut members = status.members.iter();
        members.find(|member| !member.ready).cloned()
    };
    let member = unready(&status).context("each member is ready")?;
    ensure!(
        member.reason.as_deref() == Some("PodNotStarted"),
        "{member:?}"
    );
    let watched = std::env::var("LOGRAFT_E2E_CRASH_SECONDS").ok();
    let watched = watched.and_then(|seconds| seconds.parse().ok());
    let watched = watched.map_or(CRASH_WATCH, Duration::from_secs);
    let end = tokio::time::Instant::now() + watched;
    let mut looks = 0;
    while tokio::time::Instant::now() < end {
        let status = sandbox.status("a status", |_| true).await?;
        let entry = is_stuck(&status);
        let entry = entry.with_context(|| format!("not stuck: {:?}", status.blocked))?;
        ensure!(entry.since == first.since, "{first:?}, then {entry:?}");
        let now = unready(&status).context("each member is ready")?;
        ensure!(now.since == member.since, "{member:?}, then {now:?}");
        let progressing = condition(&status, "Progressing")?;
        ensure!(progressing.reason == "RolloutStuck", "{progressing:?}");
        looks += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let event = one_warning(sandbox, "RolloutStuck").await?;
    let count = event.count.unwrap_or(0);
    sandbox.report_figure(format!(
        "{looks} looks in {} s: one reason, one since; one event, count {count}",
        watched.as_secs()
    ));
    // The way back.
    sandbox.change(json!({"image": null})).await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    Ok(())
}

/// Each pod is replaced, and nothing is reported as lost.
pub(in crate::cases) async fn a_planned_replacement_is_no_alarm(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let before = super::pod_incarnations(sandbox).await?;
    let watch = async {
        loop {
            let status = sandbox.status("a status", |_| true).await?;
            let degraded = condition(&status, "Degraded")?;
            ensure!(degraded.status == "False", "{degraded:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    sandbox
        .change(json!({"observability": {"logLevel": "debug"}}))
        .await?;
    tokio::select! {
        replaced = super::await_replaced(sandbox, &before) => replaced,
        alarm = watch => alarm,
    }
}
