//! The reasons for which the meta group rejects a command.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::TopicId;
use crate::acl::RuleError;
use crate::feature_level::FeatureLevel;
use crate::ids::{ClusterId, GroupId, NodeId};
use crate::reason::Reason;
use crate::recovery::RecoveryEpoch;
use crate::topic::TopicError;

/// The rejection of a command, which then changed nothing on any node. It is replicated as part of
/// the command's outcome, so its variants and fields are part of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MetaError {
    /// The cluster is not bootstrapped.
    #[error("the cluster is not bootstrapped")]
    NotBootstrapped,
    /// The cluster has another id.
    #[error("cluster id must be {actual}, got {asked}")]
    OtherCluster {
        /// The id of the cluster.
        actual: ClusterId,
        /// The id in the command.
        asked: ClusterId,
    },
    /// A text is empty, too long or has characters that are not allowed.
    #[error("{field} must be {min} to {max} printable ASCII characters, got {len_bytes} bytes")]
    BadText {
        /// The field.
        field: String,
        /// The length of the text, bytes.
        len_bytes: usize,
        /// The minimum length, bytes.
        min: usize,
        /// The maximum length, bytes.
        max: usize,
    },
    /// A number is outside its bounds.
    #[error("{field} must be between 1 and {max}, got {found}")]
    BadCount {
        /// The field.
        field: String,
        /// The number in the command.
        found: u64,
        /// The maximum.
        max: u64,
    },
    /// A limit of the cluster would be exceeded.
    #[error("{field} of the cluster must be at most {max}, got {found}")]
    LimitExceeded {
        /// The counted objects, in the plural.
        field: String,
        /// The number after the command.
        found: u64,
        /// The maximum.
        max: u64,
    },
    /// A setting of the topic is invalid.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// An authorization rule is invalid. Feature level 2.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The topic already exists.
    #[error("topic {name} already exists")]
    TopicExists {
        /// The name.
        name: String,
    },
    /// The topic does not exist.
    #[error("topic {name} not found")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// Another topic has the name now. Feature level 2.
    #[error(
        "topic {name} was deleted and created again: its id is {current} now, and the request is \
         for another one"
    )]
    TopicRecreated {
        /// The name.
        name: String,
        /// The id of the topic that has the name.
        current: TopicId,
    },
    /// No partition has this group.
    #[error("partition of group {group} not found")]
    UnknownGroup {
        /// The group.
        group: GroupId,
    },
    /// The node does not exist.
    #[error("node {node} not found")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// The node is decommissioned or being decommissioned.
    #[error("node {node} is decommissioned or being decommissioned")]
    NodeDecommissioned {
        /// The node.
        node: NodeId,
    },
    /// The assignment has a wrong number of partitions, a partition has a wrong number of replicas,
    /// or a node is listed twice.
    #[error(
        "each partition of the assignment must have the same number of replicas, on distinct nodes, \
         got {} for partition {position}",
        NodeList(replicas)
    )]
    BadAssignment {
        /// The position of the partition in the assignment.
        position: usize,
        /// The replicas of the partition.
        replicas: Vec<NodeId>,
    },
    /// The node does not have a replica of the partition.
    #[error("node {node} does not have a replica of group {group}")]
    NotReplica {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// The partition has no other replica from which this one could be repaired.
    #[error("cannot repair the only replica of group {group}, on node {node}")]
    OnlyReplica {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Another replica of the partition is being repaired, or this one is not.
    #[error("replica of group {group} on node {node} is not the one under repair")]
    OtherRepair {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// The partition is of another recovery epoch. Feature level 2.
    #[error("recovery epoch of group {group} is {current}, the request is for {asked}")]
    OtherRecovery {
        /// The partition's group.
        group: GroupId,
        /// The epoch of the group.
        current: RecoveryEpoch,
        /// The epoch in the command.
        asked: RecoveryEpoch,
    },
    /// The recovery of the partition is in progress. Feature level 2.
    #[error("group {group} is being recovered on node {node}")]
    Recovering {
        /// The partition's group.
        group: GroupId,
        /// The node of the surviving replica.
        node: NodeId,
    },
    /// The partition is not being moved to these nodes.
    #[error("group {group} is not being moved to nodes {}", NodeList(replicas))]
    OtherTarget {
        /// The partition's group.
        group: GroupId,
        /// The nodes.
        replicas: Vec<NodeId>,
    },
    /// The raft group of the partition is not initialized yet.
    #[error("group {group} is not initialized yet")]
    NotStarted {
        /// The group.
        group: GroupId,
    },
    /// Too few active nodes would remain.
    #[error(
        "active nodes must be at least {needed} after the decommission, got {active}: add a node first"
    )]
    TooFewNodes {
        /// The number of active nodes that would remain.
        active: usize,
        /// The number of nodes needed: the largest replication factor of a topic.
        needed: usize,
    },
    /// Too few active nodes would remain to replace the replicas of a lost node. Feature level 2.
    #[error(
        "active nodes must be at least {needed} without node {node} to replace its replicas, got \
         {active}"
    )]
    NoSpareNode {
        /// The node.
        node: NodeId,
        /// The number of active nodes without it.
        active: usize,
        /// The number of nodes needed.
        needed: usize,
    },
    /// A feature is used before its level is finalized.
    #[error(
        "{feature} needs feature level {level}, and the cluster has finalized level {finalized}: \
         upgrade all nodes, then run \"lograft cluster finalize\""
    )]
    NotFinalized {
        /// The command or setting.
        feature: String,
        /// Its level.
        level: FeatureLevel,
        /// The finalized level of the cluster.
        finalized: FeatureLevel,
    },
    /// The node does not know the level.
    #[error("feature level must be at most {known}, the newest that this node knows, got {level}")]
    UnknownLevel {
        /// The level in the command.
        level: FeatureLevel,
        /// The newest level that the node knows.
        known: FeatureLevel,
    },
    /// The leader of the meta group does not know the command, or a field of it.
    #[error("leader of the meta group runs a version that is too old for the command: {cause}")]
    UnknownCommand {
        /// Why it does not decode.
        cause: String,
    },
    /// The node still has replicas, or was not drained.
    #[error("node {node} is not drained, replicas left: {replicas_left}")]
    NodeNotDrained {
        /// The node.
        node: NodeId,
        /// The number of replicas on the node.
        replicas_left: usize,
    },
}

