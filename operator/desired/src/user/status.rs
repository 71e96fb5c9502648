//! The status of a LogUser: from the observation, the plan and its outcome, after the plan was
//! carried out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lograft_crds::conditions::user::{USER_TABLE, UserReason};
use lograft_crds::log_cluster::Blocked;
use lograft_crds::log_user::UserCertificateStatus;
use lograft_crds::{LogUser, LogUserStatus};

use crate::cluster_wait::ClusterWait;
use crate::dependent_status::{self, FormerConditions};
use crate::time::time;
use crate::topic::{Event, ObservedCluster};
use crate::user::access::{AccessRequest, Revocation, RuleSet};
use crate::user::applied;
use crate::user::certificate::usable;
use crate::user::observed::{Observed, ObservedAccess, UserCertificate};
use crate::user::plan::{Failure, Plan};
use crate::user::validate::ValidUser;
use crate::user::wait::Wait;

/// The status of a LogUser whose spec is invalid. Everything but the readiness stays as it was.
pub fn invalid(raw: &LogUser, plan: &Plan, now_unix_seconds: i64) -> LogUserStatus {
    let old = raw.status.clone().unwrap_or_default();
    let has_certificate = old.certificate.is_some();
    let reason = plan.waits.first().map_or(UserReason::Applied, Wait::reason);
    LogUserStatus {
        observed_generation: raw.metadata.generation,
        conditions: conditions(
            raw,
            (&plan.waits, reason),
            has_certificate,
            now_unix_seconds,
        ),
        blocked: blocked(&old, &plan.waits, now_unix_seconds),
        ..old
    }
}

/// The status after a plan was carried out. `written` is the certificate that is now in the Secret,
/// if one was issued; `failure` why a request failed.
pub fn next(
    raw: &LogUser,
    user: &ValidUser,
    observed: &Observed,
    plan: &Plan,
    (written, failure): (Option<&UserCertificate>, Option<&Failure>),
) -> LogUserStatus {
    let old = raw.status.clone().unwrap_or_default();
    let now = observed.now_unix_seconds;
    let waits = waits(user, plan, failure);
    let certificate = written.or_else(|| usable(user, observed));
    let ready = match waits.first() {
        Some(wait) => wait.reason(),
        None if user.suspended => UserReason::Suspended,
        None => UserReason::Applied,
    };
    let mut next = LogUserStatus {
        observed_generation: raw.metadata.generation,
        principal: Some(user.principal.clone()),
        secret_name: Some(user.secret.clone()),
        certificate: certificate.and_then(certificate_status),
        conditions: conditions(raw, (&waits, ready), certificate.is_some(), now),
        blocked: blocked(&old, &waits, now),
        last_not_after: last_not_after(&old, observed.secret.certificate(), written),
        ..old
    };
    if let ObservedCluster::Found(cluster) = &observed.cluster
        && (user.has_finalizer || !plan.is_empty())
    {
        next.cluster_id.clone_from(&cluster.id);
    }
    if let ObservedAccess::Listed(access) = &observed.access {
        let mut rules = access.rules.clone();
        let mut revocation = access.revocation;
        for request in done(plan, failure) {
            match request {
                AccessRequest::Rules(changes) => rules = changed(rules, changes),
                AccessRequest::Revoke {
                    revocation: new, ..
                } => revocation = Some(*new),
                AccessRequest::Restore => revocation = None,
            }
        }
        next.rules_applied = i32::try_from(rules.0.len()).ok();
        match revocation {
            Some(Revocation::Suspended) => {
                let is_own = !waits
                    .iter()
                    .any(|wait| matches!(wait, Wait::SuspendedByAnother { .. }));
                next.suspended = is_own;
                // The cluster forgets it when it suspends a principal.
                if let Some(Revocation::Before(before)) = access.revocation {
                    next.revoked_before = time(before);
                }
            }
            Some(Revocation::Before(before)) => {
                next.suspended = false;
                next.revoked_before = time(before);
            }
            None => {
                next.suspended = false;
                next.revoked_before = None;
            }
        }
    }
    applied::enter(&mut next, (user, observed), (plan, failure));
    next
}

