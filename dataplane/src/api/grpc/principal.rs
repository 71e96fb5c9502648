//! The principal whose request a gRPC call is: that of its connection, or, in a request that a node
//! has forwarded, the one that the request names.

use std::sync::Arc;

use lograft_core::acl;
use lograft_core::acl::Principal;
use lograft_proto::log::v1 as proto;

use crate::access::check_node;
use crate::error::ApiError;

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
    DeleteRecordsRequest,
    JoinGroupRequest,
    HeartbeatRequest,
    LeaveGroupRequest,
    CommitOffsetsRequest,
    FetchOffsetsRequest,
    DeleteOffsetsRequest,
    ListGroupsRequest,
    DescribeGroupRequest,
    DeleteGroupRequest
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
    use lograft_core::Reason;

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
