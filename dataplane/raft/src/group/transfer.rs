//! Transfers of leadership.
//!
//! From the moment a leader is told to hand over, openraft lets it take no proposals for the rest
//! of its term, whether or not its word arrived: so the word is repeated, and a leader whose
//! successor does not come forward falls silent until another is elected.

use lograft_core::NodeId;
use lograft_core::limits::{RAFT_TRANSFER_TIMEOUT, TRANSFER_LAG_MAX_COUNT};
use tokio::time::{Instant, timeout};

use super::RaftGroup;
use crate::error::RaftError;
use crate::status::Role;

impl RaftGroup {
    /// Hands leadership to a voter that has nearly all of the log. Returns once it leads. This
    /// replica takes no proposals meanwhile. If it does not work out within
    /// `limits::RAFT_TRANSFER_TIMEOUT`, the group elects whom it likes.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), RaftError> {
        let status = self.status();
        if !status.is_leader() {
            return Err(RaftError::NotLeader {
                leader: status.leader,
            });
        }
        if !status.voters.contains(&to) && !status.joint.as_ref().is_some_and(|j| j.contains(&to)) {
            return Err(RaftError::NotVoter { node: to });
        }
        if to == status.node {
            return Ok(());
        }
        if !status.is_caught_up(to, TRANSFER_LAG_MAX_COUNT) {
            return Err(RaftError::NotCaughtUp { node: to });
        }
        let group = self.clone();
        // Goes on if the caller gives up: a leader left half way takes no proposals.
        match tokio::spawn(async move { group.hand_over(to).await }).await {
            Ok(result) => result,
            Err(_) => Err(RaftError::Stopped),
        }
    }

    async fn hand_over(&self, to: NodeId) -> Result<(), RaftError> {
        let deadline = Instant::now() + RAFT_TRANSFER_TIMEOUT;
        let mut status = self.watch();
        while Instant::now() < deadline {
            let trigger = self.inner.raft.trigger().transfer_leader(to).await;
            trigger.map_err(|_| RaftError::Stopped)?;
            let settled = status.wait_for(|now| {
                now.role == Role::Stopped || now.leader.is_some_and(|leader| leader != now.node)
            });
            match timeout(self.inner.config.timing.election_min, settled).await {
                Err(_) => {}
                Ok(Err(_)) => return Err(RaftError::Stopped),
                Ok(Ok(now)) if now.role == Role::Stopped => return Err(RaftError::Stopped),
                Ok(Ok(now)) if now.leader == Some(to) => return Ok(()),
                Ok(Ok(now)) => return Err(RaftError::NotLeader { leader: now.leader }),
            }
        }
        self.fall_silent().await;
        Err(RaftError::Timeout {
            what: "the new leader",
        })
    }

    /// Lets the followers elect another leader.
    async fn fall_silent(&self) {
        tracing::warn!(group = %self.group(), "the successor did not take over, standing down");
        let heartbeat = |enabled| self.inner.raft.runtime_config().heartbeat(enabled);
        heartbeat(false);
        let mut status = self.watch();
        let gone = status.wait_for(|now| now.role != Role::Leader);
        timeout(RAFT_TRANSFER_TIMEOUT, gone).await.ok();
        heartbeat(true);
    }
}
