//! `status.blocked`: what the operator waits for, with times that survive new texts, restarts and
//! upgrades of the operator.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lograft_crds::log_cluster::Blocked;
use lograft_crds::{LogCluster, LogClusterStatus};
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

/// The entry with this reason and subject.
fn entry<'a>(
    status: &'a LogClusterStatus,
    reason: &str,
    subject: Option<&str>,
) -> Option<&'a Blocked> {
    let is_it = |entry: &&Blocked| entry.reason == reason && entry.subject.as_deref() == subject;
    status.blocked.iter().find(is_it)
}

fn has_reason(status: &LogClusterStatus, kind: &str, reason: &str) -> bool {
    let is_it = |c: &Condition| c.type_ == kind && c.reason == reason;
    status.conditions.iter().any(is_it)
}

pub(super) async fn a_blocked_cluster_lists_reasons_with_their_times(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let foreign: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "owner"}}))?;
    let api = sandbox.api::<ConfigMap>();
    let owner = api.create(&PostParams::default(), &foreign).await?;
    let reference = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "controller": true,
        "uid": owner.metadata.uid,
    });
    let metadata = json!({"name": "events-peers", "ownerReferences": [reference]});
    let foreign: ConfigMap = serde_json::from_value(json!({"metadata": metadata}))?;
    api.create(&PostParams::default(), &foreign).await?;
    sandbox.create(json!({})).await?;
    let subject = Some("ConfigMap events-peers");
    let before = sandbox
        .status("both waits", |status| {
            entry(status, "NotOwned", subject).is_some()
                && entry(status, "NodesNotStarted", None).is_some()
        })
        .await?;
    let first = before.blocked.first().context("nothing blocks")?;
    let sentence = before.blocked_on.clone().unwrap_or_default();
    ensure!(sentence.starts_with(&first.message), "{sentence}");
    // The times survive a restart, and the end of another wait.
    operator.stop().await?;
    operator.start()?;
    api.delete("events-peers", &DeleteParams::default()).await?;
    let after = sandbox
        .status("one wait", |status| {
            entry(status, "NotOwned", subject).is_none() && !status.blocked.is_empty()
        })
        .await?;
    let since = |status| entry(status, "NodesNotStarted", None).map(|entry| entry.since.clone());
    ensure!(since(&before) == since(&after), "{before:#?}\n{after:#?}");
    Ok(())
}

pub(super) async fn a_status_of_a_former_operator_keeps_its_time(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    let status = sandbox
        .status("a wait", |status| {
            entry(status, "NodesNotStarted", None).is_some() && status.ca.is_some()
        })
        .await?;
    operator.stop().await?;
    let mut former = serde_json::to_value(&status)?;
    let message = "3 node(s) to start and answer, the first is 0";
    let since = "2026-01-02T03:04:05Z";
    former["blocked"] = Value::Null;
    former["blockedOn"] = json!(format!("waits for {message}, since {since}"));
    let conditions = former["conditions"]
        .as_array_mut()
        .context("no conditions")?;
    for condition in conditions.iter_mut().filter(|c| c["type"] == "Progressing") {
        condition["reason"] = json!("Bootstrapping");
        condition["message"] = json!(message);
    }
    let patch = Patch::Merge(json!({"status": former}));
    let api = sandbox.api::<LogCluster>();
    let params = PatchParams::default();
    let written = api.patch_status("events", &params, &patch).await?;
    let written = written.status.unwrap_or_default();
    ensure!(written.blocked.is_empty(), "{written:#?}");
    operator.start()?;
    let status = sandbox
        .status("a wait", |status| {
            entry(status, "NodesNotStarted", None).is_some()
        })
        .await?;
    let entry = entry(&status, "NodesNotStarted", None).context("no wait")?;
    ensure!(entry.since.0.to_string() == since, "{entry:?}");
    let sentence = status.blocked_on.unwrap_or_default();
    ensure!(sentence.ends_with(since), "{sentence}");
    Ok(())
}

/// A Secret that somebody made immutable cannot be renewed.
pub(super) async fn a_failed_renewal_is_reported(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    sandbox
        .status("certificates", |status| {
            has_reason(status, "CertificatesReady", "Issued")
        })
        .await?;
    let broken = json!({"immutable": true, "data": {"tls.key": "eA=="}});
    sandbox.edit::<Secret>("events-admin-tls", broken).await?;
    let status = sandbox
        .status("a failed renewal", |status| {
            has_reason(status, "CertificatesReady", "RenewalFailed")
        })
        .await?;
    let subject = Some("Secret events-admin-tls");
    let entry = entry(&status, "RenewalFailed", subject).context("it does not block")?;
    ensure!(entry.message.contains("immutable"), "{entry:?}");
    let api = sandbox.api::<Secret>();
    api.delete("events-admin-tls", &DeleteParams::default())
        .await?;
    sandbox
        .status("certificates again", |status| {
            has_reason(status, "CertificatesReady", "Issued")
        })
        .await?;
    Ok(())
}

/// Annotations have no schema that could refuse a typing error.
pub(super) async fn an_invalid_spec_does_not_stop_the_renewal_of_certificates(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    operator.nodes().run(sandbox, "events").await?;
    let wave = json!({"metadata": {"annotations": {"lograft.io/rollout-wave": "first"}}});
    sandbox.edit::<LogCluster>("events", wave).await?;
    sandbox
        .status("InvalidSpec", |status| {
            has_reason(status, "Ready", "InvalidSpec")
        })
        .await?;
    let api = sandbox.api::<Secret>();
    let before = api.get("events-admin-tls").await?.data;
    let before = before.context("no certificate")?;
    let broken = json!({"data": {"tls.key": "eA=="}});
    sandbox.edit::<Secret>("events-admin-tls", broken).await?;
    await_condition("another certificate", || async {
        let data = api.get("events-admin-tls").await?.data;
        let data = data.context("no certificate")?;
        Ok((data.get("tls.crt") != before.get("tls.crt")).then_some(()))
    })
    .await?;
    let fixed = json!({"metadata": {"annotations": {"lograft.io/rollout-wave": null}}});
    sandbox.edit::<LogCluster>("events", fixed).await?;
    sandbox
        .status("another reason", |status| {
            !has_reason(status, "Ready", "InvalidSpec")
        })
        .await?;
    Ok(())
}
