//! Proposals: appended to the log in the order of the calls, answered when applied.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use lograft_core::{LogId, Offset, Proposal, Term};
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use tokio::sync::oneshot;

use super::{ForwardToLeader, RaftGroup};
use crate::convert::log_id_from_raft;
use crate::error::ProposeError;
use crate::fence::Fence;
use crate::state_machine::Response;
use crate::types::{AppData, CommittedLeaderId, OneshotResponder, Types};

/// The result of a proposal that is committed, and applied on this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The position of its entry in the log.
    pub id: LogId,
    /// The state machine's response.
    pub response: Response,
}

/// A future of a proposal's result. Dropping it does not cancel the proposal.
#[derive(Debug)]
pub struct ProposeHandle {
    answer: oneshot::Receiver<ClientWriteResult<Types>>,
}

impl Future for ProposeHandle {
    type Output = Result<Committed, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer)
            .poll(cx)
            .map(|answer| match answer {
                Ok(Ok(done)) => Ok(Committed {
                    id: log_id_from_raft(&done.log_id),
                    response: done.data,
                }),
                Ok(Err(error)) => Err(propose_error(&error)),
                Err(_) => Err(ProposeError::Stopped),
            })
    }
}

impl RaftGroup {
    /// Proposes an entry to the group. The proposal is rejected unless this replica is the leader
    /// of `expected_term`, the term of the status that the proposer has seen. If two calls return
    /// one after the other, their entries are in the log in that order.
    ///
    /// Returns once the proposal is queued, and waits while `limits::RAFT_PROPOSALS_MAX_COUNT`
    /// proposals are. The handle gives the result. Fails only if the replica is stopped.
    pub async fn propose(
        &self,
        proposal: Proposal,
        expected_term: Term,
    ) -> Result<ProposeHandle, ProposeError> {
        self.write(
            AppData {
                proposal,
                base_offset: Offset::ZERO,
                fence: None,
            },
            expected_term,
        )
        .await
    }

    /// Proposes records for exactly the position that their [`Fence`] names. A proposal that does
    /// not fit is voided: the log contains a blank entry instead, and the response is
    /// [`Response::None`]. The caller may then propose the records again, in a new chain.
    pub async fn propose_fenced(
        &self,
        proposal: Proposal,
        expected_term: Term,
        fence: Fence,
    ) -> Result<ProposeHandle, ProposeError> {
        let data = AppData {
            proposal,
            base_offset: Offset::ZERO,
            fence: Some(fence),
        };
        self.write(data, expected_term).await
    }

    async fn write(
        &self,
        data: AppData,
        expected_term: Term,
    ) -> Result<ProposeHandle, ProposeError> {
        // The only voter of a group commits alone: it must not while its disk is older.
        if !self.inner.fence.stage().is_lifted() {
            return Err(ProposeError::NotLeader { leader: None });
        }
        // `with_leader` makes openraft reject the proposal if the term has changed. Without it, a
        // batch that was checked for duplicates against the state of one term could enter the log
        // in a later one, after another leader has already appended a retry of the same batch.
        let (tx, answer) = oneshot::channel();
        let written = self
            .inner
            .raft
            .write(data)
            .with_leader(CommittedLeaderId::new(expected_term.get()))
            .responder(OneshotResponder { tx });
        match written.await {
            Ok(()) => Ok(ProposeHandle { answer }),
            Err(_) => Err(ProposeError::Stopped),
        }
    }
}

fn propose_error(error: &ClientWriteError<Types>) -> ProposeError {
    match error {
        ClientWriteError::LogEntryDiscarded(ForwardToLeader {
            leader_id: leader, ..
        }) => ProposeError::Discarded { leader: *leader },
        ClientWriteError::ForwardToLeader(ForwardToLeader {
            leader_id: leader, ..
        }) => ProposeError::NotLeader { leader: *leader },
        // Membership changes only.
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            ProposeError::NotLeader { leader: None }
        }
    }
}
