//! Errors that the libraries below our services make: of messages that do not decode, of calls that
//! no service has. Their statuses have a code and a text for the authors of programs; clients get
//! one of our reasons and a sentence instead.
//!
//! The statuses are told apart by their code, where it leaves a choice by their text. A test sends
//! each of these mistakes to each call, so that another version of the library cannot change them
//! unnoticed.

use lograft_core::Reason;
use lograft_core::limits::PEER_TEXT_MAX_BYTES;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::debug;

use crate::error::ApiError;

/// The library's words before the cause of a message that does not decode.
const DECODE_PREFIXES: [&str; 2] = ["failed to decode Protobuf message: ", "protocol error: "];

/// Whether a status has a reason of ours already.
pub(super) fn has_reason(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.domain == Reason::DOMAIN)
}

/// The error that a client gets instead of the status of a library. `path` is that of the call.
pub(super) fn explained(status: &Status, path: &str) -> ApiError {
    let text = status.message();
    match status.code() {
        Code::OutOfRange => too_large(text),
        Code::Unimplemented if text.is_empty() => unknown_call(path),
        Code::Unimplemented => {
            let text = format!("grpc-encoding must be identity: {text}");
            ApiError::new(Reason::UnsupportedCompression, text)
                .with("field", "grpc-encoding")
                .with("bound", "identity")
        }
        Code::NotFound => ApiError::new(Reason::UnknownService, text),
        Code::Internal | Code::InvalidArgument => malformed(text),
        Code::DeadlineExceeded | Code::Cancelled => too_late(),
        code => {
            // A broken connection, mostly: then nobody reads this.
            debug!(?code, error = text, path, "call ended by its library");
            ApiError::new(
                Reason::Internal,
                "cannot answer the call: see the log of the node",
            )
        }
    }
}

/// The error of a call whose deadline has passed.
pub(super) fn too_late() -> ApiError {
    let text = "the deadline of the call (grpc-timeout) has passed: it may or may not have been \
                carried out";
    ApiError::new(Reason::Timeout, text)
}

/// A request that is not one of gRPC, or not of its call.
pub(super) fn malformed(cause: &str) -> ApiError {
    let mut prefixes = DECODE_PREFIXES.into_iter();
    let rest = prefixes.find_map(|prefix| cause.strip_prefix(prefix));
    let cause = rest.unwrap_or(cause);
    let text = format!("cannot decode the request: {cause}");
    ApiError::new(Reason::RequestMalformed, text)
}

fn unknown_call(path: &str) -> ApiError {
    let shown = &path[..path.floor_char_boundary(PEER_TEXT_MAX_BYTES)];
    ApiError::new(Reason::UnknownCall, format!("call {shown:?} not found"))
}

/// The library says: `Error, decoded message length too large: found 9 bytes, the limit is: 8
/// bytes`, `encoded` of a reply.
fn too_large(text: &str) -> ApiError {
    let is_reply = text.contains("encoded message");
    let field = if is_reply {
        "reply bytes"
    } else {
        "request bytes"
    };
    let number = |label| {
        let digits = text.split_once(label)?.1.split_once(' ')?.0;
        digits.parse::<u64>().ok()
    };
    let (Some(found), Some(bound)) = (number("found "), number("the limit is: ")) else {
        return ApiError::new(Reason::MessageTooLarge, format!("{field} above the limit"))
            .with("field", field);
    };
    let remedy = if is_reply { ": ask for less" } else { "" };
    let text = format!("{field} must be at most {bound}, got {found}{remedy}");
    ApiError::new(Reason::MessageTooLarge, text)
        .with("field", field)
        .with("bound", bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(error: &ApiError, key: &str) -> Option<String> {
        let mut details = error.details();
        let found = details.find(|(name, _)| *name == key);
        found.map(|(_, value)| value.to_owned())
    }

    #[test]
    fn a_message_above_its_limit_names_direction_and_bound() {
        let said = |direction| {
            let text = format!(
                "Error, {direction} message length too large: found 5000 bytes, the limit is: \
                 4096 bytes"
            );
            explained(&Status::out_of_range(text), "/s/m")
        };
        let request = said("decoded");
        assert_eq!(request.reason(), Some(Reason::MessageTooLarge));
        assert_eq!(detail(&request, "field").as_deref(), Some("request bytes"));
        assert_eq!(detail(&request, "bound").as_deref(), Some("4096"));
        assert_eq!(
            request.text(),
            "request bytes must be at most 4096, got 5000"
        );
        let reply = said("encoded");
        assert_eq!(detail(&reply, "field").as_deref(), Some("reply bytes"));
        assert!(reply.text().ends_with("got 5000: ask for less"));
        let other = explained(&Status::out_of_range("something else"), "/s/m");
        assert_eq!(other.reason(), Some(Reason::MessageTooLarge));
        assert_eq!(detail(&other, "bound"), None);
    }

    #[test]
    fn texts_are_sentences_for_people() {
        let status = Status::internal("failed to decode Protobuf message: invalid tag value: 0");
        let error = explained(&status, "/s/m");
        assert_eq!(error.reason(), Some(Reason::RequestMalformed));
        assert_eq!(
            error.text(),
            "cannot decode the request: invalid tag value: 0"
        );
        let long = format!("/{}", "ü".repeat(1000));
        let error = explained(&Status::unimplemented(""), &long);
        assert_eq!(error.reason(), Some(Reason::UnknownCall));
        assert!(error.text().len() < 600, "{}", error.text().len());
    }

    #[test]
    fn only_a_status_with_our_domain_has_a_reason() {
        assert!(!has_reason(&Status::internal("x")));
        let ours = Status::from(ApiError::new(Reason::Timeout, "x"));
        assert!(has_reason(&ours));
    }
}
