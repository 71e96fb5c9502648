//! How failures look on the wire: the only place that makes gRPC statuses and error fields for
//! clients out of reasons.

use std::collections::HashMap;
use std::fmt::Display;

use lograft_core::metadata::MetaError;
use lograft_core::record_batch::BatchError;
use lograft_core::{NodeId, Reason, Rejection, Term};
use lograft_proto::log::v1 as proto;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error_text::error_chain;
use crate::serving::meta_group::ProposeMetaError;
use crate::state_machine::Watermarks;

/// A failure as a client is told of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {text}")]
pub struct ApiError {
    reason: Reason,
    text: String,
    metadata: Vec<(&'static str, String)>,
}

impl ApiError {
    /// With a sentence for people.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
            metadata: Vec::new(),
        }
    }

    /// Adds a detail for programs.
    pub fn with(mut self, key: &'static str, value: impl Display) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Why.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether there are no details.
    pub(crate) const fn is_bare(&self) -> bool {
        self.metadata.is_empty()
    }

    /// A field that is missing or outside its bounds.
    pub fn invalid(field: &'static str, bound: impl Display) -> Self {
        Self::new(Reason::InvalidArgument, format!("{field} must be {bound}"))
            .with("field", field)
            .with("bound", bound)
    }

    /// There is no such topic.
    pub fn unknown_topic(topic: &str) -> Self {
        Self::new(Reason::UnknownTopic, format!("there is no topic {topic:?}"))
    }

    /// The topic has `count` partitions, and not this one.
    pub fn unknown_partition(topic: &str, partition: u32, count: u32) -> Self {
        let text = format!("topic {topic:?} has no partition {partition}, it has {count}");
        Self::new(Reason::UnknownPartition, text).with("bound", count)
    }

    /// The offset is outside of what can be read.
    pub fn out_of_range(offset: u64, marks: Watermarks) -> Self {
        let Watermarks {
            log_start_offset: start,
            high_watermark: end,
        } = marks;
        let text = format!("offset {offset} is not in the log, which holds {start} to {end}");
        Self::new(Reason::OffsetOutOfRange, text)
            .with("log_start_offset", start)
            .with("high_watermark", end)
    }

    /// Another node leads, if that is known.
    pub fn not_leader(leader: Option<Leader>) -> Self {
        let Some(Leader {
            node,
            address,
            term,
        }) = leader
        else {
            return Self::new(Reason::NotLeader, "this node does not lead the partition");
        };
        Self::new(
            Reason::NotLeader,
            format!("node {node} leads the partition, not this one"),
        )
        .with("leader_node", node)
        .with("leader_address", address)
        .with("leader_epoch", term)
    }

    /// Nobody leads the partition.
    pub fn no_leader(topic: &str, partition: u32) -> Self {
        Self::new(
            Reason::NoLeader,
            format!("nobody leads partition {partition} of {topic:?}"),
        )
    }

    /// A failure of this node's own; its cause is logged here, and not told to the client.
    pub fn internal(action: &'static str, cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %error_chain(cause), "{action}");
        Self::new(
            Reason::Internal,
            format!("{action}: the node's log says why"),
        )
    }

    /// The error field of a reply.
    pub fn to_wire(&self) -> proto::Error {
        let metadata = self
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()));
        proto::Error {
            code: self.reason.status() as i32,
            reason: self.reason.as_str().to_owned(),
            text: self.text.clone(),
            metadata: metadata.collect(),
        }
    }
}

/// A partition's leader as a client may reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The node.
    pub node: NodeId,
    /// Its client address, `host:port`; empty if unknown.
    pub address: String,
    /// The term that it leads in.
    pub term: Term,
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let ApiError {
            reason,
            text,
            metadata,
        } = error;
        let metadata: HashMap<String, String> = metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let details = ErrorDetails::with_error_info(reason.as_str(), Reason::DOMAIN, metadata);
        Self::with_error_details(Code::from(reason.status() as i32), text, details)
    }
}

/// The error field of a reply that stands for a status of another node.
pub fn status_to_wire(status: &Status) -> proto::Error {
    let info = status.get_details_error_info();
    let (reason, metadata) = info.map_or_else(
        || (Reason::NotReady.as_str().to_owned(), HashMap::new()),
        |info| (info.reason, info.metadata),
    );
    proto::Error {
        code: status.code() as i32,
        reason,
        text: status.message().to_owned(),
        metadata: metadata.into_iter().collect(),
    }
}

/// The reason in a status, if it is of ours.
pub fn reason_of(status: &Status) -> Option<Reason> {
    let info = status
        .get_details_error_info()
        .filter(|info| info.domain == Reason::DOMAIN)?;
    Reason::from_wire(&info.reason)
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

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let new = Self::new(rejection.reason(), rejection.to_string());
        match rejection {
            Rejection::OutOfOrder { expected, .. } => new.with("expected_sequence", expected),
            Rejection::Fenced { current, .. } => new.with("producer_epoch", current),
            Rejection::Forgotten { .. } => new,
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
        new
    }
}

impl From<ProposeMetaError> for ApiError {
    fn from(error: ProposeMetaError) -> Self {
        match error {
            ProposeMetaError::Refused(error) => error.into(),
            ProposeMetaError::Unavailable { reason, text } => Self::new(reason, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::Offset;

    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in Reason::ALL {
            let status = Status::from(ApiError::new(*reason, "text").with("bound", 7));
            assert_eq!(reason_of(&status), Some(*reason));
            assert_eq!(status.code() as i32, reason.status() as i32);
            assert_eq!(status.message(), "text");
            let wire = status_to_wire(&status);
            assert_eq!(
                wire,
                ApiError::new(*reason, "text").with("bound", 7).to_wire()
            );
            assert_eq!(wire.metadata["bound"], "7");
        }
    }

    #[test]
    fn a_foreign_status_has_no_reason_and_may_be_tried_again() {
        let status = Status::unavailable("connection refused");
        assert_eq!(reason_of(&status), None);
        assert_eq!(status_to_wire(&status).reason, "NOT_READY");
    }

    #[test]
    fn details_name_what_a_client_needs() {
        let marks = Watermarks {
            log_start_offset: Offset(3),
            high_watermark: Offset(9),
        };
        let wire = ApiError::out_of_range(12, marks).to_wire();
        assert_eq!(wire.metadata["log_start_offset"], "3");
        assert_eq!(wire.metadata["high_watermark"], "9");
        let leader = Leader {
            node: NodeId(2),
            address: "b:9400".into(),
            term: Term(4),
        };
        let wire = ApiError::not_leader(Some(leader)).to_wire();
        assert_eq!(wire.metadata["leader_node"], "2");
        assert_eq!(wire.metadata["leader_address"], "b:9400");
        assert_eq!(wire.metadata["leader_epoch"], "4");
        let too_large = BatchError::TooLarge {
            field: "batch bytes",
            found: 9,
            bound: 8,
        };
        let wire = ApiError::from(too_large).to_wire();
        assert_eq!(
            (wire.reason.as_str(), wire.metadata["bound"].as_str()),
            ("BATCH_TOO_LARGE", "8")
        );
    }
}
