//! Writes status, if it says anything new.

use kube::Api;
use kube::api::{Patch, PatchParams};
use lograft_crds::names::{API_VERSION, OPERATOR};
use lograft_crds::{LogCluster, LogClusterStatus};
use serde_json::json;

use super::ReconcileError;
use crate::controller::Context;

/// Writes `next` unless it stands already.
pub(super) async fn write(
    api: &Api<LogCluster>,
    raw: &LogCluster,
    next: &LogClusterStatus,
    context: &Context,
) -> Result<(), ReconcileError> {
    if raw.status.as_ref() == Some(next) {
        return Ok(());
    }
    let written = put(api, raw, next).await;
    context
        .metrics
        .writes
        .with_label_values(&["LogCluster/status"])
        .inc();
    written.map_err(|source| ReconcileError::Status(Box::new(source)))
}

/// Writes a status as it is. The object's UID goes along: another of its name is another cluster.
pub(super) async fn put(
    api: &Api<LogCluster>,
    raw: &LogCluster,
    status: &LogClusterStatus,
) -> Result<(), kube::Error> {
    let name = raw.metadata.name.as_deref().unwrap_or_default();
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": "LogCluster",
        "metadata": {"name": name, "uid": raw.metadata.uid},
        "status": status,
    });
    let params = PatchParams::apply(OPERATOR).force();
    api.patch_status(name, &params, &Patch::Apply(&patch))
        .await?;
    Ok(())
}
