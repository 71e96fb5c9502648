//! Checks of requests between nodes: a request for another node, of another cluster, or from a node
//! that was removed is refused before any group sees it. Otherwise a node that kept an old address
//! could vote in a group that it is no member of.

use lograft_core::{ClusterId, GroupId, Incarnation, NodeId, NodeState};
use lograft_proto::raft::v1 as proto;
use lograft_raft::RaftGroup;

use crate::control::Control;
use crate::control::disk_fence::is_enforced;
use crate::convert::{ConvertError, Route};
use crate::identity::Member;
use crate::incarnation::Incarnations;

/// The parts of a node that the checks need.
pub(crate) trait GroupLookup: Send + Sync + 'static {
    /// The node's membership; `None` while it belongs to no cluster.
    fn member(&self) -> Option<Member>;

    /// The local member of a raft group.
    fn group(&self, group: GroupId) -> Option<RaftGroup>;

    /// Whether a node has been removed from the cluster. Its id is never used again.
    fn is_removed(&self, node: NodeId) -> bool;

    /// The known incarnations; `None` while the cluster has nodes that do not report theirs.
    fn incarnations(&self) -> Option<Incarnations>;
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

    fn incarnations(&self) -> Option<Incarnations> {
        // Before the metadata are replayed, what others have seen counts.
        let is_ignored = is_enforced(&self.view.load()) == Some(false);
        (!is_ignored).then(|| self.exchange.incarnations().clone())
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
    /// The disk of this node is older than another node has seen it.
    #[error("the disk of this node is older than its votes")]
    OlderDisk,
    /// The disk of the sender is older than this node has seen it.
    #[error("the disk of node {0} is older than its votes")]
    OlderSender(NodeId),
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

/// The incarnations in a vote request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct VoteClaims {
    /// The incarnation of the sender.
    pub(super) sender: Option<Incarnation>,
    /// The newest incarnation of this node that the sender has seen.
    pub(super) receiver_seen: Option<Incarnation>,
}

/// Refuses a vote from or to a node whose disk is older than its votes: it may have voted in this
/// term before. Heartbeats and entries are not refused: the leader checks the log of its follower.
pub(super) fn check_incarnations(
    lookup: &dyn GroupLookup,
    from: NodeId,
    claims: VoteClaims,
) -> Result<(), PeerRefusal> {
    let Some(known) = lookup.incarnations() else {
        return Ok(());
    };
    let VoteClaims {
        sender,
        receiver_seen,
    } = claims;
    if let Some(seen) = receiver_seen {
        known.hear_of_self(from, seen);
    }
    if sender.is_some() {
        known.set_answered(from);
    }
    if known.heard().is_some() {
        return Err(PeerRefusal::OlderDisk);
    }
    check_sender(lookup, from, sender)
}

/// Takes over the incarnation of the sender. Refuses it if a newer one is known.
pub(super) fn check_sender(
    lookup: &dyn GroupLookup,
    from: NodeId,
    sender: Option<Incarnation>,
) -> Result<(), PeerRefusal> {
    match (lookup.incarnations(), sender) {
        (Some(known), Some(sender)) if !known.observe(from, sender) => {
            Err(PeerRefusal::OlderSender(from))
        }
        _ => Ok(()),
    }
}

/// The local member of a group.
pub(super) fn find_group(
    lookup: &dyn GroupLookup,
    group: GroupId,
) -> Result<RaftGroup, PeerRefusal> {
    lookup.group(group).ok_or(PeerRefusal::NoReplica(group))
}
