//! Authorization: the one function that all services of all protocols ask before they act.
//!
//! Every identity that the cluster's CA has issued may produce, consume and administer. Calls
//! between nodes are for nodes alone.

use std::fmt;

use lograft_core::Reason;

use crate::error::ApiError;
use crate::identity::{PeerIdentity, Role};

/// An operation of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Read records, or find their offsets.
    Read,
    /// Append records.
    Write,
    Create,
    Alter,
    Delete,
    Describe,
    /// Calls between nodes: replicate, join, forward requests. A user who could mark a request as
    /// forwarded could keep it from reaching the leader.
    ClusterAction,
}

/// The object of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Cluster,
}

/// Fails with PERMISSION_DENIED if the principal may not apply the operation to the resource.
pub(crate) fn authorize(
    principal: &PeerIdentity,
    operation: Operation,
    resource: Resource<'_>,
) -> Result<(), ApiError> {
    let is_allowed = match (&principal.role, operation) {
        (Role::Node(_), _) => true,
        (Role::User(_) | Role::Operator, operation) => operation != Operation::ClusterAction,
    };
    if is_allowed {
        return Ok(());
    }
    let text = format!("{principal} is not allowed to {operation} {resource}");
    Err(ApiError::new(Reason::PermissionDenied, text))
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Alter => "alter",
            Self::Delete => "delete",
            Self::Describe => "describe",
            Self::ClusterAction => "act as a node of",
        })
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name:?}"),
            Self::Cluster => f.write_str("the cluster"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(role: &str, operation: Operation, resource: Resource<'_>) -> bool {
        let principal = format!("spiffe://lograft.io/ns/a/cluster/b/{role}");
        match authorize(&principal.parse().unwrap(), operation, resource) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.reason(), Some(Reason::PermissionDenied));
                false
            }
        }
    }

    #[test]
    fn only_nodes_act_as_nodes() {
        let action = |role| may(role, Operation::ClusterAction, Resource::Cluster);
        assert!(action("node/a"));
        assert!(!action("user/a"));
        assert!(!action("operator"));
    }

    #[test]
    fn every_identity_may_do_the_rest() {
        for role in ["node/a", "user/a", "operator"] {
            for operation in [Operation::Read, Operation::Write] {
                assert!(may(role, operation, Resource::Topic("t")));
            }
            let cluster = Resource::Cluster;
            assert!(may(role, Operation::Alter, cluster));
            assert!(may(role, Operation::Describe, cluster));
            assert!(may(role, Operation::Create, Resource::Topic("t")));
            assert!(may(role, Operation::Delete, Resource::Topic("t")));
        }
    }
}
