//! Who may do what to the cluster. Every identity that the cluster's CA issued may do all for now,
//! but join, which is for nodes; lists of rights find their place here.

use lograft_core::Reason;
use tonic::Extensions;

use crate::api::grpc::status::ApiError;
use crate::identity::{Caller, Role};

/// What the caller may do.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    role: Role,
}

impl Access {
    /// That of the call's certificate.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, ApiError> {
        let caller = extensions.get::<Caller>();
        let caller = caller
            .ok_or_else(|| ApiError::new(Reason::Unauthenticated, "no client certificate"))?;
        Ok(Self {
            role: caller.identity.role.clone(),
        })
    }

    /// Refuses all but nodes.
    pub(crate) fn require_node(&self) -> Result<(), ApiError> {
        match &self.role {
            Role::Node(_) => Ok(()),
            Role::User(_) | Role::Operator => Err(ApiError::new(
                Reason::PermissionDenied,
                "only a node may join",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn caller(uri: &str) -> Extensions {
        let mut extensions = Extensions::new();
        let identity = Arc::new(uri.parse().unwrap());
        extensions.insert(Caller {
            identity,
            remote: ([127, 0, 0, 1], 1).into(),
        });
        extensions
    }

    #[test]
    fn without_a_certificate_nothing_and_only_nodes_join() {
        let refused = Access::of(&Extensions::new()).unwrap_err();
        assert_eq!(refused.reason(), Reason::Unauthenticated);
        let prefix = "spiffe://lograft.io/ns/a/cluster/b";
        let may_join = |role: &str| {
            Access::of(&caller(&format!("{prefix}/{role}")))
                .unwrap()
                .require_node()
        };
        assert!(may_join("node/a").is_ok());
        assert_eq!(
            may_join("user/a").unwrap_err().reason(),
            Reason::PermissionDenied
        );
        assert_eq!(
            may_join("operator").unwrap_err().reason(),
            Reason::PermissionDenied
        );
    }
}
