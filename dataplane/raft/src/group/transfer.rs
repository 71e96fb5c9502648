//! Leadership transfer.
//!
//! Once a transfer has started, openraft accepts no more proposals for the rest of the leader's
//! term, even if the request never reaches the successor. (A leader that accepted more could stay
//! ahead of its successor, which then wins no election. Raft dissertation, section 3.10.) So a
//! transfer cannot be cancelled: the leader repeats the request, and if no successor takes over in
//! time, it stops its heartbeats so that the followers elect a leader. Otherwise the group would
//! keep a leader that rejects all writes.

use lograft_core::NodeId;
use lograft_core::limits::{RAFT_TRANSFER_TIMEOUT, TRANSFER_LAG_MAX_COUNT};
use tokio::time::{Instant, timeout};

use super::RaftGroup;
use crate::error::RaftError;
use crate::status::Role;

impl RaftGroup {
    /// Transfers the leadership to a voter that has nearly all of the log. Returns once it is the
    /// leader. This replica rejects proposals in the meantime. If the transfer does not succeed
    /// within `limits::RAFT_TRANSFER_TIMEOUT`, the group elects any of its voters.
    ///
    /// Fails with [`RaftError::NotLeader`] (also if another node became the leader),
    /// [`RaftError::NotVoter`] or [`RaftError::NotCaughtUp`] before anything changed, with
    /// [`RaftError::Timeout`] or with [`RaftError::Stopped`].
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
        // A separate task completes the transfer even if the caller's future is dropped: a leader
        // that stopped half way would reject all proposals until the end of its term.
        match tokio::spawn(async move { group.complete_transfer(to).await }).await {
            Ok(result) => result,
            Err(_) => Err(RaftError::Stopped),
        }
    }

    async fn complete_transfer(&self, to: NodeId) -> Result<(), RaftError> {
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
        self.step_down("leadership transfer timed out").await;
        Err(RaftError::Timeout {
            what: "the new leader",
        })
    }

    /// Stops the heartbeats until the followers have elected another leader.
    pub(super) async fn step_down(&self, reason: &'static str) {
        tracing::warn!(group = %self.group(), reason, "stepping down");
        let heartbeat = |enabled| self.inner.raft.runtime_config().heartbeat(enabled);
        heartbeat(false);
        let mut status = self.watch();
        let gone = status.wait_for(|now| now.role != Role::Leader);
        timeout(RAFT_TRANSFER_TIMEOUT, gone).await.ok();
        heartbeat(true);
    }
}
