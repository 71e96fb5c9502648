//! The caller of a gRPC call: the identity in its client certificate, or, in a request that a node
//! has forwarded, the principal that it names.

use std::sync::Arc;

use lograft_core::acl::{Principal, Resource};
use lograft_core::{Reason, acl};
use lograft_proto::Method;
use lograft_proto::log::v1 as proto;
use tonic::Extensions;

use super::call_rules::rule_of;
use crate::access::{Access, check_node};
use crate::closing::Closing;
use crate::error::ApiError;
use crate::identity::{Caller, PeerIdentity};

/// The identity of the caller. Fails with UNAUTHENTICATED if the connection has none.
pub(super) fn identity(extensions: &Extensions) -> Result<&Arc<PeerIdentity>, ApiError> {
    let caller = extensions.get::<Caller>();
    caller
        .map(|caller| &caller.identity)
        .ok_or_else(|| ApiError::new(Reason::Unauthenticated, "no client certificate"))
}

/// The principal of the caller. Fails with UNAUTHENTICATED if the connection has none.
pub(super) fn principal(extensions: &Extensions) -> Result<&Arc<Principal>, ApiError> {
    identity(extensions).map(|identity| &identity.principal)
}

/// Whether the caller's connection is closing. A call without a connection, in tests, never is.
pub(super) fn closing(extensions: &Extensions) -> Closing {
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
pub(super) fn authorize_call(
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
pub(super) fn authorize_node(extensions: &Extensions) -> Result<(), ApiError> {
    check_node(principal(extensions)?)
}

/// The marks of a request that a node has forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardMarks<'a> {
    pub(crate) is_forwarded: bool,
    /// The principal in the request; empty if there is none.
    pub(crate) principal: &'a str,
}

/// The marks of the requests that nodes forward.
macro_rules! marks_of {
    ($($request:ident),*) => {
        $(impl<'a> From<&'a proto::$request> for ForwardMarks<'a> {
            fn from(request: &'a proto::$request) -> Self {
                Self {
                    is_forwarded: request.forwarded,
                    principal: &request.principal,
                }
            }
        })*
    };
}

marks_of!(
    ProduceRequest,
    FetchRequest,
    ConsumeRequest,
    ListOffsetsRequest,
    DeleteRecordsRequest
);

/// The principal whose request it is: that of the connection, or that which a node names in a
/// request that it has forwarded. Fails with PERMISSION_DENIED if somebody else names one: a user
/// that could would have the rights of all others.
///
/// Nodes before 0.3.0 name none: the request is then their own, which has no right to records once
/// the rules decide. They decide only at a feature level that those nodes do not know.
pub(crate) fn on_behalf_of(
    caller: &Arc<Principal>,
    marks: ForwardMarks<'_>,
) -> Result<Arc<Principal>, ApiError> {
    let ForwardMarks {
        is_forwarded,
        principal,
    } = marks;
    if is_forwarded || !principal.is_empty() {
        check_node(caller)?;
    }
    if principal.is_empty() {
        return Ok(Arc::clone(caller));
    }
    let named: Result<Principal, acl::RuleError> = principal.parse();
    named
        .map(Arc::new)
        .map_err(|error| ApiError::invalid_rule(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(caller: &str, is_forwarded: bool, principal: &str) -> Result<String, Option<Reason>> {
        let caller = Arc::new(caller.parse().unwrap());
        let marks = ForwardMarks {
            is_forwarded,
            principal,
        };
        on_behalf_of(&caller, marks)
            .map(|principal| principal.to_string())
            .map_err(|error| error.reason())
    }

    #[test]
    fn a_call_without_a_certificate_is_unauthenticated() {
        let refused = authorize_node(&Extensions::new()).unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::Unauthenticated));
    }

    #[test]
    fn only_nodes_forward_and_name_a_principal() {
        let denied = Err(Some(Reason::PermissionDenied));
        for caller in ["user/a", "user/team/a", "operator"] {
            assert_eq!(asks(caller, false, ""), Ok(caller.to_owned()));
            assert_eq!(asks(caller, true, ""), denied);
            assert_eq!(asks(caller, false, "user/b"), denied);
            assert_eq!(asks(caller, true, caller), denied);
        }
        assert_eq!(asks("node/n", true, "user/b"), Ok("user/b".to_owned()));
        assert_eq!(asks("node/n", true, ""), Ok("node/n".to_owned()));
        let invalid = Err(Some(Reason::InvalidArgument));
        assert_eq!(asks("node/n", true, "user/*"), invalid);
    }
}
