//! The deadlines of members, while this node leads their coordinator.

use std::collections::hash_map::{Entry, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::consumer_group::{
    Call, ConsumerGroup, CoordinatorState, DueMember, MemberId, Sessions,
};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The sessions of a coordinator's members, and the clock that they are counted by.
#[derive(Debug)]
pub(super) struct Timers {
    sessions: Mutex<Sessions>,
    /// Ends the latest call of each member, while that is in progress.
    latest: Mutex<HashMap<Caller, Arc<Notify>>>,
    started: Instant,
}

/// A group and a member of it.
type Caller = (String, MemberId);

impl Default for Timers {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            latest: Mutex::default(),
            started: Instant::now(),
        }
    }
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Gives all members a new session.
    pub(super) fn restart(&self, state: &CoordinatorState) {
        let now = self.now();
        let mut sessions = self.lock();
        sessions.restart();
        for (name, group) in state.groups() {
            sessions.observe(name, group.membership(), now);
        }
    }

    /// Takes over the members of a group after a change.
    pub(super) fn observe(&self, group: &str, membership: &ConsumerGroup) {
        let now = self.now();
        self.lock().observe(group, membership, now);
    }

    /// The number of members.
    pub(super) fn member_count(&self) -> usize {
        self.lock().member_count()
    }

    /// The members whose deadline has passed.
    pub(super) fn due(&self) -> Vec<DueMember> {
        let now = self.now();
        self.lock().due(now)
    }

    fn latest(&self) -> MutexGuard<'_, HashMap<Caller, Arc<Notify>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of a member, which shows that it is alive. Dropped without an answer, it was cut off.
    /// It ends the wait of the member's call before, whose caller has given it up.
    pub(super) fn call<'a>(&'a self, group: &'a str, member: &'a MemberId) -> PendingCall<'a> {
        let repeated = Arc::new(Notify::new());
        let caller = (group.to_owned(), member.clone());
        let former = self.latest().insert(caller, Arc::clone(&repeated));
        if let Some(former) = former {
            former.notify_one();
        }
        PendingCall {
            timers: self,
            group,
            member,
            repeated,
            call: Some(self.lock().called(group, member)),
        }
    }
}

/// A call of a member that waits for its answer.
pub(super) struct PendingCall<'a> {
    timers: &'a Timers,
    group: &'a str,
    member: &'a MemberId,
    repeated: Arc<Notify>,
    call: Option<Call>,
}

impl PendingCall<'_> {
    /// Ends once the member makes another call.
    pub(super) async fn repeated(&self) {
        self.repeated.notified().await;
    }

    /// The call has its answer: the member's session starts.
    pub(super) fn answered(mut self) {
        if let Some(call) = self.call.take() {
            let now = self.timers.now();
            let mut sessions = self.timers.lock();
            sessions.answered(self.group, self.member, call, now);
        }
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        let caller = (self.group.to_owned(), self.member.clone());
        if let Entry::Occupied(latest) = self.timers.latest().entry(caller)
            && Arc::ptr_eq(latest.get(), &self.repeated)
        {
            latest.remove();
        }
        if let Some(call) = self.call.take() {
            let now = self.timers.now();
            self.timers.lock().cut(self.group, self.member, call, now);
        }
    }
}
