//! A cluster that is new, and one at rest.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::{READY_MAX, lives, pods, ready};
use crate::chart::Chart;
use crate::load::Load;
use crate::world::{World, await_for};

/// How long a cluster is watched at rest when nothing is said, seconds.
const QUIET_SECONDS: u64 = 60;

/// The namespace takes nothing but restricted pods, so that they stand shows that they are.
pub(in crate::cases) async fn a_cluster_is_ready_within_a_minute_and_then_quiet(
    world: &World,
    _: &Chart,
) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    let status = ready(world, json!({})).await?;
    world.tell(format!(
        "ready after {:.1} s",
        begun.elapsed().as_secs_f32()
    ));
    ensure!(begun.elapsed() < READY_MAX, "it took too long");
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
    ensure!(pods(world).await?.len() == 3, "not three pods");
    // Certificates are loaded and leaders balanced within seconds; from then on nothing is written.
    let versions = || async { world.objects("resourceVersion").await };
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
    let (before, lived) = (versions().await?, lives(world).await?);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = versions().await?;
    ensure!(before == after, "written at rest:\n{before:#?}\n{after:#?}");
    ensure!(lives(world).await? == lived, "pods changed at rest");
    world.tell(format!("no write within {seconds} s"));
    Ok(())
}

pub(in crate::cases) async fn records_go_in_and_come_out_with_the_issued_certificate(
    world: &World,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(world, json!({})).await?;
    let load = Load::start(world, &chart.node_image, Duration::from_secs(5), None).await?;
    let soaked = load.finish().await?;
    ensure!(soaked.acked >= 1000, "{soaked:?}");
    Ok(())
}
