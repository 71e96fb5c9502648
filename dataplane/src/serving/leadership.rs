//! The leader of a partition as a replica on this node sees it.

use lograft_core::{NodeId, Term};
use lograft_raft::{RaftGroup, Role};

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// This node. It has applied everything that was committed before its term, so it may serve.
    Ready(Term),
    /// This node, in this term, but it may not serve: it has not yet applied everything that was
    /// committed before its term, so a read now could miss acknowledged records; or its disk does
    /// not flush or no majority acknowledges it, so that another node has probably taken over.
    NotReady(Term),
    /// Another node.
    Other(NodeId, Term),
    /// No node, as far as the replica knows. It has seen this term.
    Unknown(Term),
}

impl Leadership {
    /// The current view of a replica.
    pub(crate) fn of(raft: &RaftGroup) -> Self {
        let status = raft.watch();
        let status = status.borrow();
        match (status.role, status.leader) {
            (Role::Leader, _) if status.ready => Self::Ready(status.term),
            (Role::Leader, _) => Self::NotReady(status.term),
            (Role::Follower | Role::Learner, Some(node)) if node != status.node => {
                Self::Other(node, status.term)
            }
            _ => Self::Unknown(status.term),
        }
    }
}
