//! The conditions of a LogTopic and all of their reasons in one table.

use super::{Row, rows};

/// Type of a LogTopic condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicConditionType {
    /// The topic matches the spec, and every partition has a leader.
    Ready,
    /// A partition lacks a replica or its leader.
    Degraded,
}

impl TopicConditionType {
    /// All types, in the order of `status.conditions`.
    pub const ALL: [Self; 2] = [Self::Ready, Self::Degraded];

    /// The value of `status.conditions[].type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
        }
    }
}

/// Reason of a LogTopic condition. Those of `Ready` that are false are also the reasons in
/// `status.blocked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "TOPIC_TABLE says what each means")]
pub enum TopicReason {
    Serving,
    InvalidSpec,
    ClusterNotFound,
    NamespaceNotWatched,
    NamespaceNotAllowed,
    ClusterDeleting,
    ClusterPaused,
    ClusterNotBootstrapped,
    ClusterUnreachable,
    OwnedByAnother,
    TopicExists,
    TopicReplaced,
    Refused,
    Creating,
    Changing,
    Deleting,
    CannotShrink,
    NoLeader,
    Whole,
    NotObserved,
    UnderReplicated,
    LeaderMissing,
}

/// Every reason of a LogTopic, once.
pub const TOPIC_TABLE: &[Row<TopicConditionType, TopicReason>] = rows! {
    TopicConditionType TopicReason
    Ready true Transient Serving "The topic matches the spec, and every partition has a leader";
    Ready false Terminal InvalidSpec "The spec is invalid; the message names the field";
    Ready false Transient ClusterNotFound "The LogCluster does not exist";
    Ready false Terminal NamespaceNotWatched "The operator does not watch the namespace of the LogCluster";
    Ready false Terminal NamespaceNotAllowed "The LogCluster does not allow the namespace of the LogTopic";
    Ready false Transient ClusterDeleting "The LogCluster is being deleted";
    Ready false Transient ClusterPaused "The LogCluster is paused; its topics are not reconciled";
    Ready false Transient ClusterNotBootstrapped "The LogCluster has not been bootstrapped yet";
    Ready false Transient ClusterUnreachable "No node answers for the metadata of the cluster";
    Ready false Terminal OwnedByAnother "Another LogTopic owns the topic; the message names it";
    Ready false Terminal TopicExists "The topic exists and was not created by this LogTopic; see spec.adopt";
    Ready false Terminal TopicReplaced "The topic was deleted and created again by somebody else; see spec.adopt";
    Ready false Terminal Refused "The cluster refuses the request; the message has its reason";
    Ready false Transient Creating "The topic is being created";
    Ready false Transient Changing "The topic is being changed";
    Ready false Transient Deleting "The topic is being deleted";
    Ready false Terminal CannotShrink "The topic has more partitions than the spec";
    Ready false Transient NoLeader "A partition has no leader";
    Degraded false Transient Whole "Every partition has a leader and all of its replicas";
    Degraded false Transient NotObserved "The state of the topic is not known";
    Degraded true Transient UnderReplicated "A partition lacks a replica; it accepts writes";
    Degraded true Transient LeaderMissing "A partition has no leader and accepts no writes";
};

impl TopicReason {
    /// The row of the reason. Each reason has one: a test checks it.
    pub fn row(self) -> Option<&'static Row<TopicConditionType, Self>> {
        TOPIC_TABLE.iter().find(|row| row.reason == self)
    }

    /// The name in conditions and in `status.blocked`.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_row() {
        let mut reasons: Vec<TopicReason> = TOPIC_TABLE.iter().map(|row| row.reason).collect();
        reasons.sort_unstable();
        let count = reasons.len();
        reasons.dedup();
        assert_eq!(reasons.len(), count);
        assert_eq!(TopicReason::LeaderMissing as usize + 1, count);
        assert!(reasons.iter().all(|reason| !reason.name().is_empty()));
    }

    #[test]
    fn each_condition_can_be_both() {
        for condition in TopicConditionType::ALL {
            for status in [true, false] {
                let mut rows = TOPIC_TABLE.iter();
                let hit = rows.any(|row| row.condition == condition && row.status == status);
                assert!(hit, "{condition:?} {status}");
            }
        }
    }
}
