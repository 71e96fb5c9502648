//! The status of a LogTopic: from the observation, the plan and its outcome, after the plan was
//! carried out.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lograft_crds::conditions::topic::{TOPIC_TABLE, TopicReason};
use lograft_crds::limits::{TOPIC_BYTES_BITS_COUNT, TOPIC_BYTES_MIN_BYTES};
use lograft_crds::log_cluster::Blocked;
use lograft_crds::{LogTopic, LogTopicStatus};

use crate::cluster_wait::ClusterWait;
use crate::dependent_status::{self, FormerConditions};
use crate::topic::decide::no_leader;
use crate::topic::observed::{Observed, ObservedCluster, ObservedTopic};
use crate::topic::outcome::{Failure, Outcome};
use crate::topic::plan::{Event, Plan};
use crate::topic::request::Request;
use crate::topic::setting::SettingKey;
use crate::topic::validate::{ValidTopic, topic_name};
use crate::topic::wait::Wait;

/// The status of a LogTopic whose spec is invalid. Everything but the readiness stays as it was.
pub fn invalid(raw: &LogTopic, plan: &Plan, now_unix_seconds: i64) -> LogTopicStatus {
    let old = raw.status.clone().unwrap_or_default();
    LogTopicStatus {
        observed_generation: raw.metadata.generation,
        conditions: conditions(raw, &plan.waits, None, now_unix_seconds),
        blocked: blocked(&old, &plan.waits, now_unix_seconds),
        ..old
    }
}

/// The status in which a creation is marked.
pub fn marked_as_creating(raw: &LogTopic) -> LogTopicStatus {
    LogTopicStatus {
        creating: true,
        ..raw.status.clone().unwrap_or_default()
    }
}

/// The status after a plan was carried out.
pub fn next(
    raw: &LogTopic,
    topic: &ValidTopic,
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
) -> LogTopicStatus {
    let old = raw.status.clone().unwrap_or_default();
    let now = observed.now_unix_seconds;
    let owned = match outcome {
        Outcome::Topic(changed) => Some(changed),
        _ => plan.owned.as_ref(),
    };
    let waits = waits(topic, plan, outcome);
    let mut next = LogTopicStatus {
        observed_generation: raw.metadata.generation,
        topic_name: Some(topic_name(raw).to_owned()),
        creating: is_creating(topic, plan, outcome),
        managed_settings: managed_settings(topic, &waits, owned.is_some()),
        conditions: conditions(raw, &waits, owned, now),
        blocked: blocked(&old, &waits, now),
        ..old
    };
    if let Some(owned) = owned {
        let int = |count: u32| Some(i32::try_from(count).unwrap_or(i32::MAX));
        let long = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if let ObservedCluster::Found(cluster) = &observed.cluster {
            next.cluster_id.clone_from(&cluster.id);
        }
        next.topic_id = Some(long(owned.id));
        next.partitions = int(owned.partitions);
        next.replication_factor = int(owned.replication_factor);
        next.leaders = int(owned.partitions.saturating_sub(owned.leaderless));
        next.under_replicated = int(owned.under_replicated);
        next.bytes = owned.bytes.map(|bytes| long(rounded(bytes)));
    }
    next
}

/// The Warning event about a state that needs a person, if the status before was another one.
pub fn warning(old: Option<&LogTopicStatus>, next: &LogTopicStatus) -> Option<Event> {
    let old = old.map(|status| status.conditions.as_slice());
    let warning = dependent_status::new_warning(TOPIC_TABLE, old, &next.conditions);
    warning.map(|(reason, text)| Event::warning(reason, text))
}

/// The waits of the plan as its outcome has left them.
fn waits(topic: &ValidTopic, plan: &Plan, outcome: &Outcome) -> Vec<Wait> {
    let is_requested = |wait: &Wait| {
        matches!(
            wait,
            Wait::Creating { .. } | Wait::Changing { .. } | Wait::Deleting { .. }
        )
    };
    let (requested, others): (Vec<Wait>, Vec<Wait>) =
        plan.waits.iter().cloned().partition(is_requested);
    let first = match outcome {
        Outcome::Topic(changed) => {
            let stays = others
                .into_iter()
                .filter(|wait| !matches!(wait, Wait::NoLeader { .. }));
            return stays.chain(no_leader(changed)).collect();
        }
        Outcome::Failed(failure) => failed(topic, failure, requested),
        Outcome::Unchanged | Outcome::Deleted => requested,
    };
    let first = first.into_iter().map(|wait| {
        if topic.is_deleting && !is_requested(&wait) {
            Wait::Deletion(Box::new(wait))
        } else {
            wait
        }
    });
    first.chain(others).collect()
}

