//! The plan of a LogUser as data.

use lograft_crds::limits::{TOPIC_WAITING_SECONDS, USER_REQUEUE_SECONDS};

use crate::topic::{Event, FinalizerChange};
use crate::user::access::AccessRequest;
use crate::user::certificate::UserLeaf;
use crate::user::wait::Wait;

/// The next step. Its parts are carried out in the order of the fields; the first that fails ends
/// it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Change of the finalizer.
    pub finalizer: FinalizerChange,
    /// Requests before the Secret is written: what takes rights away.
    pub requests: Vec<AccessRequest>,
    /// The Secret to write.
    pub secret: Option<UserLeaf>,
    /// Requests after it: what gives rights.
    pub late_requests: Vec<AccessRequest>,
    /// Events to publish once all requests have succeeded.
    pub events: Vec<Event>,
    /// Causes that keep the LogUser from being ready, the most important first.
    pub waits: Vec<Wait>,
    /// Whether a member is about to apply the rules and revocations.
    pub is_spreading: bool,
}

/// Why a request to the data plane failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The cluster has refused it.
    Refused(String),
    /// There was no answer, or one that says to retry.
    Unknown(String),
}

impl Plan {
    /// A plan that only waits.
    pub(super) fn waiting(wait: Wait) -> Self {
        Self {
            waits: vec![wait],
            ..Self::default()
        }
    }

    /// Whether rules or revocations are to be changed.
    pub(super) fn changes_access(&self) -> bool {
        !self.requests.is_empty() || !self.late_requests.is_empty()
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.finalizer == FinalizerChange::Keep
            && self.secret.is_none()
            && !self.changes_access()
            && self.events.is_empty()
    }

    /// Time until the LogUser is looked at again.
    pub fn requeue_seconds(&self) -> u64 {
        if self.is_spreading || self.waits.iter().any(Wait::may_end_soon) {
            TOPIC_WAITING_SECONDS
        } else {
            USER_REQUEUE_SECONDS
        }
    }
}
