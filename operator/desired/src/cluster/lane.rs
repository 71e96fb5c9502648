//! The result of one lane of a plan.

use crate::ObjectKey;
use crate::cluster::action::{Action, Ask, Event};
use crate::cluster::wait::Wait;

/// The result of one lane: what it does now, and what it waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lane {
    /// Actions of this step.
    pub(crate) actions: Vec<Action>,
    /// Requests to the data plane in this step.
    pub(crate) asks: Vec<Ask>,
    /// Unfinished work, the most important first.
    pub(crate) waits: Vec<Wait>,
    /// Events to publish.
    pub(crate) events: Vec<Event>,
}

/// A lane with work that becomes due.
#[derive(Debug, Default)]
pub(crate) struct TimedLane {
    pub(crate) lane: Lane,
    /// When to look again, seconds since 1970; none if nothing becomes due.
    pub(crate) next_check: Option<i64>,
}

impl From<Lane> for TimedLane {
    fn from(lane: Lane) -> Self {
        Self {
            lane,
            next_check: None,
        }
    }
}

impl Lane {
    /// A lane that does nothing but wait.
    pub(crate) fn waiting(wait: impl Into<Wait>) -> Self {
        Self {
            waits: vec![wait.into()],
            ..Self::default()
        }
    }

    /// Adds an event about the cluster.
    pub(crate) fn emit_event(&mut self, reason: &'static str, text: String) {
        self.events.push(Event {
            reason,
            text,
            is_warning: false,
            about: None,
        });
    }

    /// Adds an event that needs attention.
    pub(crate) fn emit_warning(&mut self, reason: &'static str, text: String) {
        self.events.push(Event {
            reason,
            text,
            is_warning: true,
            about: None,
        });
    }

    /// Adds an event about an object.
    pub(crate) fn emit_event_about(
        &mut self,
        about: ObjectKey,
        reason: &'static str,
        text: String,
    ) {
        self.events.push(Event {
            reason,
            text,
            is_warning: false,
            about: Some(about),
        });
    }

    /// Whether the lane stops a pod in this step.
    pub(crate) fn stops_pod(&self) -> bool {
        let is_stop = |action: &Action| matches!(action, Action::Stop(_));
        self.actions.iter().any(is_stop)
    }
}
