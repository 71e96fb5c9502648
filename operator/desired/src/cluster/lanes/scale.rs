//! Nodes leave by decommission, one at a time and the highest ordinal first; pods are removed after
//! their node has left. A node that is requested again before it has left stays.

use lograft_crds::names::ClusterNames;

use crate::cluster::action::Ask;
use crate::cluster::lane::Lane;
use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::{ClusterView, NodeState, ObservedNode};
use crate::cluster::wait::Wait;

/// Plans the next decommission. `stops_pod` is a result of the rollout's lane.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed, stops_pod: bool) -> Lane {
    let wanted = cluster.spec.replicas;
    let names = ClusterNames(&cluster.name);
    let mut lane = Lane::default();
    let Some(view) = &observed.view else {
        if observed.replicas() > wanted {
            lane.waits.push(Wait::ViewForDecommission);
        }
        return lane;
    };
    let is_wanted_again = |node: &&ObservedNode| {
        let ordinal = names.ordinal(&node.name);
        // A later member with the same name means that this node has lost its disk: it must leave.
        let is_last = view
            .node_of(&node.name)
            .is_some_and(|last| last.id == node.id);
        node.state == NodeState::Draining && is_last && ordinal.is_some_and(|at| at < wanted)
    };
    if let Some(node) = view.members().find(is_wanted_again) {
        let text = format!("recommissioning node {} ({})", node.id, node.name);
        lane.emit_event("Recommissioning", text);
        lane.asks.push(Ask::Recommission { node_id: node.id });
        return lane;
    }
    let leaving = view.members().filter_map(|node| {
        let ordinal = names.ordinal(&node.name)?;
        let is_surplus = ordinal >= wanted;
        (is_surplus || was_replaced(view, node)).then_some((ordinal, node))
    });
    let Some((_, node)) = leaving.max_by_key(|(ordinal, node)| (*ordinal, node.id)) else {
        return lane;
    };
    lane.waits.push(Wait::NodeDecommissioned {
        node_id: node.id,
        pod: node.name.clone(),
    });
    let is_start = node.state == NodeState::Active;
    // One disruption at a time: a pod that is replaced in this step is one. A decommission that has
    // started is repeated, since the request is idempotent and the first may have been lost.
    if is_start && stops_pod {
        return lane;
    }
    if is_start {
        let text = format!("decommissioning node {} ({})", node.id, node.name);
        lane.emit_event("Decommissioning", text);
    }
    lane.asks.push(Ask::Decommission { node_id: node.id });
    lane
}

/// Whether the node has lost its disk: its pod runs as another node that joined later.
fn was_replaced(view: &ClusterView, node: &ObservedNode) -> bool {
    let last = view.node_of(&node.name);
    !node.reachable && last.is_some_and(|last| last.id > node.id)
}
