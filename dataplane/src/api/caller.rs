//! The caller of a call of any protocol: the identity in its client certificate.

use std::sync::Arc;

use http::Extensions;
use lograft_core::Reason;
use lograft_core::acl::{Principal, Resource};
use lograft_proto::Method;

use super::call_rules::rule_of;
use crate::access::{Access, check_node};
use crate::closing::Closing;
use crate::control::Control;
use crate::error::ApiError;
use crate::identity::{Caller, PeerIdentity};

/// The identity of the caller. Fails with UNAUTHENTICATED if the connection has none.
pub(crate) fn identity(extensions: &Extensions) -> Result<&Arc<PeerIdentity>, ApiError> {
    let caller = extensions.get::<Caller>();
    caller
        .map(|caller| &caller.identity)
        .ok_or_else(|| ApiError::new(Reason::Unauthenticated, "no client certificate"))
}

/// The principal of the caller. Fails with UNAUTHENTICATED if the connection has none.
pub(crate) fn principal(extensions: &Extensions) -> Result<&Arc<Principal>, ApiError> {
    identity(extensions).map(|identity| &identity.principal)
}

/// Whether the caller's connection is closing. A call without a connection, in tests, never is.
pub(crate) fn closing(extensions: &Extensions) -> Closing {
    let caller = extensions.get::<Caller>();
    caller
        .map(|caller| caller.closing.clone())
        .unwrap_or_default()
}

/// The error at the end of a stream whose connection is closing.
pub(crate) fn connection_closing() -> ApiError {
    let text = "the connection is closing: continue on another one";
    ApiError::new(Reason::ConnectionClosing, text)
}

/// Checks that the caller may make a call for a resource, and returns its principal.
pub(crate) fn authorize_call(
    access: &Access,
    extensions: &Extensions,
    (method, resource): (Method, Resource<'_>),
) -> Result<Arc<Principal>, ApiError> {
    let principal = principal(extensions)?;
    access.check(principal, rule_of(method), resource)?;
    Ok(Arc::clone(principal))
}

/// Checks that the caller is a node. The handshake of the peer port lets only nodes in already;
/// this check also holds if a service were moved to another port.
pub(crate) fn authorize_node(extensions: &Extensions) -> Result<(), ApiError> {
    check_node(principal(extensions)?)
}

/// Rejects calls while the node belongs to no cluster, or has not caught up with its own.
pub(crate) fn check_member(control: &Control) -> Result<(), ApiError> {
    let is_member = control.member.get().is_some();
    if is_member && control.view.load().cluster_id().is_some() {
        return Ok(());
    }
    Err(not_entered(control))
}

/// The error of a node that belongs to no cluster, or has not entered its own since its start. The
/// two have different reasons: a caller may bootstrap only a node that belongs to no cluster, and
/// a member that restarts is soon ready.
pub(crate) fn not_entered(control: &Control) -> ApiError {
    if control.member.get().is_some() || control.entry.has_identity() {
        let text = "this node belongs to a cluster and has not caught up with it yet";
        return ApiError::new(Reason::NotReady, text);
    }
    let text = "this node does not belong to a cluster yet";
    ApiError::new(Reason::NotBootstrapped, text)
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
