//! What keeps a LogTopic from being ready: a reason of its conditions and a sentence.

use std::fmt;

use lograft_crds::conditions::topic::TopicReason;

use crate::cluster_wait::ClusterWait;

/// Something that a LogTopic waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The spec is invalid.
    InvalidSpec {
        /// Cause.
        why: String,
    },
    /// Something about the LogCluster.
    Cluster(ClusterWait),
    /// Another LogTopic owns the topic.
    OwnedByAnother {
        /// Name of the topic.
        topic: String,
        /// Namespace and name of its owner.
        owner: String,
    },
    /// The topic exists and is not owned.
    TopicExists {
        /// Name of the topic.
        topic: String,
    },
    /// Another topic has the name now.
    TopicReplaced {
        /// Name of the topic.
        topic: String,
        /// ID of the topic that the LogTopic had.
        former_id: u64,
        /// ID of the topic that has the name.
        id: u64,
    },
    /// The cluster refuses a request.
    Refused {
        /// Its error, with the action that it is about.
        why: String,
    },
    /// A creation is requested.
    Creating {
        /// Name of the topic.
        topic: String,
    },
    /// A change is requested.
    Changing {
        /// Name of the topic.
        topic: String,
    },
    /// A deletion is requested.
    Deleting {
        /// Name of the topic.
        topic: String,
    },
    /// The topic has more partitions than the spec.
    CannotShrink {
        /// Partitions in the spec.
        wanted: u32,
        /// Partitions of the topic.
        found: u32,
    },
    /// Partitions have no leader.
    NoLeader {
        /// Their number.
        leaderless: u32,
        /// Number of all partitions.
        partitions: u32,
    },
    /// The deletion of the topic waits for something else.
    Deletion(Box<Wait>),
}

impl Wait {
    /// The reason of the condition `Ready` and in `status.blocked`.
    pub fn reason(&self) -> TopicReason {
        match self {
            Self::InvalidSpec { .. } => TopicReason::InvalidSpec,
            Self::Cluster(ClusterWait::NotFound(_)) => TopicReason::ClusterNotFound,
            Self::Cluster(ClusterWait::NotWatched(_)) => TopicReason::NamespaceNotWatched,
            Self::Cluster(ClusterWait::NotAllowed(_)) => TopicReason::NamespaceNotAllowed,
            Self::Cluster(ClusterWait::Deleting(_)) => TopicReason::ClusterDeleting,
            Self::Cluster(ClusterWait::Paused(_)) => TopicReason::ClusterPaused,
            Self::Cluster(ClusterWait::NotBootstrapped(_)) => TopicReason::ClusterNotBootstrapped,
            Self::Cluster(ClusterWait::Unreachable { .. }) => TopicReason::ClusterUnreachable,
            Self::OwnedByAnother { .. } => TopicReason::OwnedByAnother,
            Self::TopicExists { .. } => TopicReason::TopicExists,
            Self::TopicReplaced { .. } => TopicReason::TopicReplaced,
            Self::Refused { .. } => TopicReason::Refused,
            Self::Creating { .. } => TopicReason::Creating,
            Self::Changing { .. } => TopicReason::Changing,
            Self::Deleting { .. } => TopicReason::Deleting,
            Self::CannotShrink { .. } => TopicReason::CannotShrink,
            Self::NoLeader { .. } => TopicReason::NoLeader,
            Self::Deletion(wait) => wait.reason(),
        }
    }

    /// Whether it may end without a change of the LogTopic, so that it is looked at again soon.
    pub(super) fn may_end_soon(&self) -> bool {
        match self {
            Self::Cluster(ClusterWait::Unreachable { .. })
            | Self::Creating { .. }
            | Self::Changing { .. }
            | Self::Deleting { .. }
            | Self::NoLeader { .. } => true,
            Self::Deletion(wait) => wait.may_end_soon(),
            _ => false,
        }
    }
}

impl From<ClusterWait> for Wait {
    fn from(wait: ClusterWait) -> Self {
        Self::Cluster(wait)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSpec { why } | Self::Refused { why } => f.write_str(why),
            Self::Cluster(wait) => wait.fmt(f),
            Self::OwnedByAnother { topic, owner } => write!(
                f,
                "topic {topic} belongs to LogTopic {owner}; delete one of the two LogTopics"
            ),
            Self::TopicExists { topic } => write!(
                f,
                "topic {topic} exists, and this LogTopic has not created it; set spec.adopt to \
                 true to take it over, or choose another name"
            ),
            Self::TopicReplaced {
                topic,
                former_id,
                id,
            } => write!(
                f,
                "topic {topic} (ID {former_id}) was deleted and created again by somebody else (ID \
                 {id}); set spec.adopt to true to take it over"
            ),
            Self::Creating { topic } => write!(f, "creating topic {topic}"),
            Self::Changing { topic } => write!(f, "changing topic {topic}"),
            Self::Deleting { topic } => write!(f, "deleting topic {topic}"),
            Self::CannotShrink { wanted, found } => write!(
                f,
                "the topic has {found} partitions, and partitions cannot be removed: raise \
                 spec.partitions from {wanted} to {found}"
            ),
            Self::NoLeader {
                leaderless,
                partitions,
            } => write!(
                f,
                "{leaderless} of {partitions} partition(s) have no leader"
            ),
            Self::Deletion(wait) => write!(f, "the topic is not deleted yet: {wait}"),
        }
    }
}
