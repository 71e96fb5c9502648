//! A new cluster, and a cluster at rest.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::{READY_MAX, pod_incarnations, pods, ready};
use crate::chart::Chart;
use crate::load::Load;
use crate::sandbox::{Sandbox, await_for};

/// Default time for which a cluster is watched at rest, seconds.
const QUIET_SECONDS: u64 = 60;

/// The namespace admits only restricted pods, so running pods are restricted.
pub(in crate::cases) async fn a_cluster_is_ready_within_a_minute_and_then_quiet(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let status = ready(sandbox, json!({})).await?;
    sandbox.report_figure(format!(
        "ready after {:.1} s",
        started.elapsed().as_secs_f32()
    ));
    ensure!(started.elapsed() < READY_MAX, "not ready in time");
    ensure!(
        status.members.len() == 3
            && status
                .members
                .iter()
                .all(|m| m.ready && m.node_id.is_some()),
        "{:?}",
        status.members
    );
    let zones: std::collections::BTreeSet<_> = status.members.iter().map(|m| &m.zone).collect();
    ensure!(zones.len() == 3, "zones: {zones:?}");
    ensure!(pods(sandbox).await?.len() == 3, "not three pods");
    // Certificates are loaded and leaders balanced within seconds; after that nothing is written.
    let versions = || async { sandbox.objects("resourceVersion").await };
    await_for(READY_MAX, "the cluster to be at rest", || async {
        let first = versions().await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        Ok((versions().await? == first).then_some(()))
    })
    .await?;
    let seconds = std::env::var("LOGRAFT_E2E_QUIET_SECONDS").ok();
    let seconds = seconds
        .and_then(|text| text.parse().ok())
        .unwrap_or(QUIET_SECONDS);
    let (before, incarnations) = (versions().await?, pod_incarnations(sandbox).await?);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = versions().await?;
    ensure!(before == after, "writes at rest:\n{before:#?}\n{after:#?}");
    ensure!(
        pod_incarnations(sandbox).await? == incarnations,
        "pods changed at rest"
    );
    sandbox.report_figure(format!("no writes for {seconds} s"));
    Ok(())
}

pub(in crate::cases) async fn records_are_produced_and_consumed_with_the_issued_certificate(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let load = Load::start(sandbox, &chart.node_image, Duration::from_secs(5), None).await?;
    let soaked = load.finish().await?;
    ensure!(soaked.acked >= 1000, "{soaked:?}");
    Ok(())
}
