//! Errors on the wire: the only place that makes problem details (RFC 9457) out of errors.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, header};
use lograft_core::reason::cut_text;
use lograft_core::{Reason, ReceivedReason};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::HttpError;
use crate::error::ApiError;

/// Media type of problem details.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// After this a refused request may be repeated, unless its reason says more.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request failed (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// URI of the kind of problem. It is an identifier, there is nothing to load from it.
    #[serde(rename = "type")]
    #[schema(rename = "type", example = "tag:lograft.io,2026:reason/UNKNOWN_TOPIC")]
    kind: String,
    /// Name of the status.
    title: &'static str,
    /// HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// A sentence for people.
    detail: String,
    /// Reason, as in gRPC's ErrorInfo, or one of HTTP itself.
    #[schema(example = "UNKNOWN_TOPIC")]
    reason: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Details for programs: `field` and `bound` of an invalid value, for example.
    details: BTreeMap<String, String>,
    /// For the header `Retry-After`.
    #[serde(skip)]
    retry_delay: Duration,
}

impl Problem {
    /// The problem of an error.
    pub(crate) fn of(error: &HttpError) -> Self {
        match error {
            HttpError::Api(error) => Self::of_api(error),
            other => Self::of_http(other),
        }
    }

    fn of_api(error: &ApiError) -> Self {
        let reason = error.received_reason();
        let details = error.details();
        Self::new(
            status_of(reason),
            (reason.as_str(), reason.is_retryable()),
            error.text(),
        )
        .with(details.map(|(key, value)| (key, value.to_owned())))
        .after(error.reason().and_then(Reason::retry_delay))
    }

    fn of_http(error: &HttpError) -> Self {
        let text = error.to_string();
        let new = |status, reason, retryable| Self::new(status, (reason, retryable), &text);
        match error {
            HttpError::Api(error) => Self::of_api(error),
            HttpError::RouteNotFound { .. } => new(StatusCode::NOT_FOUND, "ROUTE_NOT_FOUND", false),
            HttpError::MethodNotAllowed { .. } => {
                new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", false)
            }
            HttpError::UnsupportedMediaType { field, bound, .. } => new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                false,
            )
            .bound(field, bound),
            HttpError::NotAcceptable { bound, .. } => {
                new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", false).bound("Accept", bound)
            }
            HttpError::BodyTooLarge { field, max_bytes } => {
                let bound = format!("at most {max_bytes} bytes");
                new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", false).bound(field, &bound)
            }
            HttpError::BodyMalformed { field, bound, .. } => {
                new(StatusCode::BAD_REQUEST, "BODY_MALFORMED", false).bound(field, bound)
            }
            HttpError::BodyTimeout { max } => {
                let bound = format!("received within {} ms", max.as_millis());
                new(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", true).bound("body", &bound)
            }
            HttpError::TooManyBodies => new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_BODIES", true),
        }
    }

