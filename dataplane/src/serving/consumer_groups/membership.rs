//! Changes of memberships. The leader computes what events make of a group, and proposes the result
//! as a whole, for exactly the generation that it was computed from. One proposal of a group is in
//! flight; events that come meanwhile are taken together by the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::Reason;
use lograft_core::consumer_group::{
    Applied, ConsumerGroup, GroupCommand, GroupError, GroupEvent, Stepped,
};
use lograft_core::limits::{GROUP_EVENTS_MAX_COUNT, GROUP_WRITE_ATTEMPTS_MAX_COUNT};
use tokio::sync::oneshot;

use super::leading::{Leading, unexpected};
use super::subscriptions::Topics;
use crate::blocking::run_blocking;
use crate::error::ApiError;

/// Writes the memberships of a coordinator's groups.
pub(super) struct Memberships {
    leading: Arc<Leading>,
    /// Events that wait, by group. A group without any has no entry.
    queues: Mutex<HashMap<String, EventQueue>>,
}

/// Events of a group that a writer has not taken yet. It exists while there is a writer.
type EventQueue = Vec<WaitingEvent>;

#[derive(Debug)]
struct WaitingEvent {
    event: GroupEvent,
    done: oneshot::Sender<Result<(), ApiError>>,
}

impl Memberships {
    pub(super) fn new(leading: Arc<Leading>) -> Self {
        Self {
            leading,
            queues: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, EventQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an event part of a group. Returns its outcome once it is committed and applied here.
    pub(super) async fn submit(
        self: &Arc<Self>,
        group: &str,
        event: GroupEvent,
    ) -> Result<(), ApiError> {
        let (done, outcome) = oneshot::channel();
        if self.push(group, WaitingEvent { event, done })? {
            // A task of its own: if it ran in this call and the caller were cancelled, the events
            // of others would be cancelled too.
            tokio::spawn(Arc::clone(self).write_all(group.to_owned()));
        }
        outcome
            .await
            .unwrap_or_else(|_| Err(ApiError::replica_closing()))
    }

    /// Adds an event. Returns whether the group needs a writer.
    fn push(&self, group: &str, event: WaitingEvent) -> Result<bool, ApiError> {
        let mut queues = self.lock();
        if let Some(queue) = queues.get_mut(group) {
            if queue.len() >= GROUP_EVENTS_MAX_COUNT {
                let text = format!(
                    "group {group:?} has {GROUP_EVENTS_MAX_COUNT} changes of its members in progress"
                );
                return Err(ApiError::new(Reason::NotReady, text));
            }
            queue.push(event);
            return Ok(false);
        }
        queues.insert(group.to_owned(), vec![event]);
        Ok(true)
    }

    /// The waiting events of a group. Its writer MUST end if there are none.
    fn take(&self, group: &str) -> EventQueue {
        let mut queues = self.lock();
        let events = queues.get_mut(group).map(std::mem::take);
        let events = events.unwrap_or_default();
        if events.is_empty() {
            queues.remove(group);
        }
        events
    }

    /// Writes memberships one after the other until no event waits.
    async fn write_all(self: Arc<Self>, group: String) {
        loop {
            let taken = self.take(&group).into_iter();
            let (events, done): (Vec<_>, Vec<_>) =
                taken.map(|waiting| (waiting.event, waiting.done)).unzip();
            if events.is_empty() {
                return;
            }
            let outcomes = self.write(&group, &events).await;
            // As applied, whatever became of this change.
            let membership = self.leading.membership(&group);
            self.leading.timers.observe(&group, &membership);
            for (position, done) in done.into_iter().enumerate() {
                let outcome = match &outcomes {
                    Ok(outcomes) => outcomes.get(position).cloned().unwrap_or(Ok(())),
                    Err(error) => Err(error.clone()),
                };
                // A cancelled call has no receiver.
                done.send(outcome).ok();
            }
        }
    }

    async fn write(
        &self,
        group: &str,
        events: &[GroupEvent],
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        for _ in 0..GROUP_WRITE_ATTEMPTS_MAX_COUNT {
            let term = self.leading.term()?;
            let before = self.leading.membership(group);
            let Stepped {
                group: after,
                outcomes,
            } = self.step(&before, events).await?;
            let outcomes = outcomes.into_iter().map(|outcome| Ok(outcome?)).collect();
            let Some(membership) = after else {
                return Ok(outcomes);
            };
            let command = GroupCommand::PutMembership {
                group: group.to_owned(),
                expected: before.generation,
                membership,
            };
            match self.leading.propose(&command, term).await? {
                Ok(Applied::Done) => {
                    self.leading.deps.metrics.groups.changes.inc();
                    return Ok(outcomes);
                }
                // A former leader's proposal came in between.
                Err(GroupError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(other) => return Err(unexpected(&other)),
            }
        }
        let text = format!("group {group:?} is being changed by another node");
        Err(ApiError::new(Reason::NotReady, text))
    }

    /// On a thread of its own: for large groups it takes a while.
    async fn step(
        &self,
        before: &Arc<ConsumerGroup>,
        events: &[GroupEvent],
    ) -> Result<Stepped, ApiError> {
        let deps = Arc::clone(&self.leading.deps);
        let (before, events) = (Arc::clone(before), events.to_vec());
        let stepping = move || {
            let metadata = deps.view.load();
            let topics = Topics::new(&metadata, &*deps.rights);
            before.step(&events, &topics, deps.clock.now_ms())
        };
        let stepped = run_blocking(stepping).await;
        stepped.ok_or_else(ApiError::replica_closing)
    }
}
