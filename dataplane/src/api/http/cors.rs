//! Cross-origin requests of browsers (CORS): off unless the configuration lists origins.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::parts::HttpApi;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "content-type, content-encoding, last-event-id, lograft-key, lograft-key-base64, \
     lograft-partition, lograft-timestamp-ms, lograft-header, lograft-header-base64, \
     lograft-null-value, lograft-producer-id, lograft-epoch, lograft-sequence",
);
/// Seconds for which a browser may keep the answer to a preflight.
const AGE: HeaderValue = HeaderValue::from_static("600");

pub(super) async fn cors(State(api): State<HttpApi>, request: Request, next: Next) -> Response {
    let allowed = &api.settings().allowed_origins;
    if allowed.is_empty() {
        return next.run(request).await;
    }
    let origin = request.headers().get(ORIGIN);
    let is_allowed = |origin: &&HeaderValue| {
        let is_it = |allowed: &String| allowed.as_bytes() == origin.as_bytes();
        allowed.iter().any(is_it)
    };
    let origin = origin.filter(is_allowed).cloned();
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight {
        preflight(origin.is_some())
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        // A client certificate is a credential.
        headers.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    response
}

fn preflight(is_allowed: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if is_allowed {
        let headers = [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (ACCESS_CONTROL_MAX_AGE, AGE),
        ];
        response.headers_mut().extend(HeaderMap::from_iter(headers));
    }
    response
}
