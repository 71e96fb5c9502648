//! The error that a node replied with.

use std::collections::BTreeMap;
use std::fmt;

use lograft_core::Reason;
use tonic::Code;

/// An error that a node replied with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `host:port` of the node.
    pub endpoint: String,
    /// The gRPC status code.
    pub code: Code,
    /// The reason; unset if this client does not know it, or if the node sent none.
    pub reason: Option<Reason>,
    /// The error message of the node.
    pub text: String,
    /// Details of the reason: `field`, `bound`, `leader_node`, `leader_address`, ...
    pub metadata: BTreeMap<String, String>,
}

impl Rejection {
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

    /// Whether a retry may succeed: by the reason, or by the status code if the reason is unknown.
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
