//! Transfers leaderships on request: a single one to a given node, or all of this node before it
//! stops, so that clients do not have to wait for an election.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{RAFT_TRANSFER_TIMEOUT, STOP_SUCCESSOR_INTERVAL};
use lograft_core::{GroupId, NodeId, Reason, Term};
use lograft_raft::{GroupStatus, RaftError, RaftGroup};
use tracing::{debug, info};

use super::leader_lookup::LeaderLookup;
use super::local_member::LocalMember;
use super::peer_calls::{LeaderMove, PeerCallError, PeerCalls, PeerFailure};
use super::reachability::Reachability;
use crate::error::ApiError;
use crate::error_text::error_chain;
use crate::serving::replica::ReplicaMap;

/// Error of a leadership transfer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    /// Nobody is known to lead the group.
    #[error("group {0} has no leader")]
    NoLeader(GroupId),
    /// Raft on this node refused or failed.
    #[error(transparent)]
    Raft(RaftError),
    /// The leader refused, or did not answer.
    #[error("node {leader}: {source}")]
    Peer {
        /// The leader.
        leader: NodeId,
        /// Its answer.
        source: PeerCallError,
    },
}

impl TransferError {
    /// The reason for the caller, unless the leader has refused with one.
    fn reason(&self) -> Reason {
        match self {
            Self::Raft(RaftError::NotVoter { .. }) => Reason::InvalidArgument,
            Self::Raft(RaftError::Timeout { .. }) => Reason::Timeout,
            Self::NoLeader(_) | Self::Raft(_) => Reason::NoLeader,
            Self::Peer { source, .. } => match source.failure {
                PeerFailure::FailedPrecondition => Reason::InvalidArgument,
                PeerFailure::Timeout => Reason::Timeout,
                _ => Reason::NoLeader,
            },
        }
    }
}

impl From<TransferError> for ApiError {
    fn from(error: TransferError) -> Self {
        let error = match error {
            TransferError::Peer { leader, source } => match source.into_refusal(leader) {
                Ok(refusal) => return refusal,
                Err(source) => TransferError::Peer { leader, source },
            },
            error => error,
        };
        Self::new(error.reason(), error_chain(&error))
    }
}

/// Transfers leaderships.
#[derive(Clone)]
pub(crate) struct LeaderTransfer {
    pub(crate) member: LocalMember,
    pub(crate) replicas: ReplicaMap,
    pub(crate) leaders: LeaderLookup,
    pub(crate) reachability: Arc<Reachability>,
    pub(crate) peers: Arc<dyn PeerCalls>,
}

impl LeaderTransfer {
    /// Transfers a group's leadership from its leader, on whichever node that is. Returns the new
    /// leader and its term. Succeeds without a transfer if `to` leads already.
    pub(crate) async fn transfer(
        &self,
        group: GroupId,
        to: NodeId,
    ) -> Result<(NodeId, Term), TransferError> {
        let no_leader = TransferError::NoLeader(group);
        let Some((leader, term)) = self.leaders.leader_of(group) else {
            return Err(no_leader);
        };
        if leader == to {
            return Ok((leader, term));
        }
        if self.member.node() == Some(leader) {
            return self
                .transfer_local(group, to)
                .await
                .map_err(TransferError::Raft);
        }
        let Some(route) = self.member.route_to(leader) else {
            return Err(no_leader);
        };
        let leader_move = LeaderMove { group, to };
        self.peers
            .move_leader(route, leader_move, RAFT_TRANSFER_TIMEOUT * 2)
            .await
            .map_err(|source| TransferError::Peer { leader, source })
    }

    /// Transfers a leadership that this node has. Returns the new leader and its term.
    pub(crate) async fn transfer_local(
        &self,
        group: GroupId,
        to: NodeId,
    ) -> Result<(NodeId, Term), RaftError> {
        let raft = self
            .replicas
            .raft(group)
            .ok_or(RaftError::NotLeader { leader: None })?;
        raft.transfer_leader(to).await?;
        Ok((to, raft.status().term))
    }

    /// Transfers all leaderships of this node to other nodes, as far as one can take over. Returns
    /// after `timeout` at the latest.
    pub(crate) async fn transfer_all(&self, timeout: Duration) {
        let rafts = self.replicas.rafts();
        let transfers = rafts.iter().map(|raft| self.transfer_to_successor(raft));
        let all = futures_util::future::join_all(transfers);
        if tokio::time::timeout(timeout, all).await.is_err() {
            info!(?timeout, "leadership transfer timed out");
        }
    }

    async fn transfer_to_successor(&self, raft: &RaftGroup) {
        loop {
            let status = raft.status();
            if !status.is_leader() {
                return;
            }
            let successor = successor(&status, |node| self.reachability.is_reachable(node));
            let Some(to) = successor else {
                return;
            };
            match raft.transfer_leader(to).await {
                // Under load followers are behind for a moment only.
                Err(RaftError::NotCaughtUp { .. }) => {
                    tokio::time::sleep(STOP_SUCCESSOR_INTERVAL).await;
                }
                Err(error) => {
                    let error = error_chain(&error);
                    debug!(group = %raft.group(), to_node_id = %to, error,
                        "cannot transfer leadership");
                    return;
                }
                Ok(()) => return,
            }
        }
    }
}

/// The reachable voter with the smallest lag.
fn successor(status: &GroupStatus, is_reachable: impl Fn(NodeId) -> bool) -> Option<NodeId> {
    status.closest_follower(|node| {
        node != status.node && status.voters.contains(&node) && is_reachable(node)
    })
}

#[cfg(test)]
mod tests {
    use lograft_core::ReceivedReason;

    use super::*;
    use crate::control::test_status::{caught_up, leading};

    #[test]
    fn a_refusal_of_the_leader_reaches_the_client_unchanged() {
        let failed = |failure| {
            ApiError::from(TransferError::Peer {
                leader: NodeId(3),
                source: PeerCallError {
                    failure,
                    text: "no answer".to_owned(),
                },
            })
        };
        let newer = ReceivedReason::from_wire("OF_A_LATER_VERSION", 9, Some(true)).unwrap();
        let newer = ApiError::new(newer, "not today").with("hint", "later");
        let refused = PeerFailure::Refused(Box::new(newer.clone()));
        assert_eq!(failed(refused), newer);
        let unknown = failed(PeerFailure::UnknownCall("MoveLeader"));
        assert_eq!(unknown.reason(), Some(Reason::VersionTooOld));
        let timeout = failed(PeerFailure::Timeout);
        assert_eq!(timeout.reason(), Some(Reason::Timeout));
        assert_eq!(timeout.text(), "node 3: no answer");
    }

    #[test]
    fn the_successor_is_the_reachable_voter_with_the_smallest_lag() {
        let mut status = leading(1, &[1, 2, 3]);
        assert_eq!(successor(&status, |_| true), None);
        caught_up(&mut status, 2, 5);
        caught_up(&mut status, 3, 1);
        caught_up(&mut status, 4, 0);
        assert_eq!(
            successor(&status, |_| true),
            Some(NodeId(3)),
            "4 is not a voter"
        );
        assert_eq!(
            successor(&status, |node| node != NodeId(3)),
            Some(NodeId(2))
        );
    }
}
