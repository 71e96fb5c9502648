//! Errors on the wire: the only place that makes gRPC statuses, and error fields of replies, out of
//! domain errors.

use std::collections::HashMap;

use lograft_core::Reason;
use lograft_core::metadata::CodecError;
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
        let metadata: HashMap<String, String> = details(&error).collect();
        let reason = error.reason();
        let details = ErrorDetails::with_error_info(reason.as_str(), Reason::DOMAIN, metadata);
        let code = Code::from(reason.status() as i32);
        Self::with_error_details(code, error.text(), details)
    }
}

/// The error field of a reply.
pub(crate) fn to_wire(error: &ApiError) -> proto::Error {
    proto::Error {
        code: error.reason().status() as i32,
        reason: error.reason().as_str().to_owned(),
        text: error.text().to_owned(),
        metadata: details(error).collect(),
    }
}

fn details(error: &ApiError) -> impl Iterator<Item = (String, String)> {
    error
        .details()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

impl From<PeerRefusal> for Status {
    fn from(refusal: PeerRefusal) -> Self {
        let text = error_chain(&refusal);
        match refusal {
            PeerRefusal::Route(_) | PeerRefusal::Heartbeats { .. } => Self::invalid_argument(text),
            PeerRefusal::NoCluster
            | PeerRefusal::OtherCluster { .. }
            | PeerRefusal::OtherNode { .. } => Self::failed_precondition(text),
            PeerRefusal::Removed(_) => Self::permission_denied(text),
            PeerRefusal::NoReplica(_) => Self::not_found(text),
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
            assert_eq!(error_of(&status), Some(error.clone()));
            let wire = to_wire(&error);
            assert_eq!(wire.metadata["bound"], "7");
            assert_eq!(error_from_wire(wire), error);
        }
    }
}
