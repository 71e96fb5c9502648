//! The feature level in status.

use lograft_crds::log_cluster::FeatureLevelStatus;

use crate::cluster::observed::Observed;
use crate::cluster::plan::Plan;
use crate::cluster::view::{ClusterView, FeatureLevel};
use crate::time::time;

/// The level as the cluster reports it. Without a report the finalized level is kept: it never
/// decreases, and the configuration of the nodes depends on it.
pub(super) fn next(
    old: Option<&FeatureLevelStatus>,
    observed: &Observed,
    plan: &Plan,
) -> Option<FeatureLevelStatus> {
    let view = observed.view.as_ref();
    let reported = view.map(|view| number(view.finalized_level));
    let finalized = old.map(|old| old.finalized).into_iter().chain(reported);
    let stable = plan.stable_nodes.as_ref();
    Some(FeatureLevelStatus {
        finalized: finalized.max()?,
        available: view.and_then(ClusterView::lowest_level).map(number),
        stable_version: stable.map(|nodes| nodes.version.clone()),
        stable_since: stable.and_then(|nodes| time(nodes.since_unix_seconds)),
    })
}

fn number(FeatureLevel(level): FeatureLevel) -> i64 {
    level.into()
}
