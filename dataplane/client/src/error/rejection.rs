//! The error that a node replied with.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lograft_core::limits::CLIENT_RETRY_DELAY_MAX;
use lograft_core::reason::{ReceivedDetails, is_retryable_code};
use lograft_core::{Reason, ReceivedReason};
use lograft_proto::log::v1::Error as WireError;
use tonic::Code;

/// An error that a node replied with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `host:port` of the node.
    pub endpoint: String,
    /// The gRPC status code.
    pub code: Code,
    /// The reason, possibly one of a later version; unset if the node sent none.
    pub reason: Option<ReceivedReason>,
    /// Whether a retry of the same call may succeed, by the node's word; a node of version 0.1.0
    /// says nothing: then by the reason, or by the code of one that this client does not know.
    pub retryable: bool,
    /// The error message of the node.
    pub text: String,
    /// Details of the reason: `field`, `bound`, `leader_node`, `leader_address`, ...
    pub metadata: BTreeMap<String, String>,
    /// How long to wait before a retry, if the node says so: it is overloaded. At most
    /// [`CLIENT_RETRY_DELAY_MAX`](lograft_core::limits::CLIENT_RETRY_DELAY_MAX).
    pub retry_delay: Option<Duration>,
}

impl Rejection {
    /// Whether the node does not have the call. For a node before 0.3.0 its gRPC library replies,
    /// without a reason.
    pub(super) fn is_unknown_call(status: &tonic::Status) -> bool {
        use tonic_types::StatusExt as _;
        let info = status.get_details_error_info();
        let is_unknown = info.is_none_or(|info| info.reason == Reason::UnknownCall.as_str());
        status.code() == Code::Unimplemented && is_unknown
    }

    /// Reads the ErrorInfo of a status. Returns none if the status was not created by a node.
    pub(super) fn from_status(endpoint: &str, status: &tonic::Status) -> Option<Self> {
        use tonic_types::StatusExt as _;
        let info = status
            .get_details_error_info()
            .filter(|i| i.domain == Reason::DOMAIN);
        // gRPC libraries create statuses with these codes when a connection breaks.
        let is_local = matches!(
            status.code(),
            Code::Unknown | Code::Unavailable | Code::Cancelled
        ) || std::error::Error::source(status).is_some();
        if info.is_none() && is_local {
            return None;
        }
        let (reason, metadata) = info.map_or_else(Default::default, |i| (i.reason, i.metadata));
        let error = WireError {
            code: status.code() as i32,
            reason,
            text: status.message().to_owned(),
            metadata,
            ..WireError::default()
        };
        let retry_info = status.get_details_retry_info();
        let retry_delay = retry_info.and_then(|info| info.retry_delay);
        Some(Self {
            retry_delay: bounded(retry_delay),
            ..Self::from_wire(endpoint, error)
        })
    }

    /// Reads the error in a reply.
    pub(super) fn from_wire(endpoint: &str, error: WireError) -> Self {
        let WireError {
            code,
            reason,
            text,
            metadata,
            retryable,
            retry_delay_ms,
        } = error;
        let retry_delay = Duration::from_millis(retry_delay_ms.into());
        let details = ReceivedDetails::bounded(&text, metadata);
        let retryable = retryable.or(details.is_retryable);
        let reason = ReceivedReason::from_wire(&reason, code, retryable);
        let by_reason = || {
            reason
                .as_ref()
                .map_or_else(|| is_retryable_code(code), ReceivedReason::is_retryable)
        };
        Self {
            endpoint: endpoint.to_owned(),
            code: Code::from_i32(code),
            retryable: retryable.unwrap_or_else(by_reason),
            reason,
            text: details.text,
            metadata: details.metadata,
            retry_delay: bounded(Some(retry_delay)),
        }
    }

    /// The reason in the table of errors, if this client knows it.
    pub fn known_reason(&self) -> Option<Reason> {
        self.reason.as_ref()?.known()
    }

    /// Whether the call may have been carried out, as far as the code of a reason that this client
    /// does not know tells.
    pub(super) fn may_be_executed_newer(&self) -> bool {
        match &self.reason {
            Some(ReceivedReason::Newer(newer)) => newer.may_be_executed(),
            _ => false,
        }
    }
}

/// The delay that a node asks for, within the limit; none if it asks for none.
fn bounded(delay: Option<Duration>) -> Option<Duration> {
    let delay = delay.filter(|delay| !delay.is_zero());
    delay.map(|delay| delay.min(CLIENT_RETRY_DELAY_MAX))
}

impl std::error::Error for Rejection {}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} ({reason})", self.text),
            None => write!(f, "{} ({:?})", self.text, self.code),
        }
    }
}
