//! Rules, decisions and revocations as text and JSON.

use std::fmt::Write as _;

use lograft_client::AccessQuestion;
use lograft_client::acl::RuleChange;
use lograft_client::admin_wire::{
    AccessDecider, AccessRule, AuthorizationMode, ExplainAccessReply, ListRevocationsReply,
    RuleEffect, StoredAccessRule,
};
use serde::Serialize;

use crate::clock::format_s;
use crate::output::{Cell, Paint, Table, Tone};

/// JSON of a rule.
#[derive(Debug, Serialize)]
pub(super) struct RuleJson {
    principal: String,
    effect: &'static str,
    operations: Vec<String>,
    resource: String,
    changed_by: String,
    changed_at_ms: i64,
}

const fn effect(rule: &AccessRule) -> &'static str {
    match rule.effect {
        effect if effect == RuleEffect::Allow as i32 => "allow",
        effect if effect == RuleEffect::Deny as i32 => "deny",
        _ => "unknown",
    }
}

pub(super) fn list_json(rules: &[StoredAccessRule]) -> Vec<RuleJson> {
    let json = |stored: &StoredAccessRule| {
        let rule = stored.rule.clone().unwrap_or_default();
        RuleJson {
            effect: effect(&rule),
            principal: rule.principal,
            operations: rule.operations,
            resource: rule.resource,
            changed_by: stored.changed_by.clone(),
            changed_at_ms: stored.changed_at_ms,
        }
    };
    rules.iter().map(json).collect()
}

pub(super) fn list(rules: &[StoredAccessRule], paint: Paint) -> String {
    if rules.is_empty() {
        return "no rules\n".to_owned();
    }
    let mut table = Table::new(&[
        "PRINCIPAL",
        "EFFECT",
        "OPERATIONS",
        "RESOURCE",
        "CHANGED BY",
        "CHANGED",
    ]);
    for stored in rules {
        let rule = stored.rule.clone().unwrap_or_default();
        let tone = match effect(&rule) {
            "allow" => Tone::Good,
            _ => Tone::Bad,
        };
        table.row([
            Cell::from(rule.principal.clone()),
            Cell::toned(effect(&rule), tone),
            rule.operations.join(",").into(),
            rule.resource.clone().into(),
            stored.changed_by.clone().into(),
            format_s(stored.changed_at_ms.div_euclid(1000)).into(),
        ]);
    }
    table.render(paint, 0)
}

pub(super) fn changes(changes: &[RuleChange]) -> String {
    if changes.is_empty() {
        return "nothing to change\n".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        let sign = match change {
            RuleChange::Add(_) => '+',
            RuleChange::Remove(_) => '-',
        };
        let _ = writeln!(text, "{sign} {}", change.rule());
    }
    text
}

/// The decision in a sentence, then the rules that decide.
pub(super) fn explanation(
    question: &AccessQuestion,
    reply: &ExplainAccessReply,
    paint: Paint,
) -> String {
    let verdict = if reply.allowed {
        paint.good("allowed").to_string()
    } else {
        paint.bad("refused").to_string()
    };
    let because = match reply.decider() {
        AccessDecider::Rules => "by these rules",
        AccessDecider::NoRule => "no rule matches",
        AccessDecider::SuperUser => "a super user of the node's configuration",
        AccessDecider::Fixed => "the rights of nodes and of the operator are fixed",
        AccessDecider::Disabled => {
            "authorization is disabled, or its feature level is not finalized"
        }
        AccessDecider::Unspecified => "for a reason that this version does not know",
    };
    let (operation, resource) = (&question.operation, &question.resource);
    let who = match question.principal.as_str() {
        "" => "you",
        principal => principal,
    };
    let mut text = format!("{verdict}: {who} {operation} {resource} ({because})\n");
    for rule in &reply.rules {
        let (principal, operations) = (&rule.principal, rule.operations.join(","));
        let _ = writeln!(
            text,
            "  {} {principal} {operations} on {}",
            effect(rule),
            rule.resource
        );
    }
    if reply.mode() == AuthorizationMode::ReportOnly && !reply.allowed {
        text.push_str("authorization only reports: the operation is executed\n");
    }
    text
}

/// JSON of the revocations.
#[derive(Debug, Serialize)]
pub(super) struct RevocationsJson {
    serials: Vec<SerialJson>,
    principals: Vec<PrincipalJson>,
}

#[derive(Debug, Serialize)]
struct SerialJson {
    serial: String,
    not_after_s: i64,
}

#[derive(Debug, Serialize)]
struct PrincipalJson {
    principal: String,
    suspended: bool,
    not_before_s: Option<i64>,
}

pub(super) fn revocations_json(reply: ListRevocationsReply) -> RevocationsJson {
    let serials = reply.serials.into_iter().map(|revoked| SerialJson {
        serial: revoked.serial,
        not_after_s: revoked.not_after_s,
    });
    let principals = reply.principals.into_iter().map(|revoked| PrincipalJson {
        not_before_s: (!revoked.suspended).then_some(revoked.not_before_s),
        principal: revoked.principal,
        suspended: revoked.suspended,
    });
    RevocationsJson {
        serials: serials.collect(),
        principals: principals.collect(),
    }
}

pub(super) fn revocations(reply: &ListRevocationsReply, paint: Paint) -> String {
    if reply.serials.is_empty() && reply.principals.is_empty() {
        return "no revocations\n".to_owned();
    }
    let mut table = Table::new(&["REVOKED", "CERTIFICATES"]);
    for revoked in &reply.principals {
        let what = if revoked.suspended {
            "all (suspended)".to_owned()
        } else {
            format!("that start before {}", format_s(revoked.not_before_s))
        };
        table.row([revoked.principal.clone(), what]);
    }
    for revoked in &reply.serials {
        let until = format!("that ends at {}", format_s(revoked.not_after_s));
        table.row([format!("serial {}", revoked.serial), until]);
    }
    table.render(paint, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_names_the_rules() {
        let question = AccessQuestion {
            principal: "user/a".to_owned(),
            operation: "write".to_owned(),
            resource: "topic:t".to_owned(),
            ..AccessQuestion::default()
        };
        let rule = AccessRule {
            principal: "user/*".to_owned(),
            effect: RuleEffect::Deny.into(),
            operations: vec!["write".to_owned()],
            resource: "topic:*".to_owned(),
        };
        let mut reply = ExplainAccessReply {
            allowed: false,
            decider: AccessDecider::Rules.into(),
            rules: vec![rule],
            mode: AuthorizationMode::Enforced.into(),
        };
        let text = |reply: &ExplainAccessReply| explanation(&question, reply, Paint::plain());
        assert_eq!(
            text(&reply),
            "refused: user/a write topic:t (by these rules)\n  deny user/* write on topic:*\n"
        );
        reply.mode = AuthorizationMode::ReportOnly.into();
        assert!(text(&reply).ends_with("the operation is executed\n"));
        reply.rules.clear();
        reply.decider = AccessDecider::SuperUser.into();
        reply.allowed = true;
        assert!(text(&reply).starts_with("allowed: user/a write topic:t (a super user"));
    }
}
