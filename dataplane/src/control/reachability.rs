//! Reachability of the other nodes, measured by the leader-watch streams to them.
//!
//! Reachability chooses between candidates (the next leader, a learner to promote). It never
//! removes a member: a silent node keeps its votes until it is decommissioned.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lograft_core::NodeId;

/// The reachable nodes.
#[derive(Debug, Default)]
pub(crate) struct Reachability(Mutex<BTreeSet<NodeId>>);

impl Reachability {
    /// Whether the stream to a node is open.
    pub(crate) fn is_reachable(&self, node: NodeId) -> bool {
        self.lock().contains(&node)
    }

    /// Records that the stream to a node was opened.
    pub(crate) fn set_reachable(&self, node: NodeId) {
        self.lock().insert(node);
    }

    /// Records that the stream to a node has ended.
    pub(crate) fn set_unreachable(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
