//! The leadership of a coordinator: what this node may do with its groups, and in which term.

use std::sync::Arc;

use lograft_core::consumer_group::{Applied, ConsumerGroup, GroupCommand, GroupOutcome};
use lograft_core::{NodeId, Reason, Term};
use tokio::sync::watch;

use super::proposals;
use super::subscriptions::ReadRights;
use super::timers::Timers;
use crate::clock::Clock;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::serving::leadership::Leadership;
use crate::serving::replica::Replica;
use crate::state_machine::{MetaView, SharedGroups};

/// The parts that all coordinators of a node use.
pub(super) struct CoordinatorDeps {
    pub(super) node: NodeId,
    pub(super) view: MetaView,
    pub(super) rights: Arc<dyn ReadRights>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// A coordinator's replica on this node, with the timers that run while the node leads.
pub(super) struct Leading {
    pub(super) deps: Arc<CoordinatorDeps>,
    pub(super) replica: Arc<Replica>,
    pub(super) groups: SharedGroups,
    pub(super) timers: Timers,
    /// The term that this node leads in, by the latest look. Ends the calls that wait.
    led: watch::Sender<Option<Term>>,
}

impl Leading {
    pub(super) fn new(
        deps: Arc<CoordinatorDeps>,
        replica: Arc<Replica>,
        groups: SharedGroups,
    ) -> Self {
        Self {
            deps,
            replica,
            groups,
            timers: Timers::default(),
            led: watch::Sender::new(None),
        }
    }

    /// The term that this node leads in. Fails with NOT_LEADER if it does not, or may not serve.
    ///
    /// In a new term all members get a whole session: what the former leader had counted is gone.
    pub(super) fn term(&self) -> Result<Term, ApiError> {
        let found = match Leadership::of(&self.replica.raft) {
            Leadership::Ready(term) => Some(term),
            Leadership::NotReady(_) | Leadership::Other(..) | Leadership::Unknown(_) => None,
        };
        let is_new = self
            .led
            .send_if_modified(|led| std::mem::replace(led, found) != found);
        if is_new && found.is_some() {
            self.timers.restart(&self.groups.lock());
        }
        found.ok_or_else(|| ApiError::not_leader(None))
    }

    /// The membership of a group, as applied.
    pub(super) fn membership(&self, group: &str) -> Arc<ConsumerGroup> {
        self.groups.lock().membership(group)
    }

    /// Commits a command in a term.
    pub(super) async fn propose(
        &self,
        command: &GroupCommand,
        term: Term,
    ) -> Result<GroupOutcome, ApiError> {
        let now_ms = self.deps.clock.now_ms();
        proposals::propose(&self.replica.raft, (command, term), now_ms).await
    }

    /// The replica was closed: the calls that wait end.
    pub(super) fn end(&self) {
        self.led.send_replace(None);
    }

    /// Ends when this node leads in the term no more, by the latest look.
    pub(super) async fn end_of(&self, term: Term) {
        let mut led = self.led.subscribe();
        // An error would mean that `self` is dropped.
        led.wait_for(|led| *led != Some(term)).await.ok();
    }

    /// Commits a command that is done or refused.
    pub(super) async fn carry_out(
        &self,
        command: &GroupCommand,
        term: Term,
    ) -> Result<(), ApiError> {
        match self.propose(command, term).await? {
            Ok(Applied::Done | Applied::Deleted { .. }) => Ok(()),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error.into()),
        }
    }
}

/// An outcome of another kind than that of its command. It would be a defect.
pub(super) fn unexpected(outcome: &Applied) -> ApiError {
    let text = format!("a group's command had the outcome of another: {outcome:?}");
    ApiError::new(Reason::Internal, text)
}
