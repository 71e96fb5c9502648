//! Fencing a replica whose disk is older than its promises, or which joins, and lifting the fence.
//! See [`crate::vote_fence`].

use lograft_core::{LogId, NodeId};

use super::RaftGroup;
use crate::error::RaftError;
use crate::vote_fence::FenceStage;

impl RaftGroup {
    /// Fences the replica, or asks again for a target: from now on it grants no vote, starts no
    /// election, leads no more, and acknowledges nothing before [`RaftGroup::set_catch_up_target`].
    ///
    /// The fence is in memory. The caller MUST have recorded it durably, or do so before anything
    /// that would make the disk look current again.
    pub fn fence(&self) {
        self.inner.fence.set(FenceStage::Asking);
        self.update_campaigns();
    }

    /// The stage of the fence.
    pub fn fence_stage(&self) -> FenceStage {
        self.inner.fence.stage()
    }

    /// Lets a fenced replica take entries up to `target`, which the confirmed leader has named.
    /// That of a replica that joins MUST be recorded durably before: once it is a voter, there may
    /// be no other one to ask.
    pub fn set_catch_up_target(&self, target: LogId) {
        self.inner.fence.set_target(target);
    }

    /// Whether a fenced replica has all entries up to its target on disk.
    pub fn is_caught_up_to_target(&self) -> bool {
        self.inner.fence.stage().is_caught_up(self.flushed())
    }

    /// The last entry on disk.
    pub fn flushed(&self) -> Option<LogId> {
        let log = self.log();
        let index = log.flushed_index()?;
        let term = log.term_at(index)?;
        Some(LogId { term, index })
    }

    /// Lifts the fence. The caller MUST have removed its durable record: the replica has caught up,
    /// or an operator accepts what it may have lost.
    pub fn lift_fence(&self) {
        self.inner.fence.set(FenceStage::Lifted);
        self.update_campaigns();
    }

    /// Fails with [`RaftError::Fenced`] unless the replica may vote, campaign and lead. One that
    /// joins may do so from the moment at which it has the entry that added it: its leader may hand
    /// over to it at once.
    pub(super) fn check_fence(&self) -> Result<(), RaftError> {
        let is_joining = matches!(self.fence_stage(), FenceStage::Joining(_));
        if is_joining && self.is_caught_up_to_target() {
            self.lift_fence();
        }
        self.inner.fence.check_lifted()
    }

    /// Whether the replica was started without campaigns and not released since.
    pub fn is_held(&self) -> bool {
        self.inner.fence.is_held()
    }

    /// Allows the campaigns of a replica that was started without them.
    pub fn release(&self) {
        self.inner.fence.hold(false);
        self.update_campaigns();
    }

    /// The end of this leader's log, once a majority has confirmed the leadership after the call:
    /// the target of the fenced replica on `node`. For a learner it is the entry of the membership:
    /// what the node has promised before it became a learner counts no more.
    ///
    /// Fails with [`RaftError::NotMember`] if the committed membership does not include the node:
    /// one that was removed meanwhile does not return by being caught up. Also fails with
    /// [`RaftError::NotLeader`], [`RaftError::NoQuorum`], [`RaftError::Fenced`] or
    /// [`RaftError::Stopped`].
    pub async fn catch_up_target(&self, node: NodeId) -> Result<LogId, RaftError> {
        self.check_fence()?;
        let status = self.status();
        let not_leader = RaftError::NotLeader {
            leader: status.leader,
        };
        // Read before the majority confirms, so that it has all that the node has acknowledged to
        // this leader. The first entry of its term is there: what the node acknowledged to earlier
        // leaders is before it.
        let last = status.last.filter(|last| last.term == status.term);
        let Some(last) = last.filter(|_| status.ready) else {
            return Err(not_leader);
        };
        let joint = status.joint.iter().flatten();
        let mut members = status.voters.iter().chain(joint).chain(&status.learners);
        if !status.membership_committed || !members.any(|member| *member == node) {
            return Err(RaftError::NotMember { node });
        }
        self.ensure_linearizable().await?;
        if self.status().term != status.term {
            return Err(not_leader);
        }
        let is_learner = status.learners.contains(&node);
        Ok(status.membership.filter(|_| is_learner).unwrap_or(last))
    }

    fn update_campaigns(&self) {
        let may_campaign = self.inner.fence.may_campaign();
        self.inner.raft.runtime_config().elect(may_campaign);
    }
}
