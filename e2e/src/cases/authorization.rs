//! Authorization of a LogCluster: which mode it gets, and that a change of it restarts no pod.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use lograft_crds::log_cluster::{AuthorizationMode, AuthorizationStatus};
use lograft_crds::names::ANNOTATION_ROLLOUT_HASH;
use lograft_crds::{LogCluster, LogClusterStatus};
use serde_json::{Value, json};

use super::refusals::refused;
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

fn default_mode(status: &LogClusterStatus) -> Option<AuthorizationMode> {
    let authorization: Option<&AuthorizationStatus> = status.authorization.as_ref();
    authorization.map(|authorization| authorization.default_mode)
}

/// Waits until the file of the first node has this mode and these super users.
async fn await_mode(sandbox: &Sandbox, mode: &str, super_users: Value) -> anyhow::Result<()> {
    let configs = sandbox.api::<ConfigMap>();
    await_condition(&format!("mode {mode}"), || async {
        let Some(config) = configs.get_opt("events-config").await? else {
            return Ok(None);
        };
        let data = config.data.unwrap_or_default();
        let text = data.get("events-0.yaml").context("events-0.yaml")?;
        let file: Value = serde_yaml::from_str(text)?;
        let found = &file["authorization"];
        let is_so = found["mode"] == mode && found["super_users"] == super_users;
        Ok(is_so.then_some(()))
    })
    .await
}

/// The hash of the settings that take effect by a restart.
async fn rollout_hash(sandbox: &Sandbox) -> anyhow::Result<Option<String>> {
    // It is applied after the ConfigMap that the case has seen.
    let set = await_condition("the StatefulSet", || async {
        Ok(sandbox.api::<StatefulSet>().get_opt("events").await?)
    });
    let set = set.await?;
    let template = set.spec.context("spec")?.template.metadata;
    let annotations = template.context("metadata")?.annotations;
    Ok(annotations
        .unwrap_or_default()
        .remove(ANNOTATION_ROLLOUT_HASH))
}

pub(super) async fn a_new_cluster_is_closed_and_a_change_restarts_nothing(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    let both = json!({"authorization": {"enabled": true, "mode": "disabled"}});
    refused(sandbox.create(both).await, "remove enabled")?;
    let user = json!({"authorization": {"superUsers": ["shop/orders"]}});
    refused(sandbox.create(user).await, "user/NAMESPACE/NAME")?;
    sandbox.create(json!({})).await?;
    await_mode(sandbox, "enforced", json!(["user/admin"])).await?;
    let on = Some(AuthorizationMode::Enforced);
    let is_closed = |status: &LogClusterStatus| default_mode(status) == on;
    let status = sandbox.status("the default mode", is_closed).await?;
    // No node has reported its feature level.
    let effective = status.authorization.and_then(|it| it.mode);
    ensure!(effective.is_none(), "{effective:?}");
    let hash = rollout_hash(sandbox).await?;
    ensure!(hash.is_some(), "the template has no hash");
    let spec = json!({"authorization": {
        "mode": "report-only", "superUsers": ["root", "user/shop/orders"],
    }});
    sandbox.change(spec).await?;
    await_mode(
        sandbox,
        "report-only",
        json!(["user/root", "user/shop/orders"]),
    )
    .await?;
    let open = json!({"authorization": {"mode": "disabled", "superUsers": null}});
    sandbox.change(open).await?;
    await_mode(sandbox, "disabled", json!(["user/admin"])).await?;
    let old = json!({"authorization": {"mode": null, "enabled": true}});
    sandbox.change(old).await?;
    await_mode(sandbox, "enforced", json!(["user/admin"])).await?;
    let after = rollout_hash(sandbox).await?;
    ensure!(after == hash, "{hash:?} became {after:?}");
    Ok(())
}

pub(super) async fn an_older_cluster_stays_open(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    await_mode(sandbox, "enforced", json!(["user/admin"])).await?;
    let has_id = |status: &LogClusterStatus| status.cluster_id.is_some();
    sandbox.status("an id", has_id).await?;
    operator.stop().await?;
    // The status of an operator without authorization.
    let patch = Patch::Merge(json!({"status": {"authorization": null}}));
    let api = sandbox.api::<LogCluster>();
    let params = PatchParams::default();
    api.patch_status("events", &params, &patch).await?;
    operator.start()?;
    await_mode(sandbox, "disabled", json!(["user/admin"])).await?;
    let off = Some(AuthorizationMode::Disabled);
    let is_open = |status: &LogClusterStatus| default_mode(status) == off;
    sandbox.status("the default mode", is_open).await?;
    operator.kill().await?;
    operator.start()?;
    sandbox
        .change(json!({"authorization": {"superUsers": ["root"]}}))
        .await?;
    await_mode(sandbox, "disabled", json!(["user/root"])).await
}
