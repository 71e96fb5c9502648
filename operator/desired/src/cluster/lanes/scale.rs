//! Nodes leave by decommission, the highest ordinal first; a pod goes after its node. One that is
//! wanted again before it has left stays.

use lograft_crds::names::ClusterNames;

use crate::{Ask, NodeSeen, NodeState, Observed, ValidCluster, View};

/// What the lane came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scale {
    /// The node to decommission, or to keep, if there is one.
    pub(crate) ask: Option<Ask>,
    /// What it waits for.
    pub(crate) wait: Option<String>,
    /// The node, when this is its decommission's begin.
    pub(crate) begun: Option<String>,
    /// The node that stays after all.
    pub(crate) kept: Option<String>,
}

/// One node at a time.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed) -> Scale {
    let mut found = Scale::default();
    let wanted = cluster.spec.replicas;
    let names = ClusterNames(&cluster.name);
    let Some(view) = &observed.view else {
        if observed.replicas() > wanted {
            found.wait = Some("a node to answer, so that nodes can leave".to_owned());
        }
        return found;
    };
    let at_work = || {
        let nodes = view.nodes.iter();
        nodes.filter(|node| node.state != NodeState::Removed)
    };
    let is_kept = |node: &&NodeSeen| {
        let ordinal = names.ordinal(&node.name);
        // Another node in its place means that this one's disk is lost.
        let is_last = view
            .node_of(&node.name)
            .is_some_and(|last| last.id == node.id);
        node.state == NodeState::Draining && is_last && ordinal.is_some_and(|at| at < wanted)
    };
    if let Some(NodeSeen { id, name, .. }) = at_work().find(is_kept) {
        found.ask = Some(Ask::Recommission { node_id: *id });
        found.kept = Some(format!("{id} ({name})"));
        return found;
    }
    let leaving = at_work().filter_map(|node| {
        let ordinal = names.ordinal(&node.name)?;
        let is_above = ordinal >= wanted;
        (is_above || was_replaced(view, node)).then_some((ordinal, node))
    });
    let Some((_, node)) = leaving.max_by_key(|(ordinal, node)| (*ordinal, node.id)) else {
        return found;
    };
    let NodeSeen { id, name, .. } = node;
    found.ask = Some(Ask::Decommission { node_id: *id });
    found.wait = Some(format!(
        "node {id} ({name}) to hand over what it holds and leave"
    ));
    found.begun = (node.state == NodeState::Active).then(|| format!("{id} ({name})"));
    found
}

/// Whether the node's disk is lost: its pod runs as another node that joined later.
fn was_replaced(view: &View, node: &NodeSeen) -> bool {
    let last = view.node_of(&node.name);
    !node.reachable && last.is_some_and(|last| last.id > node.id)
}

/// Disks below `spec.replicas` whose node has left for ever, and that no pod has: a node that
/// comes to such a place begins on an empty one.
pub(crate) fn spent(cluster: &ValidCluster, observed: &Observed, standing: i32) -> Vec<i32> {
    let names = ClusterNames(&cluster.name);
    let Some(view) = &observed.view else {
        return Vec::new();
    };
    let is_spent = |at: &i32| {
        let pod = names.pod(*at);
        let was_here = view.nodes.iter().any(|node| node.name == pod);
        was_here && view.node_of(&pod).is_none() && !observed.pods.contains_key(at)
    };
    let places = standing..cluster.spec.replicas;
    let with_disk = places.filter(|at| observed.disks.contains_key(at));
    with_disk.filter(is_spent).collect()
}

/// How many pods may be wanted now: those above wait until old disks are out of their way, or
/// until a node tells whether they are.
pub(crate) fn room(cluster: &ValidCluster, observed: &Observed, standing: i32) -> i32 {
    let wanted = cluster.spec.replicas;
    let spent = spent(cluster, observed, standing);
    let is_unknown = |at: &i32| {
        cluster.bootstrapped && observed.view.is_none() && observed.disks.contains_key(at)
    };
    let unknown = (standing..wanted).find(is_unknown);
    let first = spent.first().copied().into_iter().chain(unknown).min();
    first.map_or(wanted, |first| first.min(wanted))
}
