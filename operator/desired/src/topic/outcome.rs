//! The outcome of a plan.

use crate::topic::observed::ObservedTopic;

/// What carrying a plan out has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// No request was sent, or nothing is known of its result but that it was sent.
    #[default]
    Unchanged,
    /// The topic after it was created or changed.
    Topic(ObservedTopic),
    /// The topic is deleted, or was gone already.
    Deleted,
    /// The request failed.
    Failed(Failure),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The cluster has refused it: nothing was changed, and a retry will not help soon.
    Refused(String),
    /// A topic with this name exists.
    Exists,
    /// The topic with this name has another ID than the plan assumed: nothing was sent.
    Replaced,
    /// There was no answer, or one that says to retry: the request may have been carried out.
    Unknown(String),
}
