//! The answer to every call of a client whose certificate is revoked.

use std::future::ready;

use lograft_core::Reason;
use lograft_core::acl::Revoked;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;

use crate::error::ApiError;

/// Services that refuse every call, whatever its name: with CERTIFICATE_REVOKED.
pub(crate) fn refusing(revoked: &Revoked) -> Routes {
    let error = ApiError::new(Reason::CertificateRevoked, revoked.to_string());
    let status = Status::from(error);
    let answer = move || ready(status.clone().into_http::<Body>());
    let routes = Routes::default().into_axum_router().reset_fallback();
    Routes::from(routes.fallback(answer))
}
