//! The answer to every request of a client whose certificate is revoked.

use std::future::ready;

use axum::Router;
use lograft_core::Reason;
use lograft_core::acl::Revoked;

use super::error::HttpError;
use crate::error::ApiError;

/// Routes that refuse every request, whatever its path: with CERTIFICATE_REVOKED.
pub(crate) fn refusing(revoked: Revoked) -> Router {
    let refusal = move || {
        let error = ApiError::new(Reason::CertificateRevoked, revoked.to_string());
        ready(HttpError::Api(error))
    };
    Router::new().fallback(refusal)
}
