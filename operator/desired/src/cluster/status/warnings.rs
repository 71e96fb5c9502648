//! What of a status needs a person, and therefore a Warning event: not everything that is read is
//! watched, but events are.

use lograft_crds::LogClusterStatus;
use lograft_crds::conditions::{ConditionType, Reason};
use lograft_crds::limits::{WARNING_AFTER_SECONDS, WARNING_LATE_SECONDS, WARNING_MOVING_SECONDS};
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

/// Reasons of the condition `Degraded` that are no waits.
const DEGRADED: [Reason; 2] = [Reason::NodeLost, Reason::CheckRaised];

/// What needs a person: at once, or because a wait lasts too long.
pub fn warnings(status: &LogClusterStatus, now_unix_seconds: i64) -> Vec<Warning> {
    let is_due = |(due, _): &(i64, Warning)| *due <= now_unix_seconds;
    let due = dated(status).filter(is_due);
    due.map(|(_, warning)| warning).collect()
}

/// Time until the next of the warnings is due, seconds; none if all are. No watch reports it.
pub fn next_warning_seconds(status: &LogClusterStatus, now_unix_seconds: i64) -> Option<u64> {
    let left = dated(status).filter_map(|(due, _)| u64::try_from(due - now_unix_seconds).ok());
    left.filter(|seconds| *seconds > 0).min()
}

/// What needs a person if it lasts, and when it does, seconds since 1970.
fn dated(status: &LogClusterStatus) -> impl Iterator<Item = (i64, Warning)> {
    let blocked = status.blocked.iter().filter_map(|blocked| {
        let warning = Warning {
            reason: blocked.reason.clone(),
            subject: blocked.subject.clone(),
            text: blocked.message.clone(),
        };
        let patience = patience_for(&blocked.reason)?;
        Some((blocked.since.0.as_second() + patience, warning))
    });
    let degraded = status.conditions.iter().filter(|condition| {
        let mut rows = DEGRADED.iter().filter_map(|reason| reason.row());
        condition.type_ == ConditionType::Degraded.name()
            && rows.any(|row| row.name == condition.reason)
    });
    let degraded = degraded.map(|condition| {
        let warning = Warning {
            reason: condition.reason.clone(),
            subject: None,
            text: condition.message.clone(),
        };
        let since = condition.last_transition_time.0.as_second();
        (since + WARNING_AFTER_SECONDS, warning)
    });
    blocked.chain(degraded)
}

/// Age at which a wait needs a person, seconds; none if a person has asked for it, or if something
/// else says that it lasts too long.
///
/// Each reason is listed, so that a new one cannot be forgotten.
fn patience(reason: BlockedReason) -> Option<i64> {
    match reason {
        BlockedReason::InvalidSpec
        | BlockedReason::RenewalFailed
        | BlockedReason::NotOwned
        | BlockedReason::Contested
        | BlockedReason::DiskNearlyFull
        | BlockedReason::GrowthRefused
        | BlockedReason::ClaimNotProvisioned
        | BlockedReason::ForeignDisk
        | BlockedReason::DataPlaneUnreachable
        | BlockedReason::QuorumLost
        | BlockedReason::DowngradeRefused
        | BlockedReason::PodNotCreated
        | BlockedReason::PodNotScheduled
        | BlockedReason::PodNotStarted
        | BlockedReason::HostLost
        | BlockedReason::RolloutStuck => Some(WARNING_AFTER_SECONDS),
        // These should end by themselves. If they do not, the cause is not in the operator, such
        // as a finalizer of somebody else or a network that is closed.
        BlockedReason::RootNotLoaded
        | BlockedReason::GossipKeysNotLoaded
        | BlockedReason::ClaimNotBound
        | BlockedReason::LeftoverClaim
        | BlockedReason::FormerClusterNotDeleted
        | BlockedReason::NodesNotStarted
        | BlockedReason::ClusterNotDescribed
        | BlockedReason::PodNotReady
        | BlockedReason::MajorityAtRisk
        | BlockedReason::StopNotPrepared => Some(WARNING_LATE_SECONDS),
        BlockedReason::ClaimNotGrown | BlockedReason::NodeDecommissioning => {
            Some(WARNING_MOVING_SECONDS)
        }
        BlockedReason::PausedBySpec
        | BlockedReason::UpdatePaused
        // Where it waits for a cluster that is stuck, that one warns.
        | BlockedReason::RolloutHeld
        | BlockedReason::UpgradeNotFinalized
        | BlockedReason::AuthorizationNotEffective
        | BlockedReason::HttpNotServed
        // An event reports each failure.
        | BlockedReason::StepFailed
        // It becomes a lost majority.
        | BlockedReason::NoLeader
        // Its time is that of a whole rollout. A pod of it that is stuck has its own wait.
        | BlockedReason::NodesNotReady => None,
    }
}

/// The same for a reason in status. One of a newer operator is unknown, and does not wait.
fn patience_for(reason: &str) -> Option<i64> {
    let mut known = BlockedReason::ALL.iter();
    match known.find(|known| known.name() == reason) {
        Some(known) => patience(*known),
        None => Some(WARNING_AFTER_SECONDS),
    }
}
