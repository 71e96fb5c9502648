//! Changes of a group's membership: explicit, by its leader.

use std::collections::BTreeSet;

use lograft_core::NodeId;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError as OpenraftError};

use super::{Forward, RaftGroup};
use crate::error::RaftError;
use crate::types::Types;

type WriteError = OpenraftError<Types, ClientWriteError<Types>>;

impl RaftGroup {
    /// Makes a node a learner: it gets the log (or a snapshot) from now on. Returns once this is
    /// committed, not once the node has caught up: see
    /// [`GroupStatus::is_caught_up`](crate::GroupStatus::is_caught_up). Does nothing for a member.
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

    /// Removes a learner from the group.
    pub async fn remove_learner(&self, node: NodeId) -> Result<(), RaftError> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        let raft = self.inner.raft.clone();
        run(async move { raft.change_membership(change, false).await }).await
    }

    /// Makes exactly these nodes the voters. Each must be a voter or learner by now. Voters that
    /// are not among them leave the group; a leader among these hands leadership over.
    ///
    /// Two steps of raft: a leader lost between them leaves the group in the joint state, in which
    /// it works on; the same call on the next leader completes the change.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), RaftError> {
        let change = ChangeMembers::ReplaceAllVoters(voters);
        let raft = self.inner.raft.clone();
        run(async move { raft.change_membership(change, false).await }).await
    }
}

/// Runs a change to its end even if the caller gives up: half a change is a joint membership.
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
        ClientWriteError::ForwardToLeader(Forward {
            leader_id: leader, ..
        })
        | ClientWriteError::LogEntryDiscarded(Forward {
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
