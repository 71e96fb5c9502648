//! The conditions: for each type the most important wait that concerns it, or its healthy reason.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lograft_crds::conditions::{ConditionType, Reason};

use crate::cluster::wait::Wait;
use crate::condition::ConditionState;

/// Reasons of conditions that no wait concerns.
const HEALTHY: [Reason; 6] = [
    Reason::Serving,
    Reason::Settled,
    Reason::Whole,
    Reason::Issued,
    Reason::Bound,
    Reason::Running,
];

/// A reason and its message.
struct Finding {
    reason: Reason,
    message: String,
}

/// All conditions.
pub(super) fn next(
    old: &[Condition],
    waits: &[Wait],
    generation: Option<i64>,
    now_unix_seconds: i64,
) -> Vec<Condition> {
    let findings = findings(waits);
    let kinds = ConditionType::ALL.iter();
    let conditions = kinds.filter_map(|kind| {
        let finding = most_important(&findings, *kind)?;
        condition(old, finding, generation, now_unix_seconds)
    });
    conditions.collect()
}

/// The old conditions with a new readiness, in the order of the types.
pub(super) fn not_ready(
    old: &[Condition],
    waits: &[Wait],
    generation: Option<i64>,
    now_unix_seconds: i64,
) -> Vec<Condition> {
    let ready = ConditionType::Ready;
    let others = old.iter().filter(|c| c.type_ != ready.name()).cloned();
    let mut conditions: Vec<Condition> = others.collect();
    if let Some(finding) = most_important(&findings(waits), ready) {
        conditions.extend(condition(old, finding, generation, now_unix_seconds));
    }
    conditions.sort_by_key(|c| {
        let mut kinds = ConditionType::ALL.iter();
        kinds.position(|kind| kind.name() == c.type_)
    });
    conditions
}

fn findings(waits: &[Wait]) -> Vec<Finding> {
    let of = |wait: &Wait| {
        let message = wait.to_string();
        let reasons = wait.condition_reasons().into_iter();
        let findings = reasons.map(move |reason| Finding {
            reason,
            message: message.clone(),
        });
        findings.collect::<Vec<_>>()
    };
    let healthy = HEALTHY.iter().map(|reason| Finding {
        reason: *reason,
        message: reason.row().map_or("", |row| row.meaning).to_owned(),
    });
    waits.iter().flat_map(of).chain(healthy).collect()
}

/// The first finding of a condition, except that an expired certificate outranks the failure of its
/// renewal: the failure is the cause, but clients already fail.
fn most_important(findings: &[Finding], kind: ConditionType) -> Option<&Finding> {
    let is_own = |finding: &&Finding| {
        let row = finding.reason.row();
        row.is_some_and(|row| row.condition == kind)
    };
    let rank = |finding: &&Finding| finding.reason != Reason::Expired;
    findings.iter().filter(is_own).min_by_key(rank)
}

/// The condition of a finding.
fn condition(
    old: &[Condition],
    finding: &Finding,
    generation: Option<i64>,
    now_unix_seconds: i64,
) -> Option<Condition> {
    let row = finding.reason.row()?;
    let found = ConditionState {
        kind: row.condition.name(),
        is_true: row.status,
        reason: row.name,
        message: &finding.message,
    };
    found.condition(old, generation, now_unix_seconds)
}