    fn new(status: StatusCode, (reason, retryable): (&str, bool), text: &str) -> Self {
        Self {
            kind: format!("tag:lograft.io,2026:reason/{reason}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: cut_text(text).to_owned(),
            reason: reason.to_owned(),
            retryable,
            details: BTreeMap::new(),
            retry_delay: RETRY_AFTER,
        }
    }

    fn after(mut self, delay: Option<Duration>) -> Self {
        self.retry_delay = delay.unwrap_or(self.retry_delay);
        self
    }

    fn bound(self, field: &str, bound: &str) -> Self {
        self.with([("field", field.to_owned()), ("bound", bound.to_owned())])
    }

    /// Adds details for programs.
    pub(crate) fn with<'a>(mut self, details: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let details = details.into_iter();
        self.details
            .extend(details.map(|(key, value)| (key.to_owned(), value)));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(super::answer::json_bytes(&self)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let after_s = self.retry_delay.as_secs_f64().ceil().max(1.0);
                let after_s = HeaderValue::from_str(&format!("{after_s:.0}"));
                headers.extend(after_s.ok().map(|after_s| (header::RETRY_AFTER, after_s)));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        Problem::of(&self).into_response()
    }
}

/// The HTTP status of a reason. One of a later version has that of its gRPC code.
pub(crate) fn status_of(reason: &ReceivedReason) -> StatusCode {
    reason
        .known()
        .map_or_else(|| status_of_code(reason.code()), status_of_reason)
}

const fn status_of_reason(reason: Reason) -> StatusCode {
    match reason {
        Reason::InvalidArgument
        | Reason::InvalidTopicName
        | Reason::InvalidReplicationFactor
        | Reason::InvalidPartitionCount
        | Reason::InvalidTimestamp
        | Reason::BatchCorrupt
        | Reason::BatchMalformed
        | Reason::RequestMalformed => StatusCode::BAD_REQUEST,
        Reason::Unauthenticated | Reason::CertificateRevoked => StatusCode::UNAUTHORIZED,
        Reason::PermissionDenied => StatusCode::FORBIDDEN,
        Reason::UnknownTopic
        | Reason::UnknownPartition
        | Reason::UnknownNode
        | Reason::UnknownGroup
        | Reason::UnknownMember
        | Reason::UnknownService
        | Reason::UnknownCall => StatusCode::NOT_FOUND,
        Reason::TopicExists
        | Reason::TopicRecreated
        | Reason::MemberReplaced
        | Reason::NotAssigned
        | Reason::CommitSuperseded
        | Reason::GroupNotEmpty
        | Reason::LimitExceeded
        | Reason::OutOfOrderSequence
        | Reason::DuplicateSequence
        | Reason::ProducerFenced
        | Reason::ClusterMismatch
        | Reason::AlreadyBootstrapped
        | Reason::TooFewNodes
        | Reason::NodeDecommissioned
        | Reason::NodeNotDrained
        | Reason::OtherRecoveryEpoch
        | Reason::MajorityIntact
        | Reason::FeatureNotFinalized
        | Reason::VersionTooOld => StatusCode::CONFLICT,
        Reason::BatchTooLarge | Reason::MessageTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::UnsupportedCompression => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::OffsetOutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Reason::TooManyReads => StatusCode::TOO_MANY_REQUESTS,
        Reason::NotLeader
        | Reason::ReplicaNotCurrent
        | Reason::NoLeader
        | Reason::NotReady
        | Reason::ConnectionClosing
        | Reason::Timeout
        | Reason::DiskFull
        | Reason::DiskSlow
        | Reason::ReplicaCorrupt
        | Reason::NotBootstrapped => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The HTTP status of a gRPC code.
const fn status_of_code(code: i32) -> StatusCode {
    match code {
        3 => StatusCode::BAD_REQUEST,
        4 | 14 | 15 => StatusCode::SERVICE_UNAVAILABLE,
        5 => StatusCode::NOT_FOUND,
        6 | 9 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        11 => StatusCode::RANGE_NOT_SATISFIABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_status_and_says_when_to_retry() {
        for reason in Reason::ALL {
            let problem = Problem::of(&ApiError::new(*reason, "text").with("bound", 7).into());
            assert_eq!(problem.reason, reason.as_str());
            assert_eq!(problem.retryable, reason.is_retryable());
            assert_eq!(problem.details["bound"], "7");
            let response = problem.into_response();
            let after = response.headers().get(header::RETRY_AFTER);
            let after_s = after.map(|after| after.to_str().unwrap().parse().unwrap());
            let delay = reason.retry_delay().unwrap_or(Duration::from_secs(1));
            assert!(after_s.is_none_or(|s| Duration::from_secs(s) >= delay));
            let waits = after_s.is_some();
            assert_eq!(
                waits,
                matches!(response.status().as_u16(), 429 | 503),
                "{reason}"
            );
            // Nobody is asked to wait for what never succeeds.
            assert!(!waits || reason.is_retryable(), "{reason}");
            let is_own_fault = response.status().is_client_error();
            assert!(is_own_fault || reason.is_retryable() || *reason == Reason::Internal);
        }
    }

    #[test]
    fn a_reason_of_a_later_version_has_the_status_of_its_code() {
        let newer = ReceivedReason::from_wire("OF_LATER", 9, Some(true)).unwrap();
        let problem = Problem::of(&ApiError::new(newer, "later").into());
        assert_eq!((problem.status, &*problem.reason), (409, "OF_LATER"));
        assert!(problem.retryable);
    }
}
