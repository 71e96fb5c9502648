//! The feature level of a new version is finalized after all nodes have run it in good health for a
//! time. Before that every node may go back to the former version, afterwards none.
//!
//! The time starts again when a node changes its version, is lost, or a partition loses a replica.
//! It is kept in status, so a restart of the operator does not start it again. Work of other lanes,
//! such as the renewal of a certificate, delays the request but not the time.

use lograft_crds::log_cluster::Finalize;
use lograft_crds::names::ClusterNames;

use crate::cluster::action::Ask;
use crate::cluster::lane::Lane;
use crate::cluster::observed::Observed;
use crate::cluster::template::Template;
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::{
    ClusterView, FeatureLevel, NodeState, ObservedNode, ObservedPartition, StableNodes,
};
use crate::cluster::wait::{Intervention, Wait};

/// The arguments of [`plan`].
pub(crate) struct Input<'a> {
    pub(crate) cluster: &'a ValidCluster,
    pub(crate) observed: &'a Observed,
    pub(crate) template: &'a Template,
    /// Number of desired pods.
    pub(crate) pods: i32,
    /// Whether no other lane acts or waits.
    pub(crate) is_idle: bool,
}

/// The result of the lane.
#[derive(Default)]
pub(crate) struct FinalizeLane {
    pub(crate) lane: Lane,
    /// For status; none if there is nothing to finalize or the nodes are not stable.
    pub(crate) stable_nodes: Option<StableNodes>,
    /// When the level is due, seconds since 1970.
    pub(crate) due: Option<i64>,
}

/// Plans the finalization of the level that all nodes support.
pub(crate) fn plan(input: &Input<'_>) -> FinalizeLane {
    let Some(view) = &input.observed.view else {
        return FinalizeLane::default();
    };
    let mut result = FinalizeLane::default();
    report_finalized(&mut result.lane, input.cluster, view.finalized_level);
    // Also the case of nodes that report no level: they are of level 0.
    let Some(level) = view.lowest_level().filter(|l| *l > view.finalized_level) else {
        return result;
    };
    let update = &input.cluster.spec.update;
    if update.finalize == Finalize::Manual {
        let finalized = view.finalized_level;
        let wait = Intervention::LevelNotFinalized { level, finalized };
        result.lane.waits.push(wait.into());
        return result;
    }
    let Some(version) = stable_version(input, view) else {
        return result;
    };
    let now = input.observed.now_unix_seconds;
    let former = input.cluster.stable_nodes.as_ref();
    let former = former.filter(|nodes| nodes.version == version);
    let since = former.map_or(now, |nodes| nodes.since_unix_seconds.min(now));
    let due = since.saturating_add(update.finalize_after_seconds);
    result.lane.waits.push(Wait::LevelFinalized {
        level,
        version: version.clone(),
        after_seconds: update.finalize_after_seconds,
    });
    if now < due {
        result.due = Some(due);
    } else if input.is_idle {
        result.lane.asks.push(Ask::FinalizeLevel { level });
    }
    result.stable_nodes = Some(StableNodes {
        version,
        since_unix_seconds: since,
    });
    result
}

/// An event once the level is finalized, by the operator or by a person.
fn report_finalized(lane: &mut Lane, cluster: &ValidCluster, finalized: FeatureLevel) {
    if cluster.finalized_level.is_some_and(|old| old < finalized) {
        let text = format!("finalized {finalized}: older versions no longer start");
        lane.emit_event("LevelFinalized", text);
    }
}

/// The version that all nodes run, if the rollout is complete and the cluster healthy:
///
/// 1. Every desired pod exists, is ready, and was created from the desired template.
/// 2. There is one member for each pod and no other, active and reachable.
/// 3. The metadata group has a leader; every partition has one, and all its replicas are in sync.
/// 4. All nodes report the same version.
fn stable_version(input: &Input<'_>, view: &ClusterView) -> Option<String> {
    let Input {
        cluster,
        observed,
        template,
        pods,
        is_idle: _,
    } = input;
    let names = ClusterNames(&cluster.name);
    let is_settled = |ordinal: i32| {
        let node = view.node_of(&names.pod(ordinal));
        let pod = observed.pods.get(&ordinal);
        pod.is_some_and(|pod| pod.ready && !pod.terminating && !template.is_outdated(pod))
            && node.is_some_and(is_healthy_member)
    };
    let count = usize::try_from(*pods).ok()?;
    let are_complete = observed.replicas() == *pods
        && observed.pods.len() == count
        && view.members().count() == count
        && (0..*pods).all(is_settled);
    let are_groups_healthy =
        view.meta_leader.is_some() && view.partitions.iter().all(is_healthy_partition);
    if !cluster.bootstrapped || cluster.spec.paused || !are_complete || !are_groups_healthy {
        return None;
    }
    let first = view.members().next()?;
    let is_same = view.members().all(|node| node.version == first.version);
    (is_same && !first.version.is_empty()).then(|| first.version.clone())
}

fn is_healthy_member(node: &ObservedNode) -> bool {
    node.reachable && node.state == NodeState::Active
}

fn is_healthy_partition(partition: &ObservedPartition) -> bool {
    partition.leader.is_some() && partition.replicas.iter().all(|replica| replica.in_sync)
}