fn failed(topic: &ValidTopic, failure: &Failure, requested: Vec<Wait>) -> Vec<Wait> {
    match failure {
        Failure::Refused(why) => vec![Wait::Refused { why: why.clone() }],
        Failure::Unknown(why) => vec![Wait::Cluster(ClusterWait::Unreachable {
            cluster: topic.cluster.clone(),
            why: why.clone(),
        })],
        // It may be the one whose creation had no answer: the next list shows it.
        Failure::Exists if topic.stored.creating => requested,
        Failure::Exists => vec![Wait::TopicExists {
            topic: topic.topic.clone(),
        }],
        Failure::Replaced => requested,
    }
}

/// Whether the outcome of a creation is not known.
fn is_creating(topic: &ValidTopic, plan: &Plan, outcome: &Outcome) -> bool {
    let was_creating = topic.stored.creating;
    match (&plan.request, outcome) {
        (_, Outcome::Topic(_) | Outcome::Deleted) => false,
        (Some(Request::Create(_)), Outcome::Failed(failure)) => match failure {
            Failure::Refused(_) => false,
            Failure::Exists | Failure::Replaced => was_creating,
            Failure::Unknown(_) => true,
        },
        _ => was_creating && plan.owned.is_none(),
    }
}

/// The settings of the spec; those that it had before stay until they have returned to their
/// defaults.
fn managed_settings(topic: &ValidTopic, waits: &[Wait], is_owned: bool) -> Vec<String> {
    let is_done = |wait: &Wait| {
        let undone = [
            TopicReason::Changing,
            TopicReason::Refused,
            TopicReason::ClusterUnreachable,
        ];
        !undone.contains(&wait.reason())
    };
    let is_settled = is_owned && waits.iter().all(is_done);
    let former = topic.stored.managed.iter().filter(|_| !is_settled);
    let set = topic.settings.keys().filter(|_| is_owned);
    let keys: BTreeSet<&SettingKey> = former.chain(set).collect();
    keys.into_iter().map(|key| key.name().to_owned()).collect()
}

fn conditions(
    raw: &LogTopic,
    waits: &[Wait],
    owned: Option<&ObservedTopic>,
    now_unix_seconds: i64,
) -> Vec<Condition> {
    let status = raw.status.as_ref();
    let former = FormerConditions {
        conditions: status.map_or(&[], |status| &status.conditions),
        generation: raw.metadata.generation,
        now_unix_seconds,
    };
    let ready = waits.first();
    let degraded = match owned {
        None => TopicReason::NotObserved,
        Some(topic) if topic.leaderless > 0 => TopicReason::LeaderMissing,
        Some(topic) if topic.under_replicated > 0 => TopicReason::UnderReplicated,
        Some(_) => TopicReason::Whole,
    };
    let of = |reason: TopicReason, text: Option<String>| {
        let row = reason.row()?;
        former.next(row.condition.name(), row, text)
    };
    let ready = of(
        ready.map_or(TopicReason::Serving, Wait::reason),
        ready.map(ToString::to_string),
    );
    ready.into_iter().chain(of(degraded, None)).collect()
}

fn blocked(old: &LogTopicStatus, waits: &[Wait], now_unix_seconds: i64) -> Vec<Blocked> {
    let waits = waits.iter();
    let waits = waits.map(|wait| (wait.reason().name(), wait.to_string()));
    dependent_status::blocked(&old.blocked, waits, now_unix_seconds)
}

/// The bytes with their first binary digits only.
fn rounded(bytes: u64) -> u64 {
    if bytes < TOPIC_BYTES_MIN_BYTES {
        return 0;
    }
    let digits = u64::BITS - bytes.leading_zeros();
    let dropped = digits.saturating_sub(TOPIC_BYTES_BITS_COUNT);
    (bytes >> dropped) << dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_down_to_an_eighth() {
        assert_eq!(rounded(0), 0);
        assert_eq!(rounded(TOPIC_BYTES_MIN_BYTES - 1), 0);
        assert_eq!(rounded(TOPIC_BYTES_MIN_BYTES), TOPIC_BYTES_MIN_BYTES);
        for bytes in [1 << 20, (1 << 20) + 1, 3_000_000, 123_456_789_012, u64::MAX] {
            let found = rounded(bytes);
            assert!(
                found <= bytes && bytes - found <= bytes / 4,
                "{bytes} {found}"
            );
            assert_eq!(rounded(found), found);
        }
    }
}
