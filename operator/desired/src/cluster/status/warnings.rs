//! What of a status needs a person, and therefore a Warning event: not everything that is read is
//! watched, but events are.

use lograft_crds::LogClusterStatus;
use lograft_crds::conditions::{ConditionType, Reason};
use lograft_crds::limits::WARNING_AFTER_SECONDS;
use lograft_crds::log_cluster::BlockedReason;

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Reason as one CamelCase word.
    pub reason: String,
    /// Kind and name of the object that it is about; none for the whole cluster.
    pub subject: Option<String>,
    /// Sentence for people.
    pub text: String,
}

/// Waits that end by themselves, or that a person has asked for.
const NEEDS_NOBODY: [BlockedReason; 17] = [
    BlockedReason::PausedBySpec,
    BlockedReason::UpdatePaused,
    // Reported with each failure.
    BlockedReason::StepFailed,
    BlockedReason::RootNotLoaded,
    BlockedReason::ClaimNotGrown,
    BlockedReason::LeftoverClaim,
    BlockedReason::FormerClusterNotDeleted,
    BlockedReason::NodesNotStarted,
    BlockedReason::ClusterNotDescribed,
    BlockedReason::NodesNotReady,
    BlockedReason::NoLeader,
    BlockedReason::PodNotReady,
    BlockedReason::MajorityAtRisk,
    BlockedReason::StopNotPrepared,
    BlockedReason::NodeDecommissioning,
    BlockedReason::UpgradeNotFinalized,
    // Without an obstacle, the volume is being made.
    BlockedReason::ClaimNotBound,
];

/// Reasons of the condition `Degraded` that are no waits.
const DEGRADED: [Reason; 2] = [Reason::NodeLost, Reason::CheckRaised];

/// What needs a person and has lasted for `limits::WARNING_AFTER_SECONDS`.
pub fn warnings(status: &LogClusterStatus, now_unix_seconds: i64) -> Vec<Warning> {
    let is_old = |since: i64| now_unix_seconds - since >= WARNING_AFTER_SECONDS;
    let blocked = status.blocked.iter();
    let blocked = blocked.filter(|it| is_old(it.since.0.as_second()) && needs_a_person(&it.reason));
    let blocked = blocked.map(|it| Warning {
        reason: it.reason.clone(),
        subject: it.subject.clone(),
        text: it.message.clone(),
    });
    let degraded = status.conditions.iter().filter(|condition| {
        let mut rows = DEGRADED.iter().filter_map(|reason| reason.row());
        condition.type_ == ConditionType::Degraded.name()
            && rows.any(|row| row.name == condition.reason)
            && is_old(condition.last_transition_time.0.as_second())
    });
    let degraded = degraded.map(|condition| Warning {
        reason: condition.reason.clone(),
        subject: None,
        text: condition.message.clone(),
    });
    blocked.chain(degraded).collect()
}

fn needs_a_person(reason: &str) -> bool {
    !NEEDS_NOBODY.iter().any(|other| other.name() == reason)
}
