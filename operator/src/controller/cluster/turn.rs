//! Asks the fleet whether a changed template may be rolled out.

use kube::Api;
use lograft_crds::LogCluster;
use lograft_operator_desired::fleet::{Held, Member};

use super::ReconcileError;
use crate::controller::Reconciler;

/// Why a changed template of the cluster with this key has to wait for others; none if it need not.
/// A cluster that is waited for without being seen may have been deleted: that is looked up.
pub(super) async fn ask(
    reconciler: &Reconciler,
    cluster: &str,
    member: &Member,
    now: i64,
) -> Result<Option<Held>, ReconcileError> {
    let fleet = &reconciler.fleet;
    let mut held = fleet.decide(cluster, member, now);
    let other = held.as_ref().and_then(Held::other);
    if let Some(other) = other.filter(|other| fleet.may_be_gone(other, now))
        && is_gone(reconciler, &other).await?
    {
        fleet.forget(&other);
        held = fleet.decide(cluster, member, now);
    }
    let counts = fleet.counts();
    let set = |state: &str, count: usize| {
        let gauge = reconciler.metrics.rollouts.with_label_values(&[state]);
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    };
    set("rolling", counts.rolling);
    set("stuck", counts.stuck);
    set("waiting", counts.held);
    Ok(held)
}

async fn is_gone(reconciler: &Reconciler, cluster: &str) -> Result<bool, ReconcileError> {
    let Some((namespace, name)) = cluster.split_once('/') else {
        return Ok(true);
    };
    let api: Api<LogCluster> = Api::namespaced(reconciler.client.clone(), namespace);
    let found = api.get_metadata_opt(name).await;
    let found = found.map_err(|source| ReconcileError::Observe {
        what: format!("LogCluster {cluster}"),
        source: Box::new(source),
    })?;
    Ok(found.is_none())
}
