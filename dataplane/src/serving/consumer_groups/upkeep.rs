//! The work of a coordinator that nobody asks for, while this node leads it: removes members that
//! are missed, follows changes of topics, and forgets what has expired.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use lograft_core::Term;
use lograft_core::consumer_group::{DueMember, DueReason, GroupCommand, GroupEvent, TopicLookup};
use lograft_core::limits::{
    GROUP_EXPIRY_CHECK_INTERVAL, GROUP_OFFSETS_RETENTION, GROUP_UNUSED_RETENTION,
};
use tokio::time::Instant;
use tracing::{debug, info};

use super::leading::Leading;
use super::membership::Memberships;
use super::subscriptions::Topics;
use crate::blocking::run_blocking;
use crate::error::ApiError;

/// Looks after the groups of a coordinator.
pub(super) struct Upkeep {
    leading: Arc<Leading>,
    memberships: Arc<Memberships>,
    is_running: AtomicBool,
    /// Whether all groups have to be compared with the topics.
    follows_topics: AtomicBool,
    /// When expired groups were last looked for, in which term.
    expiry: Mutex<Option<(Term, Instant)>>,
}

/// The work that is due.
#[derive(Debug, Default)]
struct Tasks {
    due: Vec<DueMember>,
    /// Whether all groups have to be compared with the topics.
    follows_topics: bool,
    /// Commands that forget.
    commands: Vec<GroupCommand>,
}

impl Tasks {
    fn is_empty(&self) -> bool {
        self.due.is_empty() && !self.follows_topics && self.commands.is_empty()
    }
}

impl Upkeep {
    pub(super) fn new(leading: Arc<Leading>, memberships: Arc<Memberships>) -> Self {
        Self {
            leading,
            memberships,
            is_running: AtomicBool::default(),
            follows_topics: AtomicBool::default(),
            expiry: Mutex::default(),
        }
    }

    /// Looks after the groups if this node leads them; returns whether it does. `has_new_topics`:
    /// topics or rights have changed since the last time.
    pub(super) fn check(self: &Arc<Self>, has_new_topics: bool) -> bool {
        if has_new_topics {
            self.follows_topics.store(true, Ordering::Relaxed);
        }
        let changed = self.leading.groups.take_changed();
        let Ok(term) = self.leading.term() else {
            // The next leader may have seen other topics than this one.
            self.follows_topics.store(true, Ordering::Relaxed);
            return false;
        };
        // Also those whose proposer has given up before they were applied.
        for group in changed {
            let membership = self.leading.membership(&group);
            self.leading.timers.observe(&group, &membership);
        }
        if self.is_running.load(Ordering::Acquire) {
            return true;
        }
        let tasks = self.tasks(term);
        if !tasks.is_empty() {
            self.is_running.store(true, Ordering::Release);
            let this = Arc::clone(self);
            tokio::spawn(async move {
                this.carry_out_all(tasks, term).await;
                this.is_running.store(false, Ordering::Release);
            });
        }
        true
    }

    fn tasks(&self, term: Term) -> Tasks {
        let mut tasks = Tasks {
            due: self.leading.timers.due(),
            follows_topics: self.follows_topics.swap(false, Ordering::Relaxed),
            commands: Vec::new(),
        };
        if self.is_expiry_due(term) {
            let now_ms = self.leading.deps.clock.now_ms();
            let state = self.leading.groups.lock();
            let expired = [
                state.unused(now_ms, GROUP_UNUSED_RETENTION),
                state.expired(now_ms, GROUP_OFFSETS_RETENTION),
            ];
            tasks.commands.extend(expired.into_iter().flatten());
        }
        tasks
    }

