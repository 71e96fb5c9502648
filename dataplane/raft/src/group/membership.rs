//! Membership changes: explicit requests to the group's leader.
//!
//! A membership never shrinks because a replica is silent. A replica that cannot be reached may
//! still hold acknowledged records and votes: if each side of a network partition removed the
//! other, both would have a quorum of their own and elect a leader (split brain), and a group
//! shrunk to one replica would acknowledge records that are on one disk only. Only a decommission,
//! a reassignment or a repair calls these methods.

use std::collections::BTreeSet;

use lograft_core::NodeId;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError as OpenraftError};

use super::{ForwardToLeader, RaftGroup};
use crate::error::RaftError;
use crate::types::Types;

type WriteError = OpenraftError<Types, ClientWriteError<Types>>;

impl RaftGroup {
    /// Adds a node as a learner, which receives the log or a snapshot and does not vote. Returns
    /// once the change is committed, not once the node has caught up (see
    /// [`GroupStatus::is_caught_up`](crate::GroupStatus::is_caught_up)). Does nothing for a member.
    ///
    /// Fails with [`RaftError::NotLeader`] or [`RaftError::ChangeInProgress`], after which the
    /// caller may retry, with [`RaftError::ChangeRefused`] or [`RaftError::Stopped`].
    pub async fn add_learner(&self, node: NodeId) -> Result<(), RaftError> {
        let status = self.status();
        if status.membership_committed
            && (status.voters.contains(&node) || status.learners.contains(&node))
        {
            return Ok(());
        }
        let raft = self.inner.raft.clone();
        run(async move { raft.add_learner(node, (), false).await }).await
    }

    /// Removes a learner from the group. Fails like [`RaftGroup::add_learner`].
    pub async fn remove_learner(&self, node: NodeId) -> Result<(), RaftError> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        let raft = self.inner.raft.clone();
        run(async move { raft.change_membership(change, false).await }).await
    }

    /// Makes exactly these nodes the voters. Each MUST already be a voter or a learner. The other
    /// voters leave the group; a leader that leaves transfers its leadership once the change is
    /// committed.
    ///
    /// Fails like [`RaftGroup::add_learner`]. Idempotent: if the leader is lost during the change,
    /// the same call on the next leader completes it.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), RaftError> {
        // Joint consensus: openraft first commits a membership of the old and the new voters, in
        // which elections and commits need a majority of both sets, and then the new voters alone.
        // Switching in one step would allow a majority of the old set and a majority of the new set
        // to elect two leaders in the same term. A group stays available in the joint state, so a
        // leader lost between the two steps is not an emergency. (Raft paper, section 6.)
        let change = ChangeMembers::ReplaceAllVoters(voters);
        let raft = self.inner.raft.clone();
        run(async move { raft.change_membership(change, false).await }).await
    }
}

/// Completes a change even if the caller's future is dropped, so that no joint membership remains.
async fn run<T, F>(change: F) -> Result<(), RaftError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, WriteError>> + Send + 'static,
{
    match tokio::spawn(change).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(change_error(error)),
        Err(_) => Err(RaftError::Stopped),
    }
}

fn change_error(error: WriteError) -> RaftError {
    let error = match error {
        OpenraftError::APIError(error) => error,
        OpenraftError::Fatal(_) => return RaftError::Stopped,
    };
    match error {
        ClientWriteError::ForwardToLeader(ForwardToLeader {
            leader_id: leader, ..
        })
        | ClientWriteError::LogEntryDiscarded(ForwardToLeader {
            leader_id: leader, ..
        }) => RaftError::NotLeader { leader },
        ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ) => RaftError::ChangeInProgress,
        other => RaftError::ChangeRefused {
            source: other.into(),
        },
    }
}
