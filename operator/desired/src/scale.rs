//! Nodes leave by decommission, the highest ordinal first; a pod goes after its node. One that is
//! wanted again before it has left stays.

use lograft_crds::names::ClusterNames;

use crate::{Answer, Ask, NodeSeen, NodeState, Observed, ValidCluster};

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
        node.state == NodeState::Draining
            && ordinal.is_some_and(|at| at < wanted && !was_replaced(observed, at, node))
    };
    if let Some(NodeSeen { id, name, .. }) = at_work().find(is_kept) {
        found.ask = Some(Ask::Recommission { node_id: *id });
        found.kept = Some(format!("{id} ({name})"));
        return found;
    }
    let leaving = at_work().filter_map(|node| {
        let ordinal = names.ordinal(&node.name)?;
        let is_above = ordinal >= wanted;
        (is_above || was_replaced(observed, ordinal, node)).then_some((ordinal, node))
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
fn was_replaced(observed: &Observed, ordinal: i32, node: &NodeSeen) -> bool {
    match observed.answers.get(&ordinal) {
        Some(Answer::Member { node_id, .. }) => *node_id > node.id && !node.reachable,
        Some(Answer::Empty | Answer::Silent(_)) | None => false,
    }
}
