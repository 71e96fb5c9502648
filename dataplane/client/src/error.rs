//! The error of all client operations.

mod rejection;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::record_batch::BatchError;
use lograft_core::{Offset, PartitionId, Reason, ReceivedReason};
use lograft_proto::log::v1::Error as WireError;

pub use self::rejection::Rejection;
use crate::connection::dial_error::{DialError, DialErrorKind};
use crate::connection::tls::TlsError;

/// The reason why an operation failed. Cheap to clone, because one failure can end many deliveries.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// A configuration value is missing or outside its bounds.
    #[error("{field} must be {bound}, got {got}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// The bound, for example `between 1 and 64 addresses`.
        bound: String,
        /// The value that was configured.
        got: String,
    },
    /// The certificates cannot be used.
    #[error("cannot use the client's TLS files")]
    Tls(#[source] Arc<TlsError>),
    /// A connection to a node could not be opened.
    #[error(transparent)]
    Connect(Arc<DialError>),
    /// None of the endpoints answered.
    #[error("cannot reach any endpoint: {}", Joined(.0))]
    NoEndpoint(Vec<ClientError>),
    /// A node replied with an error.
    #[error(transparent)]
    Rejected(Arc<Rejection>),
    /// A connection was lost during a call.
    #[error("connection to {endpoint} lost: {}", StatusChain(.status))]
    Broken {
        /// `host:port` of the node.
        endpoint: String,
        /// The gRPC status of the call. Its message and causes are part of the error's text.
        status: Arc<tonic::Status>,
    },
    /// A node does not know the call: it runs an older version than this client.
    #[error("node {endpoint} cannot {action}: it runs an older version, without this call")]
    UnknownCall {
        /// `host:port` of the node.
        endpoint: String,
        /// The action in the infinitive, for example `create topic`.
        action: &'static str,
    },
    /// A node violated the protocol.
    #[error("invalid reply from {endpoint}: {what}")]
    Protocol {
        /// `host:port` of the node.
        endpoint: String,
        /// The violation.
        what: &'static str,
    },
    /// A call and its retries did not succeed before the timeout. The attempt that the timeout has
    /// cut may have been carried out.
    #[error("cannot {action} within {after:?}{}", LastError(.last.as_deref()))]
    Timeout {
        /// The action in the infinitive, for example `create topic`.
        action: &'static str,
        /// The timeout.
        after: Duration,
        /// The error of the last attempt.
        last: Option<Box<ClientError>>,
    },
    /// A batch was not acknowledged within the delivery timeout.
    #[error(
        "cannot deliver to {topic}/{partition} within {after:?}: the batch {} in the log{}",
        if *.maybe_appended { "may be" } else { "is not" },
        LastError(.last.as_deref())
    )]
    Undelivered {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
        /// The delivery timeout.
        after: Duration,
        /// Whether the batch may be in the log nevertheless: a request may have reached the leader
        /// although no reply arrived. If false, it is certainly not in the log.
        maybe_appended: bool,
        /// The error of the last attempt.
        last: Option<Box<ClientError>>,
    },
    /// Delivery of a batch ended, but an earlier attempt may have appended it to the log.
    #[error("cannot deliver to {topic}/{partition}: the batch may be in the log: {last}")]
    InDoubt {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
        /// The error that ended the delivery.
        last: Box<ClientError>,
    },
    /// A record or batch cannot be encoded or decoded.
    #[error(transparent)]
    Batch(Arc<BatchError>),
    /// The topic was deleted, and another one was created under its name. Records that were not
    /// acknowledged are not in the new topic, and positions mean nothing in it.
    #[error("topic {topic:?} was deleted and created again")]
    TopicRecreated {
        /// Topic name.
        topic: Arc<str>,
    },
    /// The topic has no such partition.
    #[error("partition {topic}/{partition} not found: the topic has {count} partitions")]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition requested.
        partition: PartitionId,
        /// Number of partitions of the topic.
        count: u32,
    },
    /// The partition has no leader as far as the nodes know.
    #[error("partition {topic}/{partition} has no leader")]
    NoLeader {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
    },
    /// The producer is closed.
    #[error("producer is closed")]
    Closed,
    /// The group consumer is closed.
    #[error("group consumer is closed")]
    GroupClosed,
    /// The application did not ask for records for longer than the poll interval, so the group
    /// consumer has left its group. The next call joins it again.
    #[error(
        "left group {group}: no records were asked for within the poll interval of {after:?}; \
         process records faster or raise poll_interval"
    )]
    PollIntervalExceeded {
        /// The group.
        group: String,
        /// The poll interval.
        after: Duration,
    },
    /// A partition of a record to commit is not assigned to this member any more: another member
    /// processes the record again.
    #[error("cannot commit {topic}/{partition}: it is not assigned to this member of {group}")]
    NotAssigned {
        /// The group.
        group: String,
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
    },
    /// The group has no committed offset in a partition, and its members shall fail then.
    #[error("group {group} has no committed offset in {topic}/{partition}; seek to one")]
    NoCommittedOffset {
        /// The group.
        group: String,
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
    },
}

