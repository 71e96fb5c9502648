//! Errors of other nodes, read from gRPC statuses and from the error fields of replies.

use std::collections::HashMap;
use std::error::Error;

use lograft_core::{NodeId, Reason};
use lograft_proto::log::v1 as proto;
use lograft_raft::TransportError;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::ApiError;

/// The reason in a status; none if the status was not made by a node of Lograft.
#[cfg(test)]
pub(crate) fn reason_of(status: &Status) -> Option<Reason> {
    error_of(status).map(|error| error.reason())
}

/// The error in a status; none if the status was not made by a node of Lograft.
pub(crate) fn error_of(status: &Status) -> Option<ApiError> {
    let info = status
        .get_details_error_info()
        .filter(|info| info.domain == Reason::DOMAIN)?;
    let reason = Reason::from_wire(&info.reason)?;
    Some(with_details(
        ApiError::new(reason, status.message()),
        info.metadata,
    ))
}

/// The error in a reply. A reason that this version does not know becomes one that the client
/// treats alike, by the code beside it.
pub(crate) fn error_from_wire(error: proto::Error) -> ApiError {
    let proto::Error {
        code,
        reason,
        text,
        metadata,
    } = error;
    let reason = Reason::from_wire(&reason).unwrap_or(if Code::from(code) == Code::Unavailable {
        Reason::NotReady
    } else {
        Reason::Internal
    });
    with_details(ApiError::new(reason, text), metadata.into_iter().collect())
}

fn with_details(error: ApiError, details: HashMap<String, String>) -> ApiError {
    details
        .into_iter()
        .fold(error, |error, (key, value)| error.with(key, value))
}

/// Whether a call did not leave this node: there was no connection.
pub(crate) fn is_unsent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Why a raft request failed. A status with a cause, or with a code that no node sends, was made on
/// this side: the peer was not reached.
pub(super) fn raft_error_of(node: NodeId, status: Status) -> TransportError {
    let is_unreachable =
        status.source().is_some() || matches!(status.code(), Code::Cancelled | Code::Unknown);
    let source = status.into();
    if is_unreachable {
        TransportError::Unreachable { node, source }
    } else {
        TransportError::Refused { node, source }
    }
}

#[cfg(test)]
mod tests {
    use lograft_proto::log::v1::log_service_client::LogServiceClient;
    use tokio::net::TcpListener;
    use tonic::transport::Endpoint;

    use super::*;

    #[test]
    fn a_foreign_status_has_no_reason() {
        let status = Status::unavailable("connection refused");
        assert_eq!(reason_of(&status), None);
        assert_eq!(error_of(&status), None);
    }

    #[test]
    fn an_unknown_reason_is_retryable_if_its_code_is() {
        let wire = |code: Code| proto::Error {
            code: code as i32,
            reason: "OF_A_LATER_VERSION".to_owned(),
            ..Default::default()
        };
        let reason = |code| error_from_wire(wire(code)).reason();
        assert!(reason(Code::Unavailable).is_retryable());
        assert!(!reason(Code::InvalidArgument).is_retryable());
    }

    #[tokio::test]
    async fn a_call_without_a_connection_was_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
        let mut client = LogServiceClient::new(channel);
        let hang_up = async { drop(listener.accept().await.unwrap()) };
        let (broken, ()) = tokio::join!(client.produce(proto::ProduceRequest::default()), hang_up);
        assert!(!is_unsent(&broken.unwrap_err()));
        drop(listener);
        let refused = client
            .produce(proto::ProduceRequest::default())
            .await
            .unwrap_err();
        assert!(is_unsent(&refused), "{refused:?}");
    }
}
