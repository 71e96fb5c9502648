//! Checks of requests between nodes: a request for another node, of another cluster, or from a node
//! that was removed is refused before any group sees it. Otherwise a node that kept an old address
//! could vote in a group that it is no member of.

use lograft_core::{ClusterId, GroupId, NodeId, NodeState};
use lograft_proto::raft::v1 as proto;
use lograft_raft::RaftGroup;

use crate::control::Control;
use crate::convert::{ConvertError, Route};
use crate::identity::Member;

/// The parts of a node that the checks need.
pub(crate) trait GroupLookup: Send + Sync + 'static {
    /// The node's membership; `None` while it belongs to no cluster.
    fn member(&self) -> Option<Member>;

    /// The local member of a raft group.
    fn group(&self, group: GroupId) -> Option<RaftGroup>;

    /// Whether a node has been removed from the cluster. Its id is never used again.
    fn is_removed(&self, node: NodeId) -> bool;
}

impl GroupLookup for Control {
    fn member(&self) -> Option<Member> {
        self.member.get()
    }

    fn group(&self, group: GroupId) -> Option<RaftGroup> {
        self.replicas.raft(group)
    }

    fn is_removed(&self, node: NodeId) -> bool {
        let metadata = self.view.load();
        metadata
            .node(node)
            .is_some_and(|node| node.state == NodeState::Removed)
    }
}

/// Why a request of a peer is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerRefusal {
    /// The route does not decode.
    #[error("malformed route")]
    Route(#[from] ConvertError),
    /// This node belongs to no cluster.
    #[error("this node does not belong to a cluster")]
    NoCluster,
    /// The request is for another cluster.
    #[error("this node belongs to cluster {actual}, not {asked}")]
    OtherCluster {
        /// The cluster of this node.
        actual: ClusterId,
        /// The cluster of the request.
        asked: ClusterId,
    },
    /// The request is for another node.
    #[error("this is node {actual}, not node {asked}")]
    OtherNode {
        /// This node.
        actual: NodeId,
        /// The node of the request.
        asked: NodeId,
    },
    /// The sender was removed from the cluster.
    #[error("node {0} was removed from the cluster")]
    Removed(NodeId),
    /// This node has no replica of the group.
    #[error("replica of group {0} not found on this node")]
    NoReplica(GroupId),
    /// Too many heartbeats in one request.
    #[error("heartbeats must be at most {max_count}, got {count}")]
    Heartbeats {
        /// The count in the request.
        count: usize,
        /// The bound, `limits::HEARTBEATS_MAX_COUNT`.
        max_count: usize,
    },
}

/// Checks the route of a request.
pub(super) fn check_route(
    lookup: &dyn GroupLookup,
    route: Option<&proto::Route>,
) -> Result<Route, PeerRefusal> {
    let route = Route::from_proto(route)?;
    let me = lookup.member().ok_or(PeerRefusal::NoCluster)?;
    if route.cluster != me.cluster {
        return Err(PeerRefusal::OtherCluster {
            actual: me.cluster,
            asked: route.cluster,
        });
    }
    if route.to != me.node {
        return Err(PeerRefusal::OtherNode {
            actual: me.node,
            asked: route.to,
        });
    }
    if lookup.is_removed(route.from) {
        return Err(PeerRefusal::Removed(route.from));
    }
    Ok(route)
}

/// The local member of a group.
pub(super) fn find_group(
    lookup: &dyn GroupLookup,
    group: GroupId,
) -> Result<RaftGroup, PeerRefusal> {
    lookup.group(group).ok_or(PeerRefusal::NoReplica(group))
}
