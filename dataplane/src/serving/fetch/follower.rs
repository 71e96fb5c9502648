//! Reads from replicas that need not lead.
//!
//! A replica has applied committed entries only, so that no read of it shows a record that may be
//! taken back. It may lag behind. So it answers only clients that ask for it, only up to its own
//! high watermark, only if it has all that the client has seen, and only while the age of what it
//! has applied is bounded. Otherwise the request goes to the leader, or the client is told where
//! that is.

use std::sync::Arc;

use lograft_core::limits::{
    FOLLOWER_AGE_MAX, FOLLOWER_CHECK_INTERVAL, FOLLOWER_POLL_INTERVAL, FOLLOWER_WAIT_MAX,
};
use lograft_core::{NodeId, Offset, Reason};
use lograft_raft::Role;
use tokio::time::{Instant, sleep, sleep_until};

use super::position;
use crate::error::ApiError;
use crate::serving::engine::LogEngine;
use crate::serving::replica::Replica;
use crate::serving::request::{Consistency, Position, ReadPoint, ReadTerms, Target};
use crate::state_machine::MetaView;

/// Decides whether this node's replica of a partition may answer a reader.
#[derive(Clone)]
pub(super) struct FollowerCheck {
    node: NodeId,
    meta: MetaView,
    /// The newest state that the reader has seen.
    seen: ReadPoint,
}

/// A replica that may answer a reader, and the check that it still may.
pub(super) struct FollowerRead {
    pub(super) replica: Arc<Replica>,
    pub(super) check: FollowerCheck,
}

/// Whether a replica may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It may.
    Current,
    /// It lags behind, which may pass in a moment.
    Behind,
    /// It has stopped, is moved away or under repair, or may not take part in its group.
    Out,
}

impl FollowerCheck {
    fn standing(&self, replica: &Replica) -> Standing {
        let (role, is_initialized, term) = {
            let status = replica.raft.watch();
            let status = status.borrow();
            (status.role, status.is_initialized(), status.term)
        };
        // A learner may be new: what is before the snapshot that it waits for is not in its log.
        let has_part = matches!(role, Role::Follower | Role::Candidate | Role::Leader);
        let is_sound = replica.raft.fence_stage().is_lifted() && self.is_assigned(replica);
        if !has_part || !is_initialized || !is_sound {
            return Standing::Out;
        }
        let has_seen = term >= self.seen.term
            && replica.state.watermarks().high_watermark >= self.seen.high_watermark;
        // With slow heartbeats, the state of a follower in good health is older.
        let age_max = FOLLOWER_AGE_MAX.max(replica.raft.contact_max());
        let age = replica.raft.applied_age();
        if has_seen && age.is_some_and(|age| age <= age_max) {
            Standing::Current
        } else {
            Standing::Behind
        }
    }

    /// Whether the replica is one of the partition's, and not under repair.
    fn is_assigned(&self, replica: &Replica) -> bool {
        let metadata = self.meta.load();
        let assigned = metadata.group(replica.group);
        assigned.is_some_and(|found| {
            let partition = found.partition;
            let is_repaired = partition.repair.is_some_and(|r| r.node == self.node);
            partition.replicas.contains(&self.node) && !is_repaired
        })
    }

    /// Fails with REPLICA_NOT_CURRENT if the replica may not answer, and not in a moment either.
    pub(super) async fn ensure(&self, replica: &Replica) -> Result<(), ApiError> {
        if self.is_current_soon(replica).await {
            return Ok(());
        }
        Err(ApiError::replica_not_current(None))
    }

    async fn is_current_soon(&self, replica: &Replica) -> bool {
        let deadline = Instant::now() + FOLLOWER_WAIT_MAX;
        let mut marks = replica.state.watch();
        loop {
            marks.mark_unchanged();
            match self.standing(replica) {
                Standing::Current => return true,
                Standing::Out => return false,
                Standing::Behind if Instant::now() >= deadline => return false,
                Standing::Behind => {}
            }
            // Neither a contact nor a new term changes the watermarks.
            let poll_at = deadline.min(Instant::now() + FOLLOWER_POLL_INTERVAL);
            tokio::select! {
                changed = marks.changed() => if changed.is_err() { return false },
                () = sleep_until(poll_at) => {}
            }
        }
    }

    /// Waits until there are records beyond an offset. Fails with REPLICA_NOT_CURRENT once the
    /// replica may not answer any more.
    pub(super) async fn wait_beyond(
        &self,
        replica: &Replica,
        offset: Offset,
    ) -> Result<(), ApiError> {
        let closing = |_| ApiError::replica_closing();
        let mut status = replica.raft.watch();
        let mut marks = replica.state.watch();
        loop {
            status.mark_unchanged();
            self.ensure(replica).await?;
            tokio::select! {
                grown = marks.wait_for(|marks| marks.high_watermark > offset) => {
                    return grown.map(drop).map_err(closing);
                }
                changed = status.changed() => changed.map_err(closing)?,
                // The silence of a leader changes nothing else.
                () = sleep(FOLLOWER_CHECK_INTERVAL) => {}
            }
        }
    }
}

/// This node's replica of the partition, if it shall answer whether it leads or not; none if the
/// leader answers. One that leads is no exception: its streams shall outlive its leadership. Fails
/// with REPLICA_NOT_CURRENT if the client routes, and shall ask the leader itself.
pub(super) async fn find(
    engine: &LogEngine,
    target: &Target,
    (terms, position): (&ReadTerms, Position),
) -> Result<Option<FollowerRead>, ApiError> {
    if terms.consistency != Consistency::Session || target.is_forwarded {
        return Ok(None);
    }
    let group = engine.locator.group(target).await?;
    let Some(replica) = engine.locator.replicas.get(group) else {
        return Ok(None);
    };
    let mut seen = terms.seen;
    if let Position::Offset(offset) = position {
        // The client may know the end of the log by other ways. An offset beyond the end of
        // this replica is no error here: its leader decides.
        seen.high_watermark = seen.high_watermark.max(offset);
    }
    let check = FollowerCheck {
        node: engine.locator.node,
        meta: engine.locator.meta.clone(),
        seen,
    };
    if check.is_current_soon(&replica).await {
        return Ok(Some(FollowerRead { replica, check }));
    }
    if terms.refuses_to_forward {
        let refused = ApiError::replica_not_current(None);
        return Err(engine.locator.with_leader(refused, group));
    }
    Ok(None)
}

/// Whether the leader shall answer a read that a follower has begun.
pub(super) fn is_for_leader(error: &ApiError, terms: &ReadTerms) -> bool {
    error.reason() == Some(Reason::ReplicaNotCurrent) && !terms.refuses_to_forward
}

/// Makes sure that the leader's answer is as new as the client asks for.
pub(super) async fn ensure_as_leader(replica: &Replica, terms: &ReadTerms) -> Result<(), ApiError> {
    let ReadPoint {
        term,
        high_watermark,
    } = terms.seen;
    // A leader that has less than its client has seen was probably replaced.
    let is_older = replica.state.watermarks().high_watermark < high_watermark
        || replica.raft.watch().borrow().term < term;
    if is_older || terms.consistency == Consistency::Linearizable {
        position::catch_up(replica).await?;
    }
    Ok(())
}

/// The target of a read of a client that may route: then it is answered here or refused.
pub(super) fn routed(target: &Target, terms: &ReadTerms) -> Target {
    Target {
        is_forwarded: target.is_forwarded || terms.refuses_to_forward,
        ..target.clone()
    }
}
