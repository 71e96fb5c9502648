//! The caller of a gRPC call: the identity in its client certificate.

use std::sync::Arc;

use lograft_core::Reason;
use tonic::Extensions;

use crate::access::{Operation, Resource, authorize};
use crate::closing::Closing;
use crate::error::ApiError;
use crate::identity::{Caller, PeerIdentity};

/// The identity of the caller. Fails with UNAUTHENTICATED if the connection has none.
pub(super) fn principal(extensions: &Extensions) -> Result<&Arc<PeerIdentity>, ApiError> {
    let caller = extensions.get::<Caller>();
    caller
        .map(|caller| &caller.identity)
        .ok_or_else(|| ApiError::new(Reason::Unauthenticated, "no client certificate"))
}

/// Whether the caller's connection is closing. A call without a connection, in tests, never is.
pub(super) fn closing(extensions: &Extensions) -> Closing {
    let caller = extensions.get::<Caller>();
    caller
        .map(|caller| caller.closing.clone())
        .unwrap_or_default()
}

/// The error at the end of a stream whose connection is closing.
pub(super) fn connection_closing() -> ApiError {
    let text = "the connection is closing: continue on another one";
    ApiError::new(Reason::ConnectionClosing, text)
}

/// Checks that the caller may apply an operation to a resource.
pub(super) fn authorize_call(
    extensions: &Extensions,
    operation: Operation,
    resource: Resource<'_>,
) -> Result<(), ApiError> {
    authorize(principal(extensions)?, operation, resource)
}

/// Checks that the caller is a node. The handshake of the peer port lets only nodes in already;
/// this check also holds if a service were moved to another port.
pub(super) fn authorize_node(extensions: &Extensions) -> Result<(), ApiError> {
    authorize_call(extensions, Operation::ClusterAction, Resource::Cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_a_certificate_is_unauthenticated() {
        let refused = authorize_node(&Extensions::new()).unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::Unauthenticated));
    }
}
