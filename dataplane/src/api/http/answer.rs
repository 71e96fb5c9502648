//! Answers in JSON.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// Media type of JSON.
pub(crate) const JSON: &str = "application/json";
/// Media type of JSON objects, one a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// Media type of server-sent events.
pub(crate) const EVENTS: &str = "text/event-stream";

/// An answer that is one JSON object.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    with_body(status, JSON, Body::from(json_bytes(value)))
}

/// An answer that no cache keeps: what it contains changes at any time.
pub(crate) fn with_body(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that has nothing to say.
pub(crate) fn no_content() -> Response {
    let mut response = with_body(StatusCode::NO_CONTENT, JSON, Body::empty());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// A value as JSON.
pub(crate) fn json_bytes<T: Serialize>(value: &T) -> Bytes {
    // Fails only for maps whose keys are no strings, of which the API has none.
    serde_json::to_vec(value).unwrap_or_default().into()
}
