//! Why a call failed: what the cluster answered, or what stood between.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::record_batch::BatchError;
use lograft_core::{Offset, PartitionId, Reason};
use lograft_proto::log::v1::Error as WireError;
use tonic::Code;

use crate::dial::{DialError, DialErrorKind};
use crate::tls::TlsError;

/// Why a call failed. Cheap to clone: one failure may end many deliveries.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// A setting is missing or outside its bounds.
    #[error("{field} must be {bound}")]
    Config {
        /// The setting's name.
        field: &'static str,
        /// What it must be.
        bound: String,
    },
    /// The certificates cannot be used.
    #[error("the client's TLS files cannot be used")]
    Tls(#[source] Arc<TlsError>),
    /// No connection to a node.
    #[error(transparent)]
    Connect(Arc<DialError>),
    /// None of the endpoints answered.
    #[error("no endpoint answered: {}", Joined(.0))]
    NoEndpoint(Vec<ClientError>),
    /// A node answered with an error.
    #[error(transparent)]
    Rejected(Arc<Rejection>),
    /// A connection broke during a call.
    #[error("the connection to {endpoint} broke: {}", .status.message())]
    Broken {
        /// `host:port` of the node.
        endpoint: String,
        /// What gRPC says about it.
        #[source]
        status: Arc<tonic::Status>,
    },
    /// A node's answer makes no sense.
    #[error("{endpoint} answered what it must not: {what}")]
    Protocol {
        /// `host:port` of the node.
        endpoint: String,
        /// What is wrong with the answer.
        what: &'static str,
    },
    /// A call and its retries did not succeed in time.
    #[error("{action} did not succeed within {after:?}{}", Because(.last.as_deref()))]
    Timeout {
        /// What was tried.
        action: &'static str,
        /// How long.
        after: Duration,
        /// How the last try failed.
        last: Option<Box<ClientError>>,
    },
    /// A batch was not acknowledged within the delivery timeout.
    #[error(
        "{topic}/{partition} was not acknowledged within {after:?}, {}{}",
        if *.maybe_appended { "it may be in the log" } else { "it is not in the log" },
        Because(.last.as_deref())
    )]
    Undelivered {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
        /// The delivery timeout.
        after: Duration,
        /// Whether the batch reached a node and may be in the log all the same.
        maybe_appended: bool,
        /// How the last try failed.
        last: Option<Box<ClientError>>,
    },
    /// A batch was refused, or given up, after an earlier try that may have put it into the log.
    #[error("{topic}/{partition}: a batch may be in the log or not: {last}")]
    InDoubt {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
        /// How the last try failed.
        last: Box<ClientError>,
    },
    /// A record or batch cannot be encoded or decoded.
    #[error(transparent)]
    Batch(Arc<BatchError>),
    /// The topic has no such partition.
    #[error("{topic} has {count} partitions, there is no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition asked for.
        partition: PartitionId,
        /// How many there are.
        count: u32,
    },
    /// Nobody leads the partition, as far as the nodes know.
    #[error("{topic}/{partition} has no leader")]
    NoLeader {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionId,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

impl ClientError {
    pub(crate) fn config(field: &'static str, bound: impl Into<String>) -> Self {
        Self::Config {
            field,
            bound: bound.into(),
        }
    }

    /// The cluster's reason, where there is one. A failure on this side has the reason that a node
    /// would have answered.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Rejected(rejection) => rejection.reason,
            Self::Batch(error) => Some(error.reason()),
            Self::NoLeader { .. } => Some(Reason::NoLeader),
            Self::UnknownPartition { .. } => Some(Reason::UnknownPartition),
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

    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.kind.is_retryable(),
            Self::NoEndpoint(all) => all.iter().any(Self::is_retryable),
            Self::Rejected(rejection) => rejection.is_retryable(),
            Self::Broken { .. }
            | Self::Timeout { .. }
            | Self::Undelivered { .. }
            | Self::NoLeader { .. } => true,
            Self::Batch(error) => error.reason().is_retryable(),
            Self::InDoubt { last, .. } => last.is_retryable(),
            Self::Config { .. }
            | Self::Tls(_)
            | Self::Protocol { .. }
            | Self::UnknownPartition { .. }
            | Self::Closed => false,
        }
    }

    /// The answer's metadata under `key`: `field`, `bound`, `leader_address`, ...
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

    /// For `OFFSET_OUT_OF_RANGE`: the log start and the high watermark (exclusive).
    pub fn valid_offsets(&self) -> Option<(Offset, Offset)> {
        let number = |key| self.metadata(key)?.parse().ok().map(Offset);
        Some((number("log_start_offset")?, number("high_watermark")?))
    }

    /// From a failed call to `endpoint`.
    pub(crate) fn from_status(endpoint: &str, status: tonic::Status) -> Self {
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

    /// From the error inside a reply of `endpoint`.
    pub(crate) fn from_wire(endpoint: &str, error: WireError) -> Self {
        Self::Rejected(Arc::new(Rejection {
            endpoint: endpoint.to_owned(),
            code: Code::from_i32(error.code),
            reason: Reason::from_wire(&error.reason),
            text: error.text,
            metadata: error.metadata.into_iter().collect(),
        }))
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

/// A node's typed error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `host:port` of the node.
    pub endpoint: String,
    /// gRPC's status code.
    pub code: Code,
    /// The reason; unset if this client does not know it, or the node gave none.
    pub reason: Option<Reason>,
    /// The node's sentence.
    pub text: String,
    /// What the reason is about: `field`, `bound`, `leader_node`, `leader_address`, ...
    pub metadata: BTreeMap<String, String>,
}

impl Rejection {
    /// Reads the ErrorInfo of a status; none if no node of Lograft made it.
    fn from_status(endpoint: &str, status: &tonic::Status) -> Option<Self> {
        use tonic_types::StatusExt as _;
        let info = status
            .get_details_error_info()
            .filter(|i| i.domain == Reason::DOMAIN);
        // Codes that gRPC libraries make up themselves when a connection breaks.
        let made_here = matches!(
            status.code(),
            Code::Unknown | Code::Unavailable | Code::Cancelled
        ) || std::error::Error::source(status).is_some();
        if info.is_none() && made_here {
            return None;
        }
        Some(Self {
            endpoint: endpoint.to_owned(),
            code: status.code(),
            reason: info.as_ref().and_then(|i| Reason::from_wire(&i.reason)),
            text: status.message().to_owned(),
            metadata: info
                .map(|i| i.metadata.into_iter().collect())
                .unwrap_or_default(),
        })
    }

    /// As the table says; by the code where the reason is not known.
    pub fn is_retryable(&self) -> bool {
        self.reason.map_or(
            matches!(
                self.code,
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Aborted
            ),
            Reason::is_retryable,
        )
    }
}

impl std::error::Error for Rejection {}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Some(reason) => write!(f, "{} ({reason})", self.text),
            None => write!(f, "{} ({:?})", self.text, self.code),
        }
    }
}

struct Because<'a>(Option<&'a ClientError>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |last| write!(f, "; at last: {last}"))
    }
}

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
