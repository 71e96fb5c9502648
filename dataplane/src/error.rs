//! Errors as clients see them: a reason from the table in `lograft-core`, a sentence for people and
//! details for programs. An error of another node may have a reason of a later version; it is
//! passed on unchanged. No protocol: `api/grpc/status.rs` makes gRPC statuses of them.

use std::borrow::Cow;
use std::fmt::Display;

use lograft_core::acl::RuleError;
use lograft_core::capacity::TooManyReplicas;
use lograft_core::consumer_group::{CommitError, GroupError};
use lograft_core::metadata::{MetaError, TopicId};
use lograft_core::record_batch::BatchError;
use lograft_core::record_time::TimestampError;
use lograft_core::topic::TopicError;
use lograft_core::topic_config::SettingError;
use lograft_core::{NodeId, Offset, Reason, ReceivedReason, Rejection, Term};

use crate::error_text::error_chain;

/// The detail of COMMIT_SUPERSEDED: the sequence of the commit that is in effect.
pub(crate) const SUPERSEDED_BY: &str = "sequence";

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {text}")]
pub(crate) struct ApiError {
    reason: ReceivedReason,
    text: String,
    details: Vec<(Cow<'static, str>, String)>,
}

/// A partition's leader, as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// The node.
    pub(crate) node: NodeId,
    /// Its client address, `host:port`; empty if unknown.
    pub(crate) address: String,
    /// The term that it leads in.
    pub(crate) term: Term,
}

