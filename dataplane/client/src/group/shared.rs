//! The state that a group consumer shares with its tasks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::membership::{Assignment, Membership};
use super::partition::GroupPartition;
use crate::error::ClientError;

/// Whether the member goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It goes on.
    Running,
    /// It commits and leaves the group.
    Leave,
    /// It commits, and its session goes on for the next start.
    Stay,
}

/// State of a group consumer.
pub(super) struct Shared {
    state: Mutex<State>,
    polls: Mutex<Polls>,
    /// Until when the coordinator counts the member as alive, by its last answer; unset while calls
    /// fail.
    alive_until: Mutex<Option<Instant>>,
    /// Whether the consumer has to look at the state before it hands out further records.
    has_news: AtomicBool,
    /// There is news for the consumer.
    changed: Notify,
    /// There is news for the task that sends heartbeats.
    acknowledged: Notify,
    /// A commit has found that the member is not in the group.
    lost: Notify,
    stop: watch::Sender<Stop>,
}

#[derive(Default)]
struct State {
    membership: Membership,
    /// An error to report once.
    report: Option<ClientError>,
    /// The error that ended the member.
    ended: Option<ClientError>,
    /// Whether the member is out of the group until the application asks for records again.
    is_away: bool,
}

/// When the application asked for records.
struct Polls {
    /// Calls that wait for records now.
    waiting: u32,
    last: Instant,
}

/// Marks a call that waits for records.
pub(super) struct Polling<'a>(&'a Shared);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let mut polls = self.0.polls();
        polls.waiting -= 1;
        polls.last = Instant::now();
    }
}

impl Shared {
    pub(super) fn new(assignment: Assignment) -> Self {
        let shared = Self {
            state: Mutex::default(),
            polls: Mutex::new(Polls {
                waiting: 0,
                last: Instant::now(),
            }),
            alive_until: Mutex::default(),
            has_news: AtomicBool::new(true),
            changed: Notify::new(),
            acknowledged: Notify::new(),
            lost: Notify::new(),
            stop: watch::Sender::new(Stop::Running),
        };
        shared.accept(assignment);
        shared
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn polls(&self) -> MutexGuard<'_, Polls> {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes the membership.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Membership) -> T) -> T {
        change(&mut self.state().membership)
    }

