//! Rules and revocations of a cluster: one list for all LogUsers, and changes for one principal.

use std::collections::{BTreeMap, BTreeSet};

use lograft_crds::limits::{
    NODE_ANSWER_MAX_BYTES, NODE_ANSWER_MAX_SECONDS, USER_RULES_PAGE_COUNT,
    USER_RULES_PAGES_MAX_COUNT,
};
use lograft_crds::log_user::UserRuleEffect;
use lograft_operator_desired::user::{AccessRequest, Failure, Revocation, RuleChange, RuleSet};
use lograft_proto::admin::v1 as proto;
use proto::access_service_client::AccessServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use super::topics::{TopicClient, is_refusal, refusal_text};
use super::{NodeError, bounded, rejected};
use crate::error_text::error_text;

/// Rules and revocations of a cluster.
#[derive(Debug, Default)]
pub(crate) struct AccessList {
    /// Rules by their exact principal.
    pub(crate) rules: BTreeMap<String, RuleSet>,
    /// Revocations by principal, each with its end in seconds since 1970 if it has one.
    pub(crate) revocations: BTreeMap<String, (Revocation, Option<i64>)>,
    /// Revoked serial numbers.
    pub(crate) serials: BTreeSet<String>,
    /// Version of the metadata that has all of it; 0 if it is not known.
    pub(crate) version: u64,
}

impl TopicClient {
    /// The rules and revocations of the cluster.
    pub(crate) async fn access(&self) -> Result<AccessList, NodeError> {
        let list = async {
            let listed = list(self.access_client()).await;
            listed.map_err(|status| rejected(&self.host, status))
        };
        bounded(&self.host, NODE_ANSWER_MAX_SECONDS, list).await
    }

    /// Changes rules or the revocation of a principal.
    pub(crate) async fn change_access(
        &self,
        principal: &str,
        request: &AccessRequest,
    ) -> Result<(), Failure> {
        let send = async {
            let reply = send(self.access_client(), principal, request).await;
            reply.map_err(|status| rejected(&self.host, status))
        };
        let result = bounded(&self.host, NODE_ANSWER_MAX_SECONDS, send).await;
        result.map_err(|error| failure(principal, &error))
    }

    fn access_client(&self) -> AccessServiceClient<Channel> {
        let client = AccessServiceClient::new(self.channel.clone());
        client.max_decoding_message_size(NODE_ANSWER_MAX_BYTES)
    }
}

async fn list(mut client: AccessServiceClient<Channel>) -> Result<AccessList, Status> {
    let mut list = AccessList::default();
    let mut after = String::new();
    let mut versions = Vec::new();
    for _ in 0..USER_RULES_PAGES_MAX_COUNT {
        let request = proto::ListRulesRequest {
            principal: String::new(),
            max_count: USER_RULES_PAGE_COUNT,
            after,
        };
        let page = client.list_rules(request).await?.into_inner();
        let rules = page.rules.into_iter().filter_map(|stored| stored.rule);
        for rule in rules {
            let set = list.rules.entry(rule.principal.clone()).or_default();
            set.apply(&RuleChange {
                effect: match rule.effect() {
                    proto::RuleEffect::Deny => UserRuleEffect::Deny,
                    proto::RuleEffect::Allow | proto::RuleEffect::Unspecified => {
                        UserRuleEffect::Allow
                    }
                },
                resource: rule.resource,
                operations: rule.operations.into_iter().collect(),
                is_removal: false,
            });
        }
        versions.push(page.metadata_version);
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    let revoked = client.list_revocations(proto::ListRevocationsRequest {});
    let revoked = revoked.await?.into_inner();
    let serials = revoked.serials.into_iter().map(|revoked| revoked.serial);
    list.serials = serials.collect();
    versions.push(revoked.metadata_version);
    // Pages are read one after the other: a version that has all of them is that of the last one.
    let is_known = !versions.contains(&0);
    list.version = versions.into_iter().max().filter(|_| is_known).unwrap_or(0);
    let principals = revoked.principals.into_iter().map(|revoked| {
        let revocation = if revoked.suspended {
            Revocation::Suspended
        } else {
            Revocation::Before(revoked.not_before_s)
        };
        (revoked.principal, (revocation, revoked.not_after_s))
    });
    list.revocations = principals.collect();
    Ok(list)
}

async fn send(
    mut client: AccessServiceClient<Channel>,
    principal: &str,
    request: &AccessRequest,
) -> Result<(), Status> {
    let principal = principal.to_owned();
    match request {
        AccessRequest::Rules(changes) => {
            let changes = changes.iter().map(|change| rule_change(&principal, change));
            let changes = changes.collect();
            let request = proto::ChangeRulesRequest { changes };
            client.change_rules(request).await?;
        }
        AccessRequest::Revoke {
            revocation,
            not_after,
        } => {
            let (not_before_s, suspended) = match revocation {
                Revocation::Suspended => (0, true),
                Revocation::Before(time) => (*time, false),
            };
            let revoked = proto::RevokedPrincipal {
                principal,
                not_before_s,
                suspended,
                not_after_s: *not_after,
            };
            let mut request = proto::ChangeRevocationsRequest::default();
            request.revoke_principals.push(revoked);
            client.change_revocations(request).await?;
        }
        AccessRequest::Restore => {
            let mut request = proto::ChangeRevocationsRequest::default();
            request.allow_principals.push(principal);
            client.change_revocations(request).await?;
        }
    }
    Ok(())
}

fn rule_change(principal: &str, change: &RuleChange) -> proto::AccessRuleChange {
    let effect = match change.effect {
        UserRuleEffect::Allow => proto::RuleEffect::Allow,
        UserRuleEffect::Deny => proto::RuleEffect::Deny,
    };
    proto::AccessRuleChange {
        rule: Some(proto::AccessRule {
            principal: principal.to_owned(),
            effect: effect.into(),
            operations: change.operations.iter().cloned().collect(),
            resource: change.resource.clone(),
        }),
        remove: change.is_removal,
    }
}

fn failure(principal: &str, error: &NodeError) -> Failure {
    let NodeError::Rejected { status, .. } = error else {
        return Failure::Unknown(format!("cannot change {principal}: {}", error_text(error)));
    };
    let text = format!("cannot change {principal}: {}", refusal_text(status));
    if is_refusal(status.code()) {
        Failure::Refused(text)
    } else {
        Failure::Unknown(text)
    }
}
