//! Writes the status, if it has changed.

use kube::Api;
use kube::api::{Patch, PatchParams};
use lograft_crds::names::{API_VERSION, OPERATOR};
use lograft_crds::{LogCluster, LogClusterStatus};
use serde_json::json;

use super::ReconcileError;
use crate::controller::Reconciler;

/// Writes `next` unless it equals the stored status.
pub(super) async fn write(
    api: &Api<LogCluster>,
    raw: &LogCluster,
    next: &LogClusterStatus,
    reconciler: &Reconciler,
) -> Result<(), ReconcileError> {
    if raw.status.as_ref() == Some(next) {
        return Ok(());
    }
    let written = apply(api, raw, next).await;
    reconciler
        .metrics
        .writes
        .with_label_values(&["LogCluster/status"])
        .inc();
    written.map_err(|source| ReconcileError::Status(Box::new(source)))
}

/// Applies a status. The UID makes the API server reject it if the LogCluster was deleted and
/// created again: the new one must not get the ID of the old cluster.
pub(super) async fn apply(
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