    fn announce(&self) {
        self.has_news.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    // For the tasks.

    pub(super) fn accept(&self, assignment: Assignment) {
        self.with(|membership| membership.accept(assignment));
        self.announce();
    }

    /// The coordinator counts the member as alive for so long from now on.
    pub(super) fn alive_for(&self, time: Duration) {
        *self.alive_until() = Some(Instant::now() + time);
    }

    /// A call has failed: whether the member is still in its group is not known. Records are read
    /// on, since the coordinator may be unavailable for a while.
    pub(super) fn call_failed(&self) {
        *self.alive_until() = None;
        self.announce();
    }

    fn alive_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.alive_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lose_all(&self) {
        self.with(Membership::lose_all);
        self.announce();
    }

    /// The member was not in the group when it committed under `generation`. It hands out nothing
    /// more of what it has read, and joins again, unless it has done so meanwhile.
    pub(super) fn lose_all_of(&self, generation: u64) {
        let is_lost = self.with(|membership| {
            let is_current = membership.generation() == generation;
            if is_current {
                membership.lose_all();
            }
            is_current
        });
        if is_lost {
            self.announce();
            self.lost.notify_one();
        }
    }

    /// Waits until a commit has found that the member is not in the group. Ready for as long as it
    /// has not joined again: a late notice is no reason to drop what it has got by joining.
    pub(super) async fn outside(&self) {
        while self.with(|membership| membership.is_in_group()) {
            self.lost.notified().await;
        }
    }

    pub(super) fn refuse(&self, partition: &GroupPartition, since: u64) {
        self.with(|membership| membership.refuse(partition, since));
        self.announce();
    }

    /// Reports an error once; the member goes on.
    pub(super) fn report(&self, error: ClientError) {
        self.state().report = Some(error);
        self.announce();
    }

    /// The member has left until the application asks for records again.
    pub(super) fn go_away(&self, error: ClientError) {
        {
            let mut state = self.state();
            state.membership.lose_all();
            state.report = Some(error);
            state.is_away = true;
        }
        self.announce();
    }

    /// The member ends with an error.
    pub(super) fn end(&self, error: ClientError) {
        {
            let mut state = self.state();
            state.membership.lose_all();
            state.ended = Some(error);
        }
        self.announce();
    }

    /// Waits until the application asks for records again, after the member has left.
    pub(super) async fn back(&self) {
        while self.state().is_away {
            self.acknowledged.notified().await;
        }
    }

    /// Waits until the consumer may have acknowledged an assignment.
    pub(super) async fn acknowledged(&self) {
        self.acknowledged.notified().await;
    }

    /// Waits until the application has not asked for records for so long.
    pub(super) async fn unused_for(&self, interval: Duration) {
        loop {
            let idle = {
                let polls = self.polls();
                let is_waiting = polls.waiting > 0;
                if is_waiting {
                    Duration::ZERO
                } else {
                    polls.last.elapsed()
                }
            };
            if idle >= interval {
                return;
            }
            sleep(interval.saturating_sub(idle)).await;
        }
    }

    /// Waits until the member has to stop.
    pub(super) async fn stopping(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        let stopped = stop.wait_for(|stop| *stop != Stop::Running).await;
        stopped.map_or(Stop::Leave, |stop| *stop)
    }

    // For the consumer.

    pub(super) fn stop(&self, how: Stop) {
        self.stop.send_replace(how);
    }

    /// Whether the session has ended by this machine's clock, and no call has failed: the process
    /// was stopped for a while. Others may have its partitions, so nothing is handed out until the
    /// next answer of the coordinator.
    pub(super) fn is_overdue(&self) -> bool {
        self.alive_until()
            .is_some_and(|until| Instant::now() > until)
    }

    pub(super) fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }

    /// To be called before the state is read: news that arrive meanwhile are seen later.
    pub(super) fn take_news(&self) {
        self.has_news.store(false, Ordering::Release);
    }

    /// There is more to do before records are handed out.
    pub(super) fn keep_news(&self) {
        self.has_news.store(true, Ordering::Release);
    }

    /// Waits for news.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the task that sends heartbeats.
    pub(super) fn wake(&self) {
        self.acknowledged.notify_one();
    }

    /// The application asks for records, and may wait for as long as this exists.
    pub(super) fn polling(&self) -> Polling<'_> {
        self.polls().waiting += 1;
        Polling(self)
    }

    /// The application asks for a record that it gets at once.
    pub(super) fn polled(&self) {
        self.polls().last = Instant::now();
    }

    /// Fails with an error that was not reported yet, or has ended the member. After the former
    /// the next call goes on.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let mut state = self.state();
        if let Some(error) = state.report.take() {
            return Err(error);
        }
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        let was_away = std::mem::take(&mut state.is_away);
        drop(state);
        if was_away {
            self.wake();
        }
        Ok(())
    }

    /// The error that ended the member, or says that it is not in the group.
    pub(super) fn ended(&self) -> Option<ClientError> {
        self.state().ended.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::FutureExt as _;

    use super::*;

    fn assignment(generation: u64) -> Assignment {
        Assignment {
            generation,
            partitions: BTreeMap::new(),
        }
    }

    #[test]
    fn a_late_notice_that_the_member_is_unknown_does_not_end_its_new_membership() {
        let shared = Shared::new(assignment(3));
        assert_eq!(shared.outside().now_or_never(), None);
        shared.lose_all_of(3);
        assert_eq!(shared.outside().now_or_never(), Some(()));
        // It joins again before its task has seen the notice.
        shared.accept(assignment(4));
        assert_eq!(shared.outside().now_or_never(), None);
        // A commit that was under way since before.
        shared.lose_all_of(3);
        assert_eq!(shared.outside().now_or_never(), None);
        shared.lose_all_of(4);
        assert_eq!(shared.outside().now_or_never(), Some(()));
    }
}