/// Formats node ids as `1, 2, 3`.
struct NodeList<'a>(&'a [NodeId]);

impl fmt::Display for NodeList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (position, node) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{node}")?;
        }
        Ok(())
    }
}

impl MetaError {
    /// The reason in the table of errors.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotBootstrapped => Reason::NotBootstrapped,
            Self::OtherCluster { .. } => Reason::ClusterMismatch,
            Self::BadText { .. }
            | Self::BadCount { .. }
            | Self::BadAssignment { .. }
            | Self::NotReplica { .. }
            | Self::Rule(_)
            | Self::OtherTarget { .. } => Reason::InvalidArgument,
            Self::LimitExceeded { .. } => Reason::LimitExceeded,
            Self::Topic(error) => error.reason(),
            Self::TopicExists { .. } => Reason::TopicExists,
            Self::UnknownTopic { .. } => Reason::UnknownTopic,
            Self::TopicRecreated { .. } => Reason::TopicRecreated,
            Self::UnknownGroup { .. } => Reason::UnknownPartition,
            Self::UnknownNode { .. } => Reason::UnknownNode,
            Self::NodeDecommissioned { .. } => Reason::NodeDecommissioned,
            Self::NotStarted { .. } | Self::OtherRepair { .. } | Self::Recovering { .. } => {
                Reason::NotReady
            }
            Self::OtherRecovery { .. } => Reason::OtherRecoveryEpoch,
            Self::OnlyReplica { .. } => Reason::ReplicaCorrupt,
            Self::TooFewNodes { .. } | Self::NoSpareNode { .. } => Reason::TooFewNodes,
            Self::NotFinalized { .. } => Reason::FeatureNotFinalized,
            Self::UnknownLevel { .. } | Self::UnknownCommand { .. } => Reason::VersionTooOld,
            Self::NodeNotDrained { .. } => Reason::NodeNotDrained,
        }
    }

    /// The invalid field, if any.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::BadText { field, .. }
            | Self::BadCount { field, .. }
            | Self::LimitExceeded { field, .. } => Some(field),
            Self::Topic(error) => Some(error.field()),
            Self::Rule(error) => Some(error.field()),
            Self::BadAssignment { .. } => Some("assignment"),
            Self::NotReplica { .. } | Self::OnlyReplica { .. } | Self::OtherRepair { .. } => {
                Some("node")
            }
            Self::OtherTarget { .. } => Some("replicas"),
            Self::NotFinalized { feature, .. } => Some(feature),
            Self::UnknownLevel { .. } => Some("level"),
            _ => None,
        }
    }

    /// The violated bound, if any.
    pub fn bound(&self) -> Option<String> {
        match self {
            Self::BadText { min, max, .. } => Some(format!("{min}..={max} bytes")),
            Self::BadCount { max, .. } | Self::LimitExceeded { max, .. } => {
                Some(format!("1..={max}"))
            }
            Self::Topic(error) => Some(error.bound()),
            Self::Rule(error) => Some(error.bound()),
            Self::TooFewNodes { needed, .. } | Self::NoSpareNode { needed, .. } => {
                Some(needed.to_string())
            }
            Self::NotFinalized { level, .. } => Some(format!("feature level {level} or newer")),
            Self::UnknownLevel { known, .. } => Some(format!("0..={known}")),
            _ => None,
        }
    }
}
