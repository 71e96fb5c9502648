//! Proposals: put into the log in the order of the calls, answered when applied.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use lograft_core::{LogId, Offset, Proposal, Term};
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use tokio::sync::oneshot;

use super::{Forward, RaftGroup};
use crate::convert::log_id_from_raft;
use crate::error::ProposeError;
use crate::fence::Fence;
use crate::state_machine::Response;
use crate::types::{AppData, CommittedLeaderId, OneshotResponder, Types};

/// A proposal that is committed and applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log.
    pub id: LogId,
    /// What applying it gave.
    pub response: Response,
}

/// A proposal on its way. Dropping it loses the answer, not the proposal.
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
    /// Proposes to the group. The proposal is refused unless this replica leads `expected_term`,
    /// the term of the status that the proposer has seen. Proposals whose calls returned one after
    /// the other stand in the log in that order.
    ///
    /// Returns once the proposal is on its way; waits while
    /// `limits::RAFT_PROPOSALS_MAX_COUNT` are. The handle gives the outcome.
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

    /// Proposes records that must come to stand exactly where their [`Fence`] says, or not at all:
    /// raft may refuse a proposal and take the next one, which builds on it. What does not fit is
    /// in the log as a blank entry and answered with [`Response::None`].
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
        ClientWriteError::LogEntryDiscarded(Forward {
            leader_id: leader, ..
        }) => ProposeError::Discarded { leader: *leader },
        ClientWriteError::ForwardToLeader(Forward {
            leader_id: leader, ..
        }) => ProposeError::NotLeader { leader: *leader },
        // Both are about memberships only.
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            ProposeError::NotLeader { leader: None }
        }
    }
}