impl ClientError {
    pub(crate) fn config(
        field: &'static str,
        bound: impl Into<String>,
        got: impl fmt::Display,
    ) -> Self {
        Self::Config {
            field,
            bound: bound.into(),
            got: got.to_string(),
        }
    }

    /// The machine-readable reason, if there is one that this client knows. A failure on the
    /// client's side has the reason that a node would have replied with.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Rejected(rejection) => rejection.known_reason(),
            Self::UnknownCall { .. } => Some(Reason::VersionTooOld),
            Self::Batch(error) => Some(error.reason()),
            Self::NoLeader { .. } => Some(Reason::NoLeader),
            Self::UnknownPartition { .. } => Some(Reason::UnknownPartition),
            Self::TopicRecreated { .. } => Some(Reason::TopicRecreated),
            Self::NotAssigned { .. } => Some(Reason::NotAssigned),
            Self::Timeout { last, .. } | Self::Undelivered { last, .. } => Some(
                last.as_ref()
                    .and_then(|l| l.reason())
                    .unwrap_or(Reason::Timeout),
            ),
            Self::InDoubt { last, .. } => last.reason(),
            Self::Connect(error) if error.kind.is_refused_identity() => {
                Some(Reason::Unauthenticated)
            }
            Self::NoEndpoint(all) => all.iter().find_map(Self::reason),
            _ => None,
        }
    }

    /// The reason with which a node replied, also one of a later version that this client does not
    /// know; otherwise the same as [`Self::reason`].
    pub fn received_reason(&self) -> Option<ReceivedReason> {
        let received = match self {
            Self::Rejected(rejection) => rejection.reason.clone(),
            Self::Timeout { last, .. } | Self::Undelivered { last, .. } => {
                last.as_ref().and_then(|last| last.received_reason())
            }
            Self::InDoubt { last, .. } => last.received_reason(),
            Self::NoEndpoint(all) => all.iter().find_map(Self::received_reason),
            _ => None,
        };
        received.or_else(|| self.reason().map(ReceivedReason::from))
    }

    /// Whether a node replied with a reason that this client does not know, and with a code after
    /// which the call may have been carried out.
    pub(crate) fn may_be_executed_newer(&self) -> bool {
        matches!(self, Self::Rejected(rejection) if rejection.may_be_executed_newer())
    }

    /// Whether the same call may succeed later without a change to its arguments or configuration.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.kind.is_retryable(),
            Self::NoEndpoint(all) => all.iter().any(Self::is_retryable),
            Self::Rejected(rejection) => rejection.retryable,
            Self::Broken { .. }
            | Self::Timeout { .. }
            | Self::Undelivered { .. }
            | Self::NoLeader { .. } => true,
            Self::Batch(error) => error.reason().is_retryable(),
            Self::InDoubt { last, .. } => last.is_retryable(),
            Self::Config { .. }
            | Self::UnknownCall { .. }
            | Self::Tls(_)
            | Self::Protocol { .. }
            | Self::UnknownPartition { .. }
            | Self::TopicRecreated { .. }
            | Self::GroupClosed
            | Self::PollIntervalExceeded { .. }
            | Self::NotAssigned { .. }
            | Self::NoCommittedOffset { .. }
            | Self::Closed => false,
        }
    }

    /// How long to wait at least before a retry, if the node has said so.
    pub fn retry_delay(&self) -> Option<Duration> {
        match self {
            Self::Rejected(rejection) => rejection.retry_delay,
            Self::Timeout { last, .. } | Self::Undelivered { last, .. } => {
                last.as_ref()?.retry_delay()
            }
            Self::InDoubt { last, .. } => last.retry_delay(),
            // Another node may be free earlier.
            Self::NoEndpoint(all) => {
                let delays = all
                    .iter()
                    .map(|error| error.retry_delay().unwrap_or_default());
                delays.min().filter(|delay| !delay.is_zero())
            }
            _ => None,
        }
    }

    /// Value of `key` in the metadata of the node's error: `field`, `bound`, `leader_address`, ...
    pub fn metadata(&self, key: &str) -> Option<&str> {
        match self {
            Self::Rejected(rejection) => rejection.metadata.get(key).map(String::as_str),
            Self::Timeout { last, .. } | Self::Undelivered { last, .. } => {
                last.as_ref()?.metadata(key)
            }
            Self::InDoubt { last, .. } => last.metadata(key),
            _ => None,
        }
    }

    /// For `OFFSET_OUT_OF_RANGE`: the log start offset and the high watermark (exclusive).
    pub fn valid_offsets(&self) -> Option<(Offset, Offset)> {
        let number = |key| self.metadata(key)?.parse().ok().map(Offset);
        Some((number("log_start_offset")?, number("high_watermark")?))
    }

    /// The error of a failed call to `endpoint`. `action` names the call, in the infinitive.
    pub(crate) fn from_status(endpoint: &str, action: &'static str, status: tonic::Status) -> Self {
        if Rejection::is_unknown_call(&status) {
            return Self::UnknownCall {
                endpoint: endpoint.to_owned(),
                action,
            };
        }
        if let Some(rejection) = Rejection::from_status(endpoint, &status) {
            return Self::Rejected(Arc::new(rejection));
        }
        if let Some(kind) = DialErrorKind::find_in(&status) {
            return Self::Connect(Arc::new(DialError {
                endpoint: endpoint.to_owned(),
                kind,
            }));
        }
        Self::Broken {
            endpoint: endpoint.to_owned(),
            status: Arc::new(status),
        }
    }

    /// The error inside a reply of `endpoint`.
    pub(crate) fn from_wire(endpoint: &str, error: WireError) -> Self {
        Self::Rejected(Arc::new(Rejection::from_wire(endpoint, error)))
    }
}

impl From<BatchError> for ClientError {
    fn from(error: BatchError) -> Self {
        Self::Batch(Arc::new(error))
    }
}

impl From<TlsError> for ClientError {
    fn from(error: TlsError) -> Self {
        Self::Tls(Arc::new(error))
    }
}

/// The message of a status and its causes, without those that repeat the text before.
struct StatusChain<'a>(&'a tonic::Status);

impl fmt::Display for StatusChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.message().to_owned();
        let mut next = std::error::Error::source(self.0);
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            next = cause.source();
        }
        f.write_str(&text)
    }
}

/// Appends the error of the last attempt, if there is one.
struct LastError<'a>(Option<&'a ClientError>);

impl fmt::Display for LastError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |last| write!(f, "; last error: {last}"))
    }
}

/// Joins errors with semicolons.
struct Joined<'a>(&'a [ClientError]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
