//! Errors on the wire: the only place that makes gRPC statuses, and error fields of replies, out of
//! domain errors.

use std::collections::HashMap;
use std::time::Duration;

use lograft_core::metadata::CodecError;
use lograft_core::reason::cut_text;
use lograft_core::{Reason, ReceivedReason};
use lograft_proto::log::v1 as proto;
use lograft_raft::RaftError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::peer_checks::PeerRefusal;
use crate::convert::ConvertError;
use crate::error::ApiError;
use crate::error_text::error_chain;

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let reason = error.received_reason();
        let retryable = (
            ReceivedReason::RETRYABLE_KEY.to_owned(),
            reason.is_retryable().to_string(),
        );
        let metadata: HashMap<String, String> = details(&error).chain([retryable]).collect();
        let mut details = ErrorDetails::with_error_info(reason.as_str(), Reason::DOMAIN, metadata);
        if let Some(delay) = retry_delay(&error) {
            details.set_retry_info(Some(delay));
        }
        let code = Code::from(reason.code());
        Self::with_error_details(code, cut_text(error.text()), details)
    }
}

/// The error field of a reply.
pub(crate) fn to_wire(error: &ApiError) -> proto::Error {
    let reason = error.received_reason();
    proto::Error {
        code: reason.code(),
        reason: reason.as_str().to_owned(),
        text: cut_text(error.text()).to_owned(),
        metadata: details(error).collect(),
        retryable: Some(reason.is_retryable()),
        retry_delay_ms: retry_delay(error).map_or(0, |delay| {
            u32::try_from(delay.as_millis()).unwrap_or(u32::MAX)
        }),
    }
}

fn retry_delay(error: &ApiError) -> Option<Duration> {
    error.reason().and_then(Reason::retry_delay)
}

fn details(error: &ApiError) -> impl Iterator<Item = (String, String)> {
    error
        .details()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

impl From<PeerRefusal> for Status {
    fn from(refusal: PeerRefusal) -> Self {
        let text = error_chain(&refusal);
        let epoch = refusal.recovery_epoch().get();
        match refusal {
            PeerRefusal::Route(_) | PeerRefusal::Heartbeats { .. } => Self::invalid_argument(text),
            PeerRefusal::NoCluster
            | PeerRefusal::OtherCluster { .. }
            | PeerRefusal::OtherNode { .. } => Self::failed_precondition(text),
            PeerRefusal::Removed(_) | PeerRefusal::OtherSender { .. } => {
                Self::permission_denied(text)
            }
            PeerRefusal::OtherEpoch { .. } => ApiError::new(Reason::OtherRecoveryEpoch, text)
                .with("epoch", epoch.to_string())
                .into(),
            PeerRefusal::Lost(..) => ApiError::new(Reason::OtherRecoveryEpoch, text)
                .with("epoch", epoch.to_string())
                .with("lost", "true")
                .into(),
            PeerRefusal::NoReplica(_) => Self::not_found(text),
            PeerRefusal::OlderDisk | PeerRefusal::OlderSender(_) => Self::unavailable(text),
        }
    }
}

/// A request of a peer that does not decode.
pub(super) fn malformed(error: &ConvertError) -> Status {
    Status::invalid_argument(error_chain(error))
}

/// A raft request that the group did not carry out.
pub(super) fn raft_failed(error: &RaftError) -> Status {
    let text = error_chain(error);
    match error {
        RaftError::EntryCorrupt { .. } => Status::data_loss(text),
        RaftError::EntryMalformed { .. } => Status::invalid_argument(text),
        RaftError::NoRoom => Status::resource_exhausted(text),
        _ => Status::unavailable(text),
    }
}

/// A leadership transfer that did not complete.
pub(super) fn transfer_failed(error: &RaftError) -> Status {
    let text = error_chain(error);
    match error {
        RaftError::NotVoter { .. } => Status::failed_precondition(text),
        RaftError::Timeout { .. } => Status::deadline_exceeded(text),
        _ => Status::unavailable(text),
    }
}

/// A metadata command that is certainly in no log. The sender reads the code and may propose the
/// command again.
pub(super) fn not_proposed(text: String) -> Status {
    Status::aborted(text)
}

/// A metadata command that may or may not be committed. The sender must not propose it again unless
/// a second application changes nothing.
pub(super) fn outcome_unknown(text: String) -> Status {
    Status::unknown(text)
}

/// A result that cannot be encoded.
pub(super) fn unencodable(error: &CodecError) -> Status {
    Status::internal(error_chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::status::{error_from_wire, error_of, reason_of};

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in Reason::ALL {
            let error = ApiError::new(*reason, "text").with("bound", 7);
            let status = Status::from(error.clone());
            assert_eq!(reason_of(&status), Some(*reason));
            assert_eq!(status.code() as i32, reason.status() as i32);
            assert_eq!(status.message(), "text");
            let info = status.get_details_error_info().unwrap();
            assert_eq!(
                info.metadata["retryable"],
                reason.is_retryable().to_string()
            );
            assert_eq!(error_of(&status), Some(error.clone()));
            let wire = to_wire(&error);
            assert_eq!(wire.metadata["bound"], "7");
            assert_eq!(wire.retryable, Some(reason.is_retryable()));
            let info = status.get_details_retry_info();
            let delay = info.and_then(|info| info.retry_delay);
            assert_eq!(delay, reason.retry_delay());
            let delay_ms = delay.map_or(0, |delay| delay.as_millis());
            assert_eq!(u128::from(wire.retry_delay_ms), delay_ms);
            // Nobody is asked to wait for what never succeeds.
            assert!(delay.is_none() || reason.is_retryable());
            assert_eq!(error_from_wire(wire), error);
        }
    }

    #[test]
    fn a_newer_reason_survives_two_hops_unchanged() {
        for retryable in [true, false] {
            let wire = proto::Error {
                code: Code::OutOfRange as i32,
                reason: "OF_A_LATER_VERSION".to_owned(),
                text: "not today".to_owned(),
                metadata: [("hint".to_owned(), "later".to_owned())].into(),
                retryable: Some(retryable),
                ..proto::Error::default()
            };
            let received = error_from_wire(wire.clone());
            assert_eq!(received.reason(), None);
            assert_eq!(to_wire(&received), wire);
            let status = Status::from(received.clone());
            assert_eq!(
                (status.code(), status.message()),
                (Code::OutOfRange, "not today")
            );
            assert_eq!(error_of(&status), Some(received));
        }
    }

    #[test]
    fn an_error_at_its_limits_fits_in_the_headers_of_a_reply() {
        let newer = ReceivedReason::from_wire(&"X".repeat(63), 3, None).unwrap();
        let mut error = ApiError::new(newer, "ü".repeat(100_000));
        for n in 0..4 {
            error = error.with(n.to_string(), "v".repeat(1023));
        }
        let headers = Status::from(error).into_http::<()>();
        let size: usize = headers
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        assert!(size < 16 * 1024, "{size}");
    }
}
