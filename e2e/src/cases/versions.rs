//! Versions of the nodes: none below the running one by mistake.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use lograft_crds::LogCluster;
use serde_json::json;

use super::life::{quiet, whole};
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

async fn image(sandbox: &Sandbox) -> anyhow::Result<String> {
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let spec = set.spec.and_then(|spec| spec.template.spec);
    let container = spec.and_then(|spec| spec.containers.into_iter().next());
    container.and_then(|c| c.image).context("no image")
}

async fn await_image(sandbox: &Sandbox, version: &str) -> anyhow::Result<()> {
    await_condition(&format!("version {version}"), || async {
        // There is no StatefulSet at first.
        let image = image(sandbox).await.unwrap_or_default();
        Ok(image.ends_with(&format!(":{version}")).then_some(()))
    })
    .await
}

/// No nodes run here, so the version that they ran last is written into the status.
pub(super) async fn a_version_below_the_running_one_is_refused_unless_allowed(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({"version": "0.9.0"})).await?;
    await_image(sandbox, "0.9.0").await?;
    quiet(sandbox).await?;
    operator.stop().await?;
    let ran = Patch::Merge(json!({"status": {"version": "0.9.0"}}));
    let api = sandbox.api::<LogCluster>();
    api.patch_status("events", &PatchParams::default(), &ran)
        .await?;
    sandbox.change(json!({"version": "0.8.0"})).await?;
    operator.start()?;
    let status = sandbox
        .status("the refusal", |status| {
            let mut blocked = status.blocked.iter();
            blocked.any(|entry| entry.reason == "DowngradeRefused")
        })
        .await?;
    ensure!(
        status.image.is_some_and(|image| image.ends_with(":0.9.0")),
        "another image was accepted"
    );
    ensure!(image(sandbox).await?.ends_with(":0.9.0"), "rolled back");
    Ok(())
}

/// `helm upgrade` with another default, and with the word that moves existing clusters.
pub(super) async fn another_default_version_moves_clusters_only_if_told_so(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let before = image(sandbox).await?;
    let status = sandbox
        .status("a default", |status| status.default_version.is_some())
        .await?;
    let version = status.default_version.unwrap_or_default();
    ensure!(before.ends_with(&format!(":{version}")), "{before}");
    for (default, is_told, expected) in [
        ("9.9.9", false, version.as_str()),
        ("0.0.1", true, version.as_str()),
        ("9.9.9", true, "9.9.9"),
        ("0.0.1", false, "9.9.9"),
    ] {
        operator.stop().await?;
        operator.set_node_version(Some(default), is_told);
        operator.start()?;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        await_image(sandbox, expected).await?;
        quiet(sandbox).await?;
        ensure!(
            image(sandbox).await?.ends_with(expected),
            "{default} {is_told}"
        );
    }
    operator.stop().await?;
    operator.set_node_version(None, false);
    operator.start()?;
    quiet(sandbox).await
}
