//! Requests of the access service from their messages.

use lograft_core::acl::{
    Effect, NamePattern, Operation, Principal, Resource, ResourcePattern, RevocationChange, Rule,
    RuleChange, RuleError,
};
use lograft_core::limits::{ACL_CHANGES_MAX_COUNT, PAGE_MAX_COUNT};
use lograft_proto::admin::v1 as proto;

use crate::error::ApiError;

/// Asks for a page of rules.
pub(in crate::api::grpc) struct RulesPage {
    /// Only rules that match this principal.
    pub(in crate::api::grpc) principal: Option<Principal>,
    /// At least 1.
    pub(in crate::api::grpc) max_count: u32,
    /// The number of rules on the pages before.
    pub(in crate::api::grpc) skip_count: usize,
}

/// Asks about one operation.
pub(in crate::api::grpc) struct Question {
    pub(in crate::api::grpc) principal: Principal,
    pub(in crate::api::grpc) operation: Operation,
    pub(in crate::api::grpc) resource: OneResource,
    pub(in crate::api::grpc) changes: Vec<RuleChange>,
}

/// A resource with its name.
pub(in crate::api::grpc) struct OneResource(ResourcePattern);

impl OneResource {
    pub(in crate::api::grpc) fn as_resource(&self) -> Resource<'_> {
        match &self.0 {
            ResourcePattern::Topic(NamePattern::Literal(name)) => Resource::Topic(name),
            ResourcePattern::Group(NamePattern::Literal(name)) => Resource::Group(name),
            // Patterns were refused.
            _ => Resource::Cluster,
        }
    }
}

pub(in crate::api::grpc) fn list(request: proto::ListRulesRequest) -> Result<RulesPage, ApiError> {
    let proto::ListRulesRequest {
        principal,
        max_count,
        after,
    } = request;
    let principal = (!principal.is_empty())
        .then(|| read(&principal))
        .transpose()?;
    let skip_count = if after.is_empty() {
        0
    } else {
        let refused = |_| ApiError::invalid("after", "next of a former reply");
        after.parse().map_err(refused)?
    };
    Ok(RulesPage {
        principal,
        // All rules are too many for one reply.
        max_count: match max_count {
            0 => PAGE_MAX_COUNT,
            count => count,
        },
        skip_count,
    })
}

pub(in crate::api::grpc) fn changes(
    changes: Vec<proto::AccessRuleChange>,
) -> Result<Vec<RuleChange>, ApiError> {
    check_count(changes.len())?;
    changes.into_iter().map(change).collect()
}

pub(in crate::api::grpc) fn question(
    request: proto::ExplainAccessRequest,
    caller: &Principal,
) -> Result<Question, ApiError> {
    let proto::ExplainAccessRequest {
        principal,
        operation,
        resource,
        changes: assumed,
    } = request;
    let resource: ResourcePattern = read(&resource)?;
    if let ResourcePattern::Topic(names) | ResourcePattern::Group(names) = &resource
        && !matches!(names, NamePattern::Literal(_))
    {
        let bound = "topic:<name>, group:<name> or cluster, without *";
        return Err(ApiError::invalid("resource", bound));
    }
    Ok(Question {
        principal: if principal.is_empty() {
            caller.clone()
        } else {
            read(&principal)?
        },
        operation: read(&operation)?,
        resource: OneResource(resource),
        changes: if assumed.is_empty() {
            Vec::new()
        } else {
            changes(assumed)?
        },
    })
}

pub(in crate::api::grpc) fn revocations(
    request: proto::ChangeRevocationsRequest,
) -> Result<Vec<RevocationChange>, ApiError> {
    let proto::ChangeRevocationsRequest {
        revoke_serials,
        revoke_principals,
        allow_serials,
        allow_principals,
    } = request;
    let counts = [
        revoke_serials.len(),
        revoke_principals.len(),
        allow_serials.len(),
        allow_principals.len(),
    ];
    check_count(counts.into_iter().sum())?;
    let serials = revoke_serials.into_iter().map(|revoked| {
        Ok(RevocationChange::RevokeSerial {
            serial: read(&revoked.serial)?,
            not_after_s: revoked.not_after_s,
        })
    });
    let principals = revoke_principals.into_iter().map(|revoked| {
        let principal: Principal = read(&revoked.principal)?;
        // Nodes and the operator get other certificates by another CA: without them the cluster
        // would stop, and nobody could take it back.
        if !matches!(principal, Principal::User { .. }) {
            let bound = "user/<name> or user/<namespace>/<name>";
            return Err(ApiError::invalid("principal", bound));
        }
        Ok(RevocationChange::RevokePrincipal {
            principal,
            not_before_s: if revoked.suspended {
                i64::MAX
            } else {
                revoked.not_before_s
            },
            not_after_s: revoked.not_after_s,
        })
    });
    let allowed_serials = allow_serials
        .iter()
        .map(|serial| Ok(RevocationChange::AllowSerial(read(serial)?)));
    let allowed_principals = allow_principals
        .iter()
        .map(|principal| Ok(RevocationChange::AllowPrincipal(read(principal)?)));
    serials
        .chain(principals)
        .chain(allowed_serials)
        .chain(allowed_principals)
        .collect()
}

fn check_count(count: usize) -> Result<(), ApiError> {
    if (1..=ACL_CHANGES_MAX_COUNT).contains(&count) {
        return Ok(());
    }
    let bound = format_args!("1 to {ACL_CHANGES_MAX_COUNT}, got {count}");
    Err(ApiError::invalid("changes", bound))
}

fn change(change: proto::AccessRuleChange) -> Result<RuleChange, ApiError> {
    let proto::AccessRuleChange {
        rule: given,
        remove,
    } = change;
    let given = given.ok_or_else(|| ApiError::invalid("rule", "set"))?;
    let change = if remove {
        RuleChange::Remove
    } else {
        RuleChange::Add
    };
    rule(&given).map(change)
}

fn rule(given: &proto::AccessRule) -> Result<Rule, ApiError> {
    let effect = match given.effect() {
        proto::RuleEffect::Allow => Effect::Allow,
        proto::RuleEffect::Deny => Effect::Deny,
        proto::RuleEffect::Unspecified => {
            let bound = "RULE_EFFECT_ALLOW or RULE_EFFECT_DENY";
            return Err(ApiError::invalid("effect", bound));
        }
    };
    let operations = given.operations.iter().map(|text| read::<Operation>(text));
    let rule = Rule {
        principal: read(&given.principal)?,
        effect,
        operations: operations.collect::<Result<_, ApiError>>()?,
        resource: read(&given.resource)?,
    };
    rule.validate()
        .map_err(|error| ApiError::invalid_rule(&error))?;
    Ok(rule)
}

/// A part of a rule from its text.
fn read<T: std::str::FromStr<Err = RuleError>>(text: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|error: RuleError| ApiError::invalid_rule(&error))
}
