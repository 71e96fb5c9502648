//! Why a request over HTTP failed: an error of the node, or one of HTTP itself.

use std::time::Duration;

use lograft_core::limits::{HTTP_BODIES_MAX_BYTES, HTTP_BODY_IDLE_MAX};

use crate::error::ApiError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// An error that gRPC has too.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// No route has the path.
    #[error("path {path:?} not found: /openapi.json lists the paths")]
    RouteNotFound { path: String },
    /// The route does not have the method.
    #[error("method {method} is not allowed: the header Allow lists those that are")]
    MethodNotAllowed { method: String },
    /// A body in another form than the route takes.
    #[error("{field} must be {bound}, got {found:?}")]
    UnsupportedMediaType {
        field: &'static str,
        bound: &'static str,
        found: String,
    },
    /// An answer in a form that the route does not have.
    #[error("Accept must be {bound}, got {found:?}")]
    NotAcceptable { bound: &'static str, found: String },
    /// A body or a line above its limit.
    #[error("{field} must be at most {max_bytes} bytes")]
    BodyTooLarge {
        field: &'static str,
        max_bytes: usize,
    },
    /// A body that is not in the form that its headers name.
    #[error("{field} must be {bound}: {cause}")]
    BodyMalformed {
        field: String,
        bound: &'static str,
        cause: String,
    },
    /// A body that did not arrive in time.
    #[error("body must arrive within {max:?}")]
    BodyTimeout { max: Duration },
    /// The memory for bodies is used up.
    #[error(
        "bodies that this node is receiving have reached their limit of {HTTP_BODIES_MAX_BYTES} bytes"
    )]
    TooManyBodies,
}

impl HttpError {
    /// A body that is no JSON, or has other fields than the route takes.
    pub(crate) fn json(field: impl Into<String>, error: &serde_json::Error) -> Self {
        Self::BodyMalformed {
            field: field.into(),
            bound: "JSON with the fields that /openapi.json lists",
            cause: error.to_string(),
        }
    }

    /// A stream of records that sends nothing.
    pub(crate) const fn idle() -> Self {
        Self::BodyTimeout {
            max: HTTP_BODY_IDLE_MAX,
        }
    }
}
