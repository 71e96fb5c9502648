//! The access service: who may do what. On the client port alone.

use std::sync::Arc;

use lograft_core::acl::{Principal, Resource, RuleChange};
use lograft_proto::Method;
use lograft_proto::admin::v1 as proto;
use lograft_proto::admin::v1::access_service_server::{AccessService, AccessServiceServer};
use tonic::{Extensions, Request, Response, Status};

use super::access::{decode, encode};
use crate::access::{Access, CallRule};
use crate::api::call_rules::rule_of;
use crate::api::caller::{authorize_call, check_member};
use crate::control::Control;
use crate::error::ApiError;

/// The right of those who may see and ask about others.
const ADMINISTERS: CallRule = rule_of(Method::AccessChangeRules);

/// The access service of a node.
pub(crate) struct AccessApi {
    control: Control,
    access: Access,
}

impl AccessApi {
    /// The service over a node's control.
    pub(crate) fn server(control: Control, access: Access) -> AccessServiceServer<Self> {
        AccessServiceServer::new(Self { control, access })
    }

    /// Checks that the caller may make a call, and returns its principal.
    fn admit(&self, extensions: &Extensions, method: Method) -> Result<Arc<Principal>, ApiError> {
        check_member(&self.control)?;
        authorize_call(&self.access, extensions, (method, Resource::Cluster))
    }

    /// Checks that the caller may ask about a principal.
    fn admit_about(&self, caller: &Principal, about: &Principal) -> Result<(), ApiError> {
        if caller == about {
            return Ok(());
        }
        self.access.check(caller, ADMINISTERS, Resource::Cluster)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AccessService for AccessApi {
    async fn list_rules(
        &self,
        request: Request<proto::ListRulesRequest>,
    ) -> Answer<proto::ListRulesReply> {
        let caller = self.admit(request.extensions(), Method::AccessListRules)?;
        let request = decode::list(request.into_inner())?;
        let sees_all = self
            .access
            .check(&caller, ADMINISTERS, Resource::Cluster)
            .is_ok();
        let own = (!sees_all).then_some(&*caller);
        let metadata = self.control.view.load();
        Ok(Response::new(encode::page(&metadata, &request, own)))
    }

    async fn change_rules(
        &self,
        request: Request<proto::ChangeRulesRequest>,
    ) -> Answer<proto::ChangeRulesReply> {
        let caller = self.admit(request.extensions(), Method::AccessChangeRules)?;
        let changes = decode::changes(request.into_inner().changes)?;
        let admin = &self.control.access;
        let count = admin.change_rules(changes, &caller).await?;
        Ok(Response::new(proto::ChangeRulesReply {
            rule_count: u32::try_from(count).unwrap_or(u32::MAX),
        }))
    }

    async fn explain_access(
        &self,
        request: Request<proto::ExplainAccessRequest>,
    ) -> Answer<proto::ExplainAccessReply> {
        let caller = self.admit(request.extensions(), Method::AccessExplainAccess)?;
        let decode::Question {
            principal,
            operation,
            resource,
            changes,
        } = decode::question(request.into_inner(), &caller)?;
        self.admit_about(&caller, &principal)?;
        let metadata = self.control.view.load();
        let mut rules = (**metadata.rules()).clone();
        for change in &changes {
            assume(&mut rules, change)?;
        }
        let basis = self.access.basis();
        let decided = basis.decide(&principal, operation, resource.as_resource());
        let explained = rules.explain(&principal, operation, resource.as_resource());
        let reply = encode::explanation(decided, explained, basis.mode());
        Ok(Response::new(reply))
    }

    async fn list_revocations(
        &self,
        request: Request<proto::ListRevocationsRequest>,
    ) -> Answer<proto::ListRevocationsReply> {
        self.admit(request.extensions(), Method::AccessListRevocations)?;
        let metadata = self.control.view.load();
        Ok(Response::new(encode::revocations(&metadata)))
    }

    async fn change_revocations(
        &self,
        request: Request<proto::ChangeRevocationsRequest>,
    ) -> Answer<proto::ChangeRevocationsReply> {
        let caller = self.admit(request.extensions(), Method::AccessChangeRevocations)?;
        let changes = decode::revocations(request.into_inner())?;
        let admin = &self.control.access;
        admin.change_revocations(changes, &caller).await?;
        Ok(Response::new(proto::ChangeRevocationsReply {}))
    }
}

fn assume(rules: &mut lograft_core::acl::RuleTable, change: &RuleChange) -> Result<(), ApiError> {
    let assumed = rules.change(change, "", 0);
    assumed.map_err(|error| ApiError::invalid_rule(&error))
}
