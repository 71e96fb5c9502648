//! Replies of the access service as messages.

use lograft_core::acl::{Effect, Explanation, Operation, Principal, Rule, StoredRule};
use lograft_core::metadata::Metadata;
use lograft_proto::admin::v1 as proto;

use super::decode::RulesPage;
use crate::access::{Decider, Decision};
use crate::api::page::Page;
use crate::config::AuthorizationMode;

/// A page of the rules; only those that match `own`, if it is given.
pub(in crate::api::grpc) fn page(
    metadata: &Metadata,
    request: &RulesPage,
    own: Option<&Principal>,
) -> proto::ListRulesReply {
    let is_shown = |stored: &StoredRule| {
        let wanted = [own, request.principal.as_ref()];
        let principal = &stored.rule.principal;
        wanted.into_iter().flatten().all(|p| principal.matches(p))
    };
    let shown = metadata.rules().iter().filter(is_shown);
    let page = Page::of(shown.skip(request.skip_count), request.max_count);
    proto::ListRulesReply {
        next: page.next(|_| (request.skip_count + page.items.len()).to_string()),
        rules: page.items.into_iter().map(stored_rule).collect(),
        metadata_version: metadata.version().get(),
    }
}

fn stored_rule(stored: StoredRule) -> proto::StoredAccessRule {
    let StoredRule {
        rule: found,
        changed_by,
        changed_at_ms,
    } = stored;
    proto::StoredAccessRule {
        rule: Some(rule(&found)),
        changed_by,
        changed_at_ms,
    }
}

fn rule(rule: &Rule) -> proto::AccessRule {
    let effect = match rule.effect {
        Effect::Allow => proto::RuleEffect::Allow,
        Effect::Deny => proto::RuleEffect::Deny,
    };
    let operations = rule.operations.iter().map(Operation::as_str);
    proto::AccessRule {
        principal: rule.principal.to_string(),
        effect: effect.into(),
        operations: operations.map(str::to_owned).collect(),
        resource: rule.resource.to_string(),
    }
}

/// A decision, with the rules if they decide.
pub(in crate::api::grpc) fn explanation(
    decision: Decision,
    explained: Explanation,
    mode: AuthorizationMode,
) -> proto::ExplainAccessReply {
    let (allowed, decider, rules) = match decision.decider {
        Decider::Rules => {
            let decider = if explained.rules.is_empty() {
                proto::AccessDecider::NoRule
            } else {
                proto::AccessDecider::Rules
            };
            (explained.is_allowed, decider, explained.rules)
        }
        Decider::SuperUser => (true, proto::AccessDecider::SuperUser, Vec::new()),
        Decider::Fixed => (decision.is_allowed, proto::AccessDecider::Fixed, Vec::new()),
        Decider::Disabled => (true, proto::AccessDecider::Disabled, Vec::new()),
    };
    let mode = match mode {
        AuthorizationMode::Disabled => proto::AuthorizationMode::Disabled,
        AuthorizationMode::ReportOnly => proto::AuthorizationMode::ReportOnly,
        AuthorizationMode::Enforced => proto::AuthorizationMode::Enforced,
    };
    proto::ExplainAccessReply {
        allowed,
        decider: decider.into(),
        rules: rules.iter().map(rule).collect(),
        mode: mode.into(),
    }
}

pub(in crate::api::grpc) fn revocations(metadata: &Metadata) -> proto::ListRevocationsReply {
    let table = metadata.revocations();
    let serials = table
        .serials()
        .map(|(serial, not_after_s)| proto::RevokedSerial {
            serial: serial.to_string(),
            not_after_s,
        });
    let principals = table.principals().map(|(principal, revoked)| {
        let suspended = revoked.is_suspension();
        proto::RevokedPrincipal {
            principal: principal.to_string(),
            not_before_s: if suspended { 0 } else { revoked.not_before_s },
            suspended,
            not_after_s: revoked.not_after_s,
        }
    });
    proto::ListRevocationsReply {
        serials: serials.collect(),
        principals: principals.collect(),
        metadata_version: metadata.version().get(),
    }
}
