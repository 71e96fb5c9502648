//! `status.blocked`: the waits that block, with the time since when. The time is kept by reason and
//! subject, so a changed count or error text in the message does not reset it. A wait that starts
//! again within `limits::WAIT_REMEMBERED_SECONDS` is the same one: while a state alternates between
//! two waits, both keep their times, and an alert on one of them fires.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use lograft_crds::LogClusterStatus;
use lograft_crds::limits::{
    BLOCKED_MAX_COUNT, BLOCKED_MESSAGE_MAX_BYTES, BLOCKED_SUBJECT_MAX_BYTES,
    WAIT_REMEMBERED_SECONDS,
};
use lograft_crds::log_cluster::{Blocked, BlockedReason, FormerBlocked};

use crate::cluster::wait::Wait;
use crate::text::cut_words;
use crate::time::time;

/// Between the message and the time in `blockedOn`.
const SINCE: &str = ", since ";

/// The waits that block, in order, each reason and subject once; and those that ended a short time
/// ago.
pub(super) fn next(
    old: &LogClusterStatus,
    waits: &[Wait],
    now_unix_seconds: i64,
) -> (Vec<Blocked>, Vec<FormerBlocked>) {
    let Some(now) = time(now_unix_seconds) else {
        return Default::default();
    };
    let remembered = remembered(old, &now);
    let mut blocked: Vec<Blocked> = Vec::new();
    for wait in waits {
        let Some(reason) = wait.blocked_reason() else {
            continue;
        };
        let subject = wait
            .subject()
            .map(|text| cut_words(&text, BLOCKED_SUBJECT_MAX_BYTES));
        let is_same = |other: &&Blocked| other.reason == reason.name() && other.subject == subject;
        if blocked.iter().any(|other| is_same(&other)) || blocked.len() == BLOCKED_MAX_COUNT {
            continue;
        }
        let is_start = |other: &&FormerBlocked| {
            other.subject == subject
                && (other.reason == reason.name() || is_start_of(&other.reason, reason))
        };
        let since = match remembered
            .iter()
            .filter(is_start)
            .min_by_key(|it| it.since.0)
        {
            Some(former) => former.since.clone(),
            None => former_since(old, wait).unwrap_or_else(|| now.clone()),
        };
        blocked.push(Blocked {
            reason: reason.name().to_owned(),
            subject,
            message: cut_words(&wait.to_string(), BLOCKED_MESSAGE_MAX_BYTES),
            since,
        });
    }
    let is_over = |former: &FormerBlocked| {
        let is_same = |it: &Blocked| it.reason == former.reason && it.subject == former.subject;
        !blocked.iter().any(is_same)
    };
    let over = remembered.into_iter().filter(is_over);
    let over = over.take(BLOCKED_MAX_COUNT).collect();
    (blocked, over)
}

/// The waits of the old status, and those that had ended a short time before `now`.
fn remembered(old: &LogClusterStatus, now: &Time) -> Vec<FormerBlocked> {
    let current = old.blocked.iter().map(|it| FormerBlocked {
        reason: it.reason.clone(),
        subject: it.subject.clone(),
        since: it.since.clone(),
        until: now.clone(),
    });
    let is_recent = |it: &&FormerBlocked| {
        let age = now.0.as_second() - it.until.0.as_second();
        (0..WAIT_REMEMBERED_SECONDS).contains(&age)
    };
    let former = old.recently_blocked.iter().filter(is_recent).cloned();
    current.chain(former).collect()
}

/// Whether a wait with the reason `former` becomes one with the reason `now` as time passes.
fn is_start_of(former: &str, now: BlockedReason) -> bool {
    let start = match now {
        BlockedReason::QuorumLost => BlockedReason::NoLeader,
        BlockedReason::ClaimNotProvisioned => BlockedReason::ClaimNotBound,
        BlockedReason::GrowthRefused => BlockedReason::ClaimNotGrown,
        _ => return false,
    };
    former == start.name()
}

/// Since when a group without a leader has been waited for, by the old status; `now` if it was not.
pub(super) fn leaderless_since(old: &LogClusterStatus, now_unix_seconds: i64) -> i64 {
    let reasons = [
        BlockedReason::NoLeader.name(),
        BlockedReason::QuorumLost.name(),
    ];
    let now = time(now_unix_seconds);
    let remembered = now.map(|now| remembered(old, &now)).unwrap_or_default();
    let waits = remembered.iter();
    let waits = waits.filter(|wait| reasons.contains(&wait.reason.as_str()));
    let first = waits.map(|wait| wait.since.0.as_second()).min();
    first.unwrap_or(now_unix_seconds)
}

/// `blockedOn`: the first entry as a sentence.
pub(super) fn sentence(blocked: &[Blocked]) -> Option<String> {
    let Blocked { message, since, .. } = blocked.first()?;
    Some(format!("{message}{SINCE}{}", since.0))
}

/// The time in the `blockedOn` of an operator that did not write `blocked`, if it was about this
/// wait. That is known from the condition that had the same message, and therefore the reason.
fn former_since(old: &LogClusterStatus, wait: &Wait) -> Option<Time> {
    const PREFIX: &str = "waits for ";
    if !old.blocked.is_empty() {
        return None;
    }
    let sentence = old.blocked_on.as_ref()?.strip_prefix(PREFIX)?;
    let (message, since) = sentence.rsplit_once(SINCE)?;
    let reasons = wait.condition_reasons();
    let mut names = reasons.iter().filter_map(|reason| reason.row());
    // The message may have been cut in `blockedOn`.
    let mut conditions = old.conditions.iter();
    let condition = conditions.find(|c| c.message.starts_with(message))?;
    let has_reason = names.any(|row| row.name == condition.reason);
    let since: Timestamp = since.parse().ok().filter(|_| has_reason)?;
    Some(Time(since))
}
