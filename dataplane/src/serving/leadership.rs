//! The leader of a partition as a replica on this node sees it.

use lograft_core::{NodeId, Term};
use lograft_raft::{RaftGroup, Role};

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// This node. It has applied everything that was committed before its term, so it may serve.
    Ready(Term),
    /// This node, but it has not yet applied everything that was committed before its term. A read
    /// now could miss acknowledged records.
    NotReady,
    /// Another node.
    Other(NodeId, Term),
    /// No node, as far as the replica knows.
    Unknown,
}

impl Leadership {
    /// The current view of a replica.
    pub(crate) fn of(raft: &RaftGroup) -> Self {
        let status = raft.watch();
        let status = status.borrow();
        match (status.role, status.leader) {
            (Role::Leader, _) if status.ready => Self::Ready(status.term),
            (Role::Leader, _) => Self::NotReady,
            (Role::Follower | Role::Learner, Some(node)) if node != status.node => {
                Self::Other(node, status.term)
            }
            _ => Self::Unknown,
        }
    }
}
