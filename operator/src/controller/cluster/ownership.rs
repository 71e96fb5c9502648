//! A LogCluster in a namespace that another release of the operator manages is left alone.

use std::time::Duration;

use kube::runtime::controller::Action;
use lograft_crds::LogCluster;
use lograft_crds::limits::SCOPE_CONCEDED_SECONDS;
use tracing::warn;

use super::ReconcileError;
use crate::controller::Reconciler;
use crate::events::Happening;
use crate::kinds::key;
use crate::scope::Claim;

/// What to do instead of a reconcile, if another release manages the cluster. Fails if it is not
/// known which one does.
pub(super) async fn stand_aside(
    reconciler: &Reconciler,
    raw: &LogCluster,
) -> Result<Option<Action>, ReconcileError> {
    let scopes = &reconciler.scopes;
    let namespace = raw.metadata.namespace.as_deref().unwrap_or_default();
    let claim = scopes.claim(namespace).await;
    let claim = claim.map_err(|source| ReconcileError::Claim(Box::new(source)))?;
    let cluster = key(raw);
    let count = |reconciler: &Reconciler| {
        let count = i64::try_from(scopes.conceded_count()).unwrap_or(i64::MAX);
        reconciler.metrics.conceded.set(count);
    };
    let Claim::Conceded { holder } = claim else {
        scopes.reclaim(&cluster);
        count(reconciler);
        return Ok(None);
    };
    reconciler.fleet.forget(&cluster);
    if scopes.concede(&cluster, &holder) {
        count(reconciler);
        report(reconciler, raw, &holder).await;
    }
    let pause = Duration::from_secs(SCOPE_CONCEDED_SECONDS);
    Ok(Some(Action::requeue(pause)))
}

/// Says once that the cluster is left to another release. Its status is not touched: that release
/// writes it.
async fn report(reconciler: &Reconciler, raw: &LogCluster, holder: &str) {
    let cluster = key(raw);
    warn!(
        cluster,
        holder, "another operator manages the namespace, leaving the cluster to it"
    );
    let own = reconciler.scopes.identity();
    let text = format!(
        "operator {own} leaves this cluster to operator {holder}, which manages its namespace; two \
         operators must not watch the same namespace"
    );
    let happening = Happening {
        is_warning: true,
        reason: "ManagedByAnother",
        text: &text,
        about: None,
    };
    reconciler.events.report(raw, &happening).await;
}
