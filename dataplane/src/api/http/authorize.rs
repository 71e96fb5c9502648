//! Who makes a request, and whether it may. The rules are those of gRPC: each route names the gRPC
//! method that it stands for.

use std::sync::Arc;

use http::request::Parts;
use lograft_core::acl::{Principal, Resource};
use lograft_proto::Method;

use super::parts::HttpApi;
use crate::access::Visibility;
use crate::api::call_rules::rule_of;
use crate::api::caller;
use crate::error::ApiError;

/// The principal of a request: the one place that decides by what a client identifies itself. It is
/// the client certificate of the connection; bearer tokens are to be read here.
pub(super) fn principal(head: &Parts) -> Result<&Arc<Principal>, ApiError> {
    caller::principal(&head.extensions)
}

impl HttpApi {
    /// Checks that the caller may make a call for a topic, and returns its principal.
    pub(super) fn authorize_topic(
        &self,
        head: &Parts,
        (method, topic): (Method, &str),
    ) -> Result<Arc<Principal>, ApiError> {
        self.authorize(head, (method, Resource::Topic(topic)))
    }

    /// Checks that the caller may make a call of the cluster, and returns its principal.
    pub(super) fn authorize_cluster(
        &self,
        head: &Parts,
        method: Method,
    ) -> Result<Arc<Principal>, ApiError> {
        self.authorize(head, (method, Resource::Cluster))
    }

    /// Checks that the caller may make a call for a resource, and returns its principal.
    pub(super) fn authorize(
        &self,
        head: &Parts,
        (method, resource): (Method, Resource<'_>),
    ) -> Result<Arc<Principal>, ApiError> {
        let principal = principal(head)?;
        self.access().check(principal, rule_of(method), resource)?;
        Ok(Arc::clone(principal))
    }

    /// The topics that a principal may see.
    pub(super) fn visibility<'a>(&self, principal: &'a Principal) -> Visibility<'a> {
        self.access().visibility(principal)
    }
}
