//! Why the meta group refuses a command.

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, GroupId, NodeId};
use crate::reason::Reason;
use crate::topic::TopicError;

/// Why a command was refused. It then changed nothing, on any node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MetaError {
    /// There is no cluster yet.
    #[error("the cluster is not bootstrapped")]
    NotBootstrapped,
    /// The cluster has another id.
    #[error("this is cluster {actual}, not {asked}")]
    OtherCluster {
        /// The id it has.
        actual: ClusterId,
        /// The id it was to get.
        asked: ClusterId,
    },
    /// A text is empty, too long or has characters that it must not have.
    #[error("{field} is {len_bytes} bytes long, allowed are {min} to {max} printable ASCII bytes")]
    BadText {
        /// Which one.
        field: String,
        /// Its length, bytes.
        len_bytes: usize,
        /// The least, bytes.
        min: usize,
        /// The most, bytes.
        max: usize,
    },
    /// A number is outside its bounds.
    #[error("{field} is {found}, allowed are 1 to {max}")]
    BadCount {
        /// Which one.
        field: String,
        /// The number.
        found: u64,
        /// The greatest.
        max: u64,
    },
    /// The cluster is full.
    #[error("the cluster would have {found} {field}, the most are {max}")]
    LimitExceeded {
        /// Of what.
        field: String,
        /// How many there would be.
        found: u64,
        /// How many there may be.
        max: u64,
    },
    /// The topic is not allowed as asked for.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The topic is there already.
    #[error("topic {name} exists")]
    TopicExists {
        /// Its name.
        name: String,
    },
    /// No such topic.
    #[error("no topic {name}")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// No partition has this group.
    #[error("no partition has group {group}")]
    UnknownGroup {
        /// The group.
        group: GroupId,
    },
    /// No such node.
    #[error("no node {node}")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// The node has been decommissioned, or is being.
    #[error("node {node} is decommissioned")]
    NodeDecommissioned {
        /// The node.
        node: NodeId,
    },
    /// A partition's replicas differ in number, or a node stands twice.
    #[error("partition {position} of the assignment has replicas {replicas:?}")]
    BadAssignment {
        /// Its place in the assignment.
        position: usize,
        /// Its replicas.
        replicas: Vec<NodeId>,
    },
    /// The node holds no replica of the partition.
    #[error("node {node} holds no replica of group {group}")]
    NotReplica {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// The partition has no other replica: there is nowhere to fetch it from.
    #[error("node {node} holds the only replica of group {group}")]
    OnlyReplica {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Another replica of the partition is being repaired, or this one is not.
    #[error("the replica of group {group} on node {node} is not the one under repair")]
    OtherRepair {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// The partition is not being moved to these nodes.
    #[error("group {group} is not being moved to {replicas:?}")]
    OtherTarget {
        /// The partition's group.
        group: GroupId,
        /// The nodes.
        replicas: Vec<NodeId>,
    },
    /// The partition's group is not initialized yet.
    #[error("group {group} is not started yet")]
    NotStarted {
        /// The group.
        group: GroupId,
    },
    /// Too few nodes would stay.
    #[error("{active} active nodes would stay, {needed} are needed")]
    TooFewNodes {
        /// How many would stay.
        active: usize,
        /// The greatest replication factor there is.
        needed: usize,
    },
    /// The node still holds replicas, or was never drained.
    #[error("node {node} is not drained: {replicas_left} replicas left")]
    NodeNotDrained {
        /// The node.
        node: NodeId,
        /// Replicas on it.
        replicas_left: usize,
    },
}

impl MetaError {
    /// Its place in the table of errors.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotBootstrapped => Reason::NotBootstrapped,
            Self::OtherCluster { .. } => Reason::ClusterMismatch,
            Self::BadText { .. }
            | Self::BadCount { .. }
            | Self::BadAssignment { .. }
            | Self::NotReplica { .. }
            | Self::OtherTarget { .. } => Reason::InvalidArgument,
            Self::LimitExceeded { .. } => Reason::LimitExceeded,
            Self::Topic(error) => error.reason(),
            Self::TopicExists { .. } => Reason::TopicExists,
            Self::UnknownTopic { .. } => Reason::UnknownTopic,
            Self::UnknownGroup { .. } => Reason::UnknownPartition,
            Self::UnknownNode { .. } => Reason::UnknownNode,
            Self::NodeDecommissioned { .. } => Reason::NodeDecommissioned,
            Self::NotStarted { .. } | Self::OtherRepair { .. } => Reason::NotReady,
            Self::OnlyReplica { .. } => Reason::ReplicaCorrupt,
            Self::TooFewNodes { .. } => Reason::TooFewNodes,
            Self::NodeNotDrained { .. } => Reason::NodeNotDrained,
        }
    }

    /// The field that is wrong, where one is.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::BadText { field, .. }
            | Self::BadCount { field, .. }
            | Self::LimitExceeded { field, .. } => Some(field),
            Self::Topic(error) => Some(error.field()),
            Self::BadAssignment { .. } => Some("assignment"),
            Self::NotReplica { .. } | Self::OnlyReplica { .. } | Self::OtherRepair { .. } => {
                Some("node")
            }
            Self::OtherTarget { .. } => Some("replicas"),
            _ => None,
        }
    }

    /// The bound that is exceeded, where there is one.
    pub fn bound(&self) -> Option<String> {
        match self {
            Self::BadText { min, max, .. } => Some(format!("{min}..={max} bytes")),
            Self::BadCount { max, .. } | Self::LimitExceeded { max, .. } => {
                Some(format!("1..={max}"))
            }
            Self::Topic(error) => Some(error.bound()),
            Self::TooFewNodes { needed, .. } => Some(needed.to_string()),
            _ => None,
        }
    }
}
