//! Errors of other nodes, read from gRPC statuses and from the error fields of replies.

use std::error::Error;

use lograft_core::reason::{ReceivedDetails, is_retryable_code};
use lograft_core::{GroupId, NodeId, Reason, ReceivedReason, RecoveryEpoch};
use lograft_proto::log::v1 as proto;
use lograft_raft::TransportError;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::ApiError;
use crate::recovery_epochs::{Learned, RecoveryEpochs};

/// The reason in a status; none if the status was not made by a node of Lograft.
#[cfg(test)]
pub(crate) fn reason_of(status: &Status) -> Option<Reason> {
    error_of(status)?.reason()
}

/// The error in a status; none if the status was not made by a node of Lograft.
pub(crate) fn error_of(status: &Status) -> Option<ApiError> {
    let info = status
        .get_details_error_info()
        .filter(|info| info.domain == Reason::DOMAIN)?;
    let details = ReceivedDetails::bounded(status.message(), info.metadata);
    let reason =
        ReceivedReason::from_wire(&info.reason, status.code() as i32, details.is_retryable)?;
    Some(error_with(reason, details))
}

/// The error in a reply. One whose reason cannot be read becomes one that the client treats alike,
/// by the code beside it.
pub(crate) fn error_from_wire(error: proto::Error) -> ApiError {
    let proto::Error {
        code,
        reason,
        text,
        metadata,
        retryable,
        // It follows from the reason.
        retry_delay_ms: _,
    } = error;
    let details = ReceivedDetails::bounded(&text, metadata);
    let reason = ReceivedReason::from_wire(&reason, code, retryable.or(details.is_retryable))
        .unwrap_or_else(|| {
            let is_retryable = retryable.unwrap_or_else(|| is_retryable_code(code));
            ReceivedReason::from(if is_retryable {
                Reason::NotReady
            } else {
                Reason::Internal
            })
        });
    error_with(reason, details)
}

fn error_with(reason: ReceivedReason, details: ReceivedDetails) -> ApiError {
    let ReceivedDetails {
        text,
        metadata,
        is_retryable: _,
    } = details;
    let error = ApiError::new(reason, text);
    metadata
        .into_iter()
        .fold(error, |error, (key, value)| error.with(key, value))
}

/// Whether a node does not have the call, because it runs an older version.
pub(crate) fn is_unknown_call(status: &Status) -> bool {
    // Peer ports answer without a reason.
    let is_unknown = |error: ApiError| error.reason() == Some(Reason::UnknownCall);
    status.code() == Code::Unimplemented && error_of(status).is_none_or(is_unknown)
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

/// The reply of a process that another one on a newer disk has taken the place of: its vote or its
/// acknowledgement must not count, because the other one may promise something else.
pub(super) fn older_disk(node: NodeId) -> Status {
    Status::unavailable(format!("the disk of node {node} is older than its votes"))
}

/// Takes over the recovery epoch that a node has refused a raft request with: that of the sender is
/// an earlier one.
pub(super) fn learn_epoch(recoveries: &RecoveryEpochs, group: GroupId, status: &Status) {
    match learned_of(status) {
        Some(learned) if learned.is_lost => recoveries.learn(GroupId::META, learned),
        Some(learned) => recoveries.learn(group, learned),
        None => {}
    }
}

/// The recovery epoch that a request was refused with.
fn learned_of(status: &Status) -> Option<Learned> {
    let error = error_of(status)?;
    if error.reason() != Some(Reason::OtherRecoveryEpoch) {
        return None;
    }
    let (_, epoch) = error.details().find(|(key, _)| *key == "epoch")?;
    Some(Learned {
        epoch: RecoveryEpoch(epoch.parse().ok()?),
        is_lost: error.details().any(|detail| detail == ("lost", "true")),
    })
}

/// Why a raft request failed. A status with a cause, or with a code that no node sends, was made on
/// this side: the peer was not reached.
pub(super) fn raft_error_of(node: NodeId, status: Status) -> TransportError {
    let is_unreachable =
        status.source().is_some() || matches!(status.code(), Code::Cancelled | Code::Unknown);
    if !is_unreachable && status.code() == Code::ResourceExhausted {
        return TransportError::NoRoom { node };
    }
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

    fn wire(reason: &str, code: Code, retryable: Option<bool>) -> proto::Error {
        proto::Error {
            code: code as i32,
            reason: reason.to_owned(),
            retryable,
            ..Default::default()
        }
    }

    #[test]
    fn a_newer_reason_without_retryable_is_retryable_if_its_code_is() {
        let is_retryable = |code, retryable| {
            let error = error_from_wire(wire("OF_A_LATER_VERSION", code, retryable));
            error.received_reason().is_retryable()
        };
        assert!(is_retryable(Code::Unavailable, None));
        assert!(!is_retryable(Code::InvalidArgument, None));
        assert!(is_retryable(Code::InvalidArgument, Some(true)));
        assert!(!is_retryable(Code::Unavailable, Some(false)));
    }

    #[test]
    fn a_reason_that_cannot_be_read_becomes_one_that_clients_treat_alike() {
        let long = "X".repeat(1000);
        let reason = |code, retryable| error_from_wire(wire(&long, code, retryable)).reason();
        assert_eq!(reason(Code::Unavailable, None), Some(Reason::NotReady));
        assert_eq!(reason(Code::InvalidArgument, None), Some(Reason::Internal));
        let retryable = reason(Code::InvalidArgument, Some(true));
        assert_eq!(retryable, Some(Reason::NotReady));
    }

    #[test]
    fn an_error_in_a_reply_cannot_become_a_status_of_success() {
        let error = error_from_wire(wire("OF_A_LATER_VERSION", Code::Ok, None));
        assert_eq!(Status::from(error).code(), Code::Unknown);
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
