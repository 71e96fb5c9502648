//! `status.blocked`: the waits that block, with the time since when. The time is kept by reason and
//! subject, so a changed count or error text in the message does not reset it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use lograft_crds::LogClusterStatus;
use lograft_crds::limits::{
    BLOCKED_MAX_COUNT, BLOCKED_MESSAGE_MAX_BYTES, BLOCKED_SUBJECT_MAX_BYTES,
};
use lograft_crds::log_cluster::Blocked;

use super::time;
use crate::cluster::wait::Wait;

/// Between the message and the time in `blockedOn`.
const SINCE: &str = ", since ";

/// The waits that block, in order, each reason and subject once.
pub(super) fn next(old: &LogClusterStatus, waits: &[Wait], now_unix_seconds: i64) -> Vec<Blocked> {
    let Some(now) = time(now_unix_seconds) else {
        return Vec::new();
    };
    let mut blocked: Vec<Blocked> = Vec::new();
    for wait in waits {
        let Some(reason) = wait.blocked_reason() else {
            continue;
        };
        let subject = wait
            .subject()
            .map(|text| cut(&text, BLOCKED_SUBJECT_MAX_BYTES));
        let is_same = |other: &&Blocked| other.reason == reason.name() && other.subject == subject;
        if blocked.iter().any(|other| is_same(&other)) || blocked.len() == BLOCKED_MAX_COUNT {
            continue;
        }
        let former = old.blocked.iter().find(is_same);
        let since = match former {
            Some(former) => former.since.clone(),
            None => former_since(old, wait).unwrap_or_else(|| now.clone()),
        };
        blocked.push(Blocked {
            reason: reason.name().to_owned(),
            subject,
            message: cut(&wait.to_string(), BLOCKED_MESSAGE_MAX_BYTES),
            since,
        });
    }
    blocked
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

fn cut(text: &str, max_bytes: usize) -> String {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
