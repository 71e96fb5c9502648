//! This node's cluster membership, shared by all of control.

use std::sync::Arc;

use lograft_core::metadata::Metadata;
use lograft_core::{NodeId, NodeState};
use tokio::sync::watch;

use super::peer_calls::CallRoute;
use crate::identity::Member;

/// The cluster and the id of this node, once it is a member. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalMember(Arc<watch::Sender<Option<Member>>>);

impl LocalMember {
    /// The membership, or `None` before the node has entered a cluster.
    pub(crate) fn get(&self) -> Option<Member> {
        *self.0.borrow()
    }

    /// This node's id, or `None` before the node has entered a cluster.
    pub(crate) fn node(&self) -> Option<NodeId> {
        self.get().map(|member| member.node)
    }

    /// Publishes the membership. It never changes after that.
    pub(crate) fn set(&self, member: Member) {
        self.0.send_replace(Some(member));
    }

    /// Receives the membership when it is set.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Member>> {
        self.0.subscribe()
    }

    /// The route of a call to another node of the cluster.
    pub(crate) fn route_to(&self, to: NodeId) -> Option<CallRoute> {
        self.get().map(|from| CallRoute { from, to })
    }

    /// Whether the metadata says that this node was decommissioned.
    pub(crate) fn is_removed(&self, metadata: &Metadata) -> bool {
        let own = self.node().and_then(|node| metadata.node(node));
        own.is_some_and(|node| node.state == NodeState::Removed)
    }
}