impl ApiError {
    /// An error without details.
    pub(crate) fn new(reason: impl Into<ReceivedReason>, text: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            text: text.into(),
            details: Vec::new(),
        }
    }

    /// Adds a detail for programs.
    pub(crate) fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl Display) -> Self {
        self.details.push((key.into(), value.to_string()));
        self
    }

    /// The reason in the table of errors; none if another node sent one that this version does not
    /// know.
    pub(crate) const fn reason(&self) -> Option<Reason> {
        self.reason.known()
    }

    /// The reason, whether or not this version knows it.
    pub(crate) const fn received_reason(&self) -> &ReceivedReason {
        &self.reason
    }

    /// The reason for labels of metrics.
    pub(crate) const fn label(&self) -> &'static str {
        self.reason.label()
    }

    /// The sentence for people.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The details for programs, by key.
    pub(crate) fn details(&self) -> impl Iterator<Item = (&str, &str)> {
        self.details
            .iter()
            .map(|(key, value)| (key.as_ref(), value.as_str()))
    }

    /// A field that is missing or outside its bounds.
    pub(crate) fn invalid(field: &'static str, bound: impl Display) -> Self {
        Self::new(Reason::InvalidArgument, format!("{field} must be {bound}"))
            .with("field", field)
            .with("bound", bound)
    }

    /// A part of an authorization rule is invalid.
    pub(crate) fn invalid_rule(error: &RuleError) -> Self {
        Self::new(Reason::InvalidArgument, error.to_string())
            .with("field", error.field())
            .with("bound", error.bound())
    }

    /// The topic does not exist.
    pub(crate) fn unknown_topic(topic: &str) -> Self {
        Self::new(Reason::UnknownTopic, format!("topic {topic:?} not found"))
    }

    /// The client means a topic that was deleted; `current` has the name now.
    pub(crate) fn topic_recreated(topic: &str, current: TopicId) -> Self {
        let text = format!("topic {topic:?} was deleted and created again");
        Self::new(Reason::TopicRecreated, text).with("topic_id", current)
    }

    /// The topic has `count` partitions, and this is none of them.
    pub(crate) fn unknown_partition(topic: &str, partition: u32, count: u32) -> Self {
        let text = format!(
            "partition {partition} of topic {topic:?} not found: the topic has {count} partitions"
        );
        Self::new(Reason::UnknownPartition, text).with("bound", count)
    }

    /// A node would have more replicas than it carries.
    pub(crate) fn too_many_replicas(error: TooManyReplicas) -> Self {
        Self::new(Reason::LimitExceeded, error.to_string())
            .with("field", "replicas")
            .with("node", error.node)
            .with("bound", format!("1..={}", error.max))
    }

    /// The node is not in the metadata.
    pub(crate) fn unknown_node(node: NodeId) -> Self {
        Self::new(Reason::UnknownNode, format!("node {node} not found"))
    }

    /// The offset is below `start`, or above `end`, the high watermark.
    pub(crate) fn out_of_range(offset: Offset, start: Offset, end: Offset) -> Self {
        let text = format!("offset must be between {start} and {end}, got {offset}");
        Self::new(Reason::OffsetOutOfRange, text)
            .with("log_start_offset", start)
            .with("high_watermark", end)
    }

    /// The value of `field` is above `end`, the high watermark of a log that starts at `start`.
    pub(crate) fn above_end(
        field: &'static str,
        offset: Offset,
        (start, end): (Offset, Offset),
    ) -> Self {
        let text = format!("{field} must be at most {end}, the high watermark, got {offset}");
        Self::new(Reason::OffsetOutOfRange, text)
            .with("log_start_offset", start)
            .with("high_watermark", end)
    }

    /// This node does not lead the partition; `leader` does, if that is known.
    pub(crate) fn not_leader(leader: Option<Leader>) -> Self {
        let Some(leader) = leader else {
            return Self::new(Reason::NotLeader, "this node does not lead the partition");
        };
        let node = leader.node;
        let text = format!("this node does not lead the partition: node {node} is the leader");
        Self::new(Reason::NotLeader, text).with_leader(leader)
    }

    /// The replica of this node may not answer a read; `leader` may, if that is known.
    pub(crate) fn replica_not_current(leader: Option<Leader>) -> Self {
        let text = "the replica of this node may not answer the read: it lags behind, has not \
                    heard from its leader lately, or leaves the partition";
        let new = Self::new(Reason::ReplicaNotCurrent, text);
        match leader {
            Some(leader) => new.with_leader(leader),
            None => new,
        }
    }

    fn with_leader(self, leader: Leader) -> Self {
        let Leader {
            node,
            address,
            term,
        } = leader;
        self.with("leader_node", node)
            .with("leader_address", address)
            .with("leader_epoch", term)
    }

    /// No node leads the partition at the moment, or its leader cannot be reached.
    pub(crate) fn no_leader(topic: &str, partition: u32) -> Self {
        Self::new(
            Reason::NoLeader,
            format!("partition {partition} of topic {topic:?} has no leader"),
        )
    }

    /// The node `node` does not have the call.
    pub(crate) fn unknown_call(node: NodeId, call: &str) -> Self {
        let text = format!("node {node} does not know the call {call}: it runs an older version");
        Self::new(Reason::VersionTooOld, text)
            .with("node", node)
            .with("call", call)
    }

    /// The replica stops: the node is shutting down, or the replica moves to another node.
    pub(crate) fn replica_closing() -> Self {
        Self::new(Reason::NotReady, "the replica is closing")
    }

    /// The node has just started and has not compared its clock with those of the other nodes.
    pub(crate) fn clock_not_compared() -> Self {
        let text = "the node has not compared its clock with those of the other nodes yet";
        Self::new(Reason::NotReady, text)
    }

    /// Fewer than a majority of the partition's replicas respond.
    pub(crate) fn no_majority() -> Self {
        Self::new(
            Reason::NoLeader,
            "a majority of the partition's replicas does not respond",
        )
    }

    /// A batch whose outcome is unknown: it may or may not be, or become, part of the log.
    pub(crate) fn outcome_unknown(why: impl Display) -> Self {
        Self::new(
            Reason::Timeout,
            format!("{why}: the batch may or may not be in the log"),
        )
    }

    /// A failure of this node itself. The cause is logged here and not sent to the client.
    pub(crate) fn internal(
        action: &'static str,
        cause: &(dyn std::error::Error + 'static),
    ) -> Self {
        tracing::error!(action, error = %error_chain(cause), "request failed inside the node");
        Self::new(
            Reason::Internal,
            format!("cannot {action}: see the log of the node"),
        )
    }
}