/// The requests that were carried out: all, or none if one has failed. It is then looked again.
fn done<'a>(plan: &'a Plan, failure: Option<&Failure>) -> impl Iterator<Item = &'a AccessRequest> {
    let is_done = failure.is_none();
    let all = plan.requests.iter().chain(&plan.late_requests);
    all.filter(move |_| is_done)
}

fn changed(mut rules: RuleSet, changes: &[crate::user::RuleChange]) -> RuleSet {
    for change in changes {
        rules.apply(change);
    }
    rules
}

/// The Warning event about a state that needs a person, if the status before was another one.
pub fn warning(old: Option<&LogUserStatus>, next: &LogUserStatus) -> Option<Event> {
    let old = old.map(|status| status.conditions.as_slice());
    let warning = dependent_status::new_warning(USER_TABLE, old, &next.conditions);
    warning.map(|(reason, text)| Event::warning(reason, text))
}

/// The waits of the plan as its outcome has left them.
fn waits(user: &ValidUser, plan: &Plan, failure: Option<&Failure>) -> Vec<Wait> {
    let is_whole = !plan.requests.iter().any(AccessRequest::is_partial);
    let is_step =
        |wait: &&Wait| is_whole && matches!(wait, Wait::Applying { .. } | Wait::Deleting { .. });
    let others = plan.waits.iter().filter(|wait| !is_step(wait)).cloned();
    let first = failure.map(|failure| {
        let wait = match failure {
            Failure::Refused(why) => Wait::Refused { why: why.clone() },
            Failure::Unknown(why) => Wait::Cluster(ClusterWait::Unreachable {
                cluster: user.cluster.clone(),
                why: why.clone(),
            }),
        };
        if user.is_deleting {
            Wait::Deletion(Box::new(wait))
        } else {
            wait
        }
    });
    first.into_iter().chain(others).collect()
}

fn certificate_status(certificate: &UserCertificate) -> Option<UserCertificateStatus> {
    Some(UserCertificateStatus {
        serial: certificate.serial.clone(),
        not_before: time(certificate.not_before)?,
        not_after: time(certificate.not_after)?,
    })
}

/// The latest end of all certificates that the user has had: a revocation is kept until then.
fn last_not_after(
    old: &LogUserStatus,
    in_secret: Option<&UserCertificate>,
    written: Option<&UserCertificate>,
) -> Option<Time> {
    let seconds = |time: &Time| time.0.as_second();
    let former = old.certificate.as_ref().map(|it| seconds(&it.not_after));
    let now = [in_secret, written].into_iter().flatten();
    let ends = now.map(|certificate| certificate.not_after);
    let known = old.last_not_after.as_ref().map(seconds);
    ends.chain(former).chain(known).max().and_then(time)
}

fn conditions(
    raw: &LogUser,
    (waits, ready): (&[Wait], UserReason),
    has_certificate: bool,
    now_unix_seconds: i64,
) -> Vec<Condition> {
    let status = raw.status.as_ref();
    let former = FormerConditions {
        conditions: status.map_or(&[], |status| &status.conditions),
        generation: raw.metadata.generation,
        now_unix_seconds,
    };
    let issued = if has_certificate {
        UserReason::Issued
    } else {
        UserReason::NotIssued
    };
    let of = |reason: UserReason, text: Option<String>| {
        let row = reason.row()?;
        former.next(row.condition.name(), row, text)
    };
    let ready = of(ready, waits.first().map(ToString::to_string));
    ready.into_iter().chain(of(issued, None)).collect()
}

fn blocked(old: &LogUserStatus, waits: &[Wait], now_unix_seconds: i64) -> Vec<Blocked> {
    let waits = waits.iter();
    let waits = waits.map(|wait| (wait.reason().name(), wait.to_string()));
    dependent_status::blocked(&old.blocked, waits, now_unix_seconds)
}