    /// Whether it is time to look for expired groups: at an interval, and not right after this node
    /// became the leader.
    // A clock that is wrong must not delete offsets: the clock of append times is compared with
    // those of the other nodes, and says so.
    fn is_expiry_due(&self, term: Term) -> bool {
        let now = Instant::now();
        let mut last = self.expiry.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((led, at)) if led == term => {
                let is_due = now.duration_since(at) >= GROUP_EXPIRY_CHECK_INTERVAL;
                if is_due && self.leading.deps.clock.is_usable() {
                    *last = Some((term, now));
                    return true;
                }
                false
            }
            _ => {
                *last = Some((term, now));
                false
            }
        }
    }

    async fn carry_out_all(&self, tasks: Tasks, term: Term) {
        let Tasks {
            due,
            follows_topics,
            mut commands,
        } = tasks;
        join_all(due.into_iter().map(|due| self.remove(due))).await;
        if follows_topics {
            let leading = Arc::clone(&self.leading);
            let compared = run_blocking(move || compare(&leading)).await;
            let (differing, forgotten) = compared.unwrap_or_default();
            join_all(differing.iter().map(|group| self.follow_topics(group))).await;
            commands.extend(forgotten);
        }
        for command in commands {
            let outcome = self.leading.carry_out(&command, term).await;
            self.retry_later(&outcome);
            log_failure(&outcome, command.name());
        }
    }

    async fn remove(&self, due: DueMember) {
        let DueMember {
            group,
            member,
            reason,
        } = due;
        let (label, why) = match reason {
            DueReason::SessionEnded => (
                "SESSION_ENDED",
                "it has made no call for its session timeout",
            ),
            DueReason::CallCut => ("CALL_CUT", "its connection was lost"),
            DueReason::RebalanceTimeout => (
                "REBALANCE_TIMEOUT",
                "it has not given up partitions in time",
            ),
        };
        let event = GroupEvent::Leave {
            member: member.clone(),
        };
        let outcome = self.memberships.submit(&group, event).await;
        if outcome.is_ok() {
            let removed = &self.leading.deps.metrics.groups.removed;
            removed.with_label_values(&[label]).inc();
            info!(consumer_group = %group, %member, why, "member removed from its group");
        }
        log_failure(&outcome, "remove a member");
    }

    async fn follow_topics(&self, group: &str) {
        let outcome = self
            .memberships
            .submit(group, GroupEvent::TopicsChanged)
            .await;
        self.retry_later(&outcome);
        log_failure(&outcome, "follow the topics");
    }

    fn retry_later(&self, outcome: &Result<(), ApiError>) {
        let is_retryable = |error: &ApiError| error.received_reason().is_retryable();
        if outcome.as_ref().is_err_and(is_retryable) {
            self.follows_topics.store(true, Ordering::Relaxed);
        }
    }
}

/// The groups whose topics differ from those by which their partitions were divided, and the
/// command that forgets the offsets of deleted topics, if there are any.
fn compare(leading: &Leading) -> (Vec<String>, Option<GroupCommand>) {
    let metadata = leading.deps.view.load();
    let topics = Topics::new(&metadata, &*leading.deps.rights);
    // Copied: apply waits for the lock.
    let (groups, known) = {
        let state = leading.groups.lock();
        let groups = state.groups();
        let with_members = groups.filter(|(_, group)| !group.membership().members.is_empty());
        let groups: Vec<_> = with_members
            .map(|(name, group)| (name.to_owned(), Arc::clone(group.membership())))
            .collect();
        (groups, state.offset_topics())
    };
    let changed = groups
        .into_iter()
        .filter(|(_, membership)| membership.topics_differ(&topics));
    let deleted: Vec<_> = known
        .into_iter()
        .filter(|topic| topics.is_deleted(*topic))
        .collect();
    let forgotten = (!deleted.is_empty()).then_some(GroupCommand::ForgetTopics { topics: deleted });
    (changed.map(|(name, _)| name).collect(), forgotten)
}

/// It is tried again: the state has not changed.
fn log_failure(outcome: &Result<(), ApiError>, action: &str) {
    if let Err(error) = outcome {
        debug!(%error, action, "a coordinator's upkeep failed, will retry");
    }
}

/// The interval must be a fraction of the retention.
const _: () =
    assert!(GROUP_EXPIRY_CHECK_INTERVAL.as_secs() * 10 < GROUP_OFFSETS_RETENTION.as_secs());