impl From<BatchError> for ApiError {
    fn from(error: BatchError) -> Self {
        let new = Self::new(error.reason(), error_chain(&error));
        match error.bound() {
            Some((field, bound)) => new.with("field", field).with("bound", bound),
            None => new,
        }
    }
}

impl From<TimestampError> for ApiError {
    fn from(error: TimestampError) -> Self {
        Self::new(Reason::InvalidTimestamp, error.to_string())
            .with("field", TimestampError::FIELD)
            .with("bound", error.bound())
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let new = Self::new(rejection.reason(), rejection.to_string());
        match rejection {
            Rejection::OutOfOrder { expected, .. } => new.with("expected_sequence", expected),
            Rejection::Fenced { current, .. } => new.with("producer_epoch", current),
            Rejection::SequenceOverflow { .. } => new.with("field", "base_sequence"),
        }
    }
}

impl From<MetaError> for ApiError {
    fn from(error: MetaError) -> Self {
        let mut new = Self::new(error.reason(), error.to_string());
        if let Some(field) = error.field() {
            new = new.with("field", field);
        }
        if let Some(bound) = error.bound() {
            new = new.with("bound", bound);
        }
        if let MetaError::TopicRecreated { current, .. } = error {
            new = new.with("topic_id", current);
        }
        new
    }
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        let mut new = Self::new(error.reason(), error.to_string());
        if let Some(field) = error.field() {
            new = new.with("field", field);
        }
        if let Some(bound) = error.bound() {
            new = new.with("bound", bound);
        }
        new
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        let new = Self::new(error.reason(), error.to_string());
        match error {
            CommitError::Superseded { last } => new.with(SUPERSEDED_BY, last),
            CommitError::LimitExceeded { field, max, .. } => {
                new.with("field", field).with("bound", format!("..={max}"))
            }
            CommitError::UnknownMember | CommitError::NotAssigned | CommitError::GroupNotEmpty => {
                new
            }
        }
    }
}

impl From<SettingError> for ApiError {
    fn from(error: SettingError) -> Self {
        Self::new(Reason::InvalidArgument, error.to_string())
            .with("field", error.field())
            .with("bound", error.bound())
    }
}

impl From<TopicError> for ApiError {
    fn from(error: TopicError) -> Self {
        MetaError::Topic(error).into()
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::topic;

    use super::*;

    fn detail<'a>(error: &'a ApiError, key: &str) -> Option<&'a str> {
        error
            .details()
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value)
    }

    #[test]
    fn details_name_what_a_client_needs() {
        let error = ApiError::out_of_range(Offset(12), Offset(3), Offset(9));
        assert_eq!(detail(&error, "log_start_offset"), Some("3"));
        assert_eq!(detail(&error, "high_watermark"), Some("9"));
        let leader = Leader {
            node: NodeId(2),
            address: "b:9400".into(),
            term: Term(4),
        };
        let error = ApiError::not_leader(Some(leader));
        assert_eq!(detail(&error, "leader_node"), Some("2"));
        assert_eq!(detail(&error, "leader_address"), Some("b:9400"));
        assert_eq!(detail(&error, "leader_epoch"), Some("4"));
        let error = ApiError::from(BatchError::TooLarge {
            field: "batch bytes",
            found: 9,
            bound: 8,
        });
        assert_eq!(error.reason(), Some(Reason::BatchTooLarge));
        assert_eq!(detail(&error, "bound"), Some("8"));
    }

    #[test]
    fn refusals_name_the_field_and_the_bound() {
        let error = topic::validate_replication_factor(4, 3).unwrap_err();
        let error = ApiError::from(error);
        assert_eq!(error.reason(), Some(Reason::InvalidReplicationFactor));
        assert_eq!(detail(&error, "field"), Some("replication_factor"));
        assert_eq!(detail(&error, "bound"), Some("1..=3"));
    }
}
