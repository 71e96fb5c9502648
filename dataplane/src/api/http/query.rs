//! Parts of a request's path and query, with errors that name the field.

use axum::extract::FromRequestParts;
use axum::extract::{Path, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The parameters of the query.
pub(crate) fn query<T: DeserializeOwned>(head: &Parts) -> Result<T, ApiError> {
    let read = Query::try_from_uri(&head.uri);
    read.map(|Query(value)| value).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        invalid("query", &cause.unwrap_or_else(|| error.to_string()))
    })
}

/// The parts of the path.
pub(crate) async fn path<T: DeserializeOwned + Send>(head: &mut Parts) -> Result<T, ApiError> {
    let read = Path::from_request_parts(head, &()).await;
    read.map(|Path(value)| value)
        .map_err(|error| invalid("path", &error.body_text()))
}

fn invalid(field: &'static str, cause: &str) -> ApiError {
    let text = format!("{field} must have the parameters that /openapi.json lists: {cause}");
    ApiError::new(lograft_core::Reason::InvalidArgument, text)
        .with("field", field)
        .with("bound", "as in /openapi.json")
}
