//! The plan of a LogTopic as data.

use lograft_crds::limits::{TOPIC_REQUEUE_SECONDS, TOPIC_WAITING_SECONDS};

use crate::topic::observed::ObservedTopic;
use crate::topic::request::Request;
use crate::topic::wait::Wait;

/// The next step. Its parts are carried out in the order of the fields; the first that fails ends
/// it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Change of the finalizer.
    pub finalizer: FinalizerChange,
    /// Whether the creation is marked in status before it is requested: its answer may be lost.
    pub marks_creation: bool,
    /// Request to the data plane.
    pub request: Option<Request>,
    /// Event to publish once the request has succeeded.
    pub done: Option<Event>,
    /// Events to publish.
    pub events: Vec<Event>,
    /// What keeps the LogTopic from being ready, the most important first.
    pub waits: Vec<Wait>,
    /// The topic, if the LogTopic owns it.
    pub owned: Option<ObservedTopic>,
    /// Whether the plan would do harm if the list of topics were older than the last request.
    pub needs_recent_list: bool,
}

/// Change of the finalizer of a LogTopic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinalizerChange {
    /// None.
    #[default]
    Keep,
    /// Add it.
    Add,
    /// Remove it.
    Remove,
    /// Remove it once the request has succeeded.
    RemoveOnceDone,
}

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it needs attention.
    pub is_warning: bool,
    /// Reason as one CamelCase word, for programs.
    pub reason: &'static str,
    /// Sentence for people.
    pub text: String,
}

impl Event {
    pub(crate) fn normal(reason: &'static str, text: String) -> Self {
        Self {
            is_warning: false,
            reason,
            text,
        }
    }

    pub(crate) fn warning(reason: &'static str, text: String) -> Self {
        Self {
            is_warning: true,
            reason,
            text,
        }
    }
}

impl Plan {
    /// A plan that only waits.
    pub(super) fn waiting(wait: Wait) -> Self {
        Self {
            waits: vec![wait],
            ..Self::default()
        }
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.finalizer == FinalizerChange::Keep
            && !self.marks_creation
            && self.request.is_none()
            && self.events.is_empty()
    }

    /// Time until the LogTopic is looked at again.
    pub fn requeue_seconds(&self) -> u64 {
        if self.waits.iter().any(Wait::may_end_soon) {
            TOPIC_WAITING_SECONDS
        } else {
            TOPIC_REQUEUE_SECONDS
        }
    }
}
