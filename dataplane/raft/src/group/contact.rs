//! The time of a replica's last contact with the leader of its group.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::{LogIndex, Term};
use openraft::async_runtime::{Instant as _, WatchReceiver};
use tokio::time::Instant;

use super::RaftGroup;
use crate::convert::log_id_from_raft;
use crate::state_machine_adapter::Raft;
use crate::status::Role;
use crate::wire::{AppendReply, AppendRequest};

/// The leader's commit, and when it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    term: Term,
    commit: Option<LogIndex>,
    at: Instant,
}

#[derive(Debug, Default)]
struct Contact {
    /// When the replica last accepted a request of a leader.
    last: Option<Instant>,
    /// The commit in the last request, until it is answered.
    requested: Option<Heard>,
    /// The commit in an accepted request that is not applied yet.
    awaited: Option<Heard>,
    /// All that the leader knew to be committed at this time is applied here.
    current_at: Option<Instant>,
}

impl Contact {
    // Only committed entries are compared, and there is one of them at an index.
    fn advance(&mut self, applied: Option<LogIndex>) {
        if let Some(heard) = self.awaited.filter(|heard| heard.commit <= applied) {
            self.current_at = Some(heard.at);
            self.awaited = None;
        }
    }
}

/// How far a replica is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    term: Term,
    applied: Option<LogIndex>,
}

impl Progress {
    pub(super) fn of(raft: &Raft) -> Self {
        let server = raft.server_metrics();
        let term = Term(server.borrow_watched().vote.leader_id.term);
        let applied = applied_index(raft);
        Self { term, applied }
    }
}

/// The contact of a replica with the leader of its group. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct LeaderContact(Arc<Mutex<Contact>>);

impl LeaderContact {
    /// Notes what a leader knows to be committed. It counts once the request is accepted, and not
    /// if no majority acknowledges the leader: others may commit without it. A leader that has
    /// committed nothing of its own term yet may know less than was committed before it.
    pub(super) fn on_request(&self, request: &AppendRequest) {
        let heard = Heard {
            term: request.vote.term,
            commit: request.leader_commit.map(|id| id.index),
            at: Instant::now(),
        };
        let commit = request.leader_commit;
        let has_committed = commit.is_some_and(|id| id.term == request.vote.term);
        self.lock().requested = (!request.isolated && has_committed).then_some(heard);
    }

    /// Notes a reply to a leader. Only an accepted request proves that its sender leads.
    pub(super) fn on_reply(&self, reply: &AppendReply, progress: Progress) {
        let Progress { term, applied } = progress;
        let mut contact = self.lock();
        // Requests and replies of several leaders may be mixed; those before this term commit
        // nothing more.
        let requested = contact.requested.take();
        let requested = requested.filter(|heard| heard.term == term);
        if !matches!(reply, AppendReply::Accepted(_)) {
            return;
        }
        contact.last = Some(Instant::now());
        contact.advance(applied);
        if contact.awaited.is_none() {
            contact.awaited = requested;
            contact.advance(applied);
        }
    }

    fn last(&self) -> Option<Instant> {
        self.lock().last
    }

    fn current_at(&self, applied: Option<LogIndex>) -> Option<Instant> {
        let mut contact = self.lock();
        contact.advance(applied);
        contact.current_at
    }

    fn lock(&self) -> MutexGuard<'_, Contact> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Time without an acknowledgement by a majority after which a leader does not serve any more.
    pub fn contact_max(&self) -> Duration {
        self.inner.config.timing.contact_max()
    }

    /// Upper bound of the age of this replica's applied state: all that was committed this long
    /// ago is applied here, as far as a leader with a majority has told. `None` before the first
    /// time.
    pub fn applied_age(&self) -> Option<Duration> {
        let is_ready = self.inner.status.borrow().ready;
        if is_ready && let Some(age) = self.contact_age() {
            return Some(age);
        }
        let applied = applied_index(&self.inner.raft);
        let current_at = self.inner.contact.current_at(applied);
        current_at.map(|at| at.elapsed())
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

/// The index of the last applied entry.
fn applied_index(raft: &Raft) -> Option<LogIndex> {
    let applied = raft.watch_apply_progress().get();
    applied.as_ref().map(|id| log_id_from_raft(id).index)
}

/// On a leader, the time since a majority acknowledged it; `None` before the first time.
pub(super) fn quorum_contact_age(raft: &Raft) -> Option<Duration> {
    let data = raft.data_metrics();
    let acked = data.borrow_watched().last_quorum_acked?;
    Some(acked.into_inner().elapsed())
}

#[cfg(test)]
mod tests {
    use lograft_core::{LogId, NodeId, Vote};

    use super::*;

    fn request(commit: Option<u64>, isolated: bool) -> AppendRequest {
        AppendRequest {
            vote: Vote {
                term: Term(1),
                voted_for: NodeId(1),
                committed: true,
            },
            prev: None,
            entries: Vec::new(),
            leader_commit: commit.map(|index| LogId {
                term: Term(1),
                index: LogIndex(index),
            }),
            isolated,
        }
    }

    const ACCEPTED: AppendReply = AppendReply::Accepted(None);

    const fn at(applied: u64) -> Progress {
        Progress {
            term: Term(1),
            applied: Some(LogIndex(applied)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_as_old_as_the_commit_that_it_has_applied() {
        let contact = LeaderContact::default();
        let started = Instant::now();
        let current = |applied| {
            let at = contact.current_at(Some(LogIndex(applied)));
            at.map(|at| at.duration_since(started).as_secs())
        };
        let hear = |commit, isolated, applied| {
            contact.on_request(&request(Some(commit), isolated));
            contact.on_reply(&ACCEPTED, at(applied));
        };
        let second = Duration::from_secs(1);
        hear(7, false, 5);
        assert_eq!(current(6), None, "entry 7 is not applied");
        tokio::time::advance(second).await;
        assert_eq!(current(7), Some(0), "since it was heard, not since applied");
        hear(7, false, 7);
        assert_eq!(current(7), Some(1));
        tokio::time::advance(second).await;
        hear(7, true, 7);
        assert_eq!(current(7), Some(1), "a leader without a majority");
        contact.on_request(&request(Some(7), false));
        contact.on_reply(&AppendReply::HigherVote(request(None, false).vote), at(7));
        contact.on_request(&request(Some(7), false));
        let newer = Progress {
            term: Term(2),
            ..at(7)
        };
        contact.on_reply(&ACCEPTED, newer);
        assert_eq!(
            current(7),
            Some(1),
            "a request that was refused, and one of a former leader"
        );
        assert_eq!(contact.last(), Some(started + 2 * second));
        // While entries arrive all the time, none of them is the last one.
        for commit in 8..12 {
            hear(commit, false, commit - 1);
            tokio::time::advance(second).await;
        }
        assert_eq!(current(10), Some(4));
    }
}
