//! The time of a replica's last contact with the leader of its group.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::async_runtime::{Instant as _, WatchReceiver};
use tokio::time::Instant;

use super::RaftGroup;
use crate::state_machine_adapter::Raft;
use crate::status::Role;
use crate::wire::AppendReply;

/// When the replica last accepted a request of a leader. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct LeaderContact(Arc<Mutex<Option<Instant>>>);

impl LeaderContact {
    /// Notes a reply to a leader. Only an accepted request proves that its sender leads.
    pub(super) fn on_reply(&self, reply: &AppendReply) {
        if matches!(reply, AppendReply::Accepted(_)) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftGroup {
    /// Time since this replica last had contact with its group: on a leader, since a quorum
    /// acknowledged it; on other replicas, since they accepted a request of a leader. What it has
    /// applied is at most about this old. `None` without any contact since the start.
    ///
    /// The leader in the status does not say this: a replica that is cut off keeps its term, and
    /// with it the leader that it followed last.
    pub fn contact_age(&self) -> Option<Duration> {
        let status = self.status();
        if status.role != Role::Leader {
            return self.inner.contact.last().map(|last| last.elapsed());
        }
        let is_alone = status.joint.is_none() && status.voters.iter().eq([&status.node]);
        if is_alone {
            return Some(Duration::ZERO);
        }
        quorum_contact_age(&self.inner.raft)
    }

    /// Waits until this replica leads without contact to a majority: its proposals may stay
    /// undecided for as long as it is cut off.
    pub async fn contact_lost(&self) {
        let mut isolated = self.inner.isolated.clone();
        if isolated.wait_for(|isolated| *isolated).await.is_err() {
            // The replica has stopped, and its proposals are answered.
            std::future::pending::<()>().await;
        }
    }
}

/// On a leader, the time since a majority acknowledged it; `None` before the first time.
pub(super) fn quorum_contact_age(raft: &Raft) -> Option<Duration> {
    let data = raft.data_metrics();
    let acked = data.borrow_watched().last_quorum_acked?;
    Some(acked.into_inner().elapsed())
}
