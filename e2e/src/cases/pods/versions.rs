//! Operator and nodes of two versions: each with the other, the way back, and the finalized level.
//!
//! The former version's images are in `LOGRAFT_E2E_FORMER_OPERATOR_IMAGE` and
//! `LOGRAFT_E2E_FORMER_NODE_IMAGE`; the node image differs from the present one by its tag only.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{CHANGE_MAX, Replacement, await_replaced, pod_incarnations, ready};
use crate::chart::Chart;
use crate::load::Load;
use crate::sandbox::Sandbox;

const FORMER_OPERATOR: &str = "LOGRAFT_E2E_FORMER_OPERATOR_IMAGE";
const FORMER_NODE: &str = "LOGRAFT_E2E_FORMER_NODE_IMAGE";

/// Duration of the load: several replacements of all pods.
const LOAD: Duration = Duration::from_mins(3);
/// Maximum pause of writes. Longer than that of a rolling change: the former version counts too.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The missing requirement.
pub(in crate::cases) fn lacks_former_images() -> Option<String> {
    let lacks = |name: &&str| std::env::var_os(name).is_none();
    let missing = [FORMER_OPERATOR, FORMER_NODE].into_iter().find(lacks)?;
    Some(format!("{missing} is not set"))
}

/// The node image of the former version.
pub(super) fn former_node() -> anyhow::Result<String> {
    std::env::var(FORMER_NODE).with_context(|| format!("{FORMER_NODE} is not set"))
}

pub(super) fn tag(image: &str) -> anyhow::Result<&str> {
    let (_, tag) = image.rsplit_once(':').context("the image has no tag")?;
    Ok(tag)
}

/// Replaces the pods by those of another version, at most one at a time.
async fn change_version(sandbox: &Sandbox, version: &str) -> anyhow::Result<()> {
    let replacement = Replacement::start(sandbox).await?;
    sandbox.change(json!({"version": version})).await?;
    replacement.finish(sandbox).await
}

/// Waits until the status has this finalized and this available feature level.
async fn await_levels(sandbox: &Sandbox, finalized: i64, available: i64) -> anyhow::Result<()> {
    let what = format!("feature level {finalized} to be finalized, {available} to be available");
    let has = |status: &lograft_crds::LogClusterStatus| {
        let level = status.feature_level.as_ref();
        level.is_some_and(|level| {
            level.finalized == finalized && level.available.unwrap_or_default() == available
        })
    };
    sandbox.status_for(CHANGE_MAX, &what, has).await?;
    Ok(())
}

pub(in crate::cases) async fn versions_run_side_by_side_and_go_back_until_finalized(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let (former_node, former_operator) = (former_node()?, std::env::var(FORMER_OPERATOR)?);
    let (former, present) = (tag(&former_node)?, tag(&chart.node_image)?);
    // The present operator with former nodes.
    let spec = json!({"version": former, "update": {"finalize": "Manual", "allowDowngrade": true}});
    ready(sandbox, spec).await?;
    let has_level = |status: &lograft_crds::LogClusterStatus| {
        let level = status.feature_level.as_ref();
        level.is_some_and(|level| level.available == Some(level.finalized))
    };
    let what = "the level of the former version to be finalized";
    let status = sandbox.status_for(CHANGE_MAX, what, has_level).await?;
    let level = status.feature_level.map_or(0, |level| level.finalized);
    let load = Load::start(sandbox, &former_node, LOAD, None).await?;
    change_version(sandbox, present).await?;
    await_levels(sandbox, level, level + 1).await?;
    // The former operator with present nodes.
    let result = async {
        chart.install_operator(&former_operator).await?;
        let before = pod_incarnations(sandbox).await?;
        let spec = json!({"observability": {"logFormat": "text"}});
        sandbox.change(spec).await?;
        await_replaced(sandbox, &before).await
    };
    let result = result.await;
    chart.install().await?;
    result?;
    // The way back, and up again.
    change_version(sandbox, former).await?;
    change_version(sandbox, present).await?;
    load.finish_within(PAUSE_MAX).await?;
    await_levels(sandbox, level, level + 1).await?;
    let before = pod_incarnations(sandbox).await?;
    let spec = json!({"update": {"finalize": "Auto", "finalizeAfterSeconds": 5}});
    sandbox.change(spec).await?;
    await_levels(sandbox, level + 1, level + 1).await?;
    ensure!(
        before == pod_incarnations(sandbox).await?,
        "finalizing replaced a pod"
    );
    Ok(())
}
