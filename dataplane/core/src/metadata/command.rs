//! The commands of the meta group and their outcomes.

use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::{MetaError, RegistrationToken, TopicId};
use crate::ids::{ClusterId, GroupId, NodeId, ProducerId};
use crate::retention::RetentionPolicy;

/// A change of the metadata.
///
/// Variants and fields are part of the format of the log: they are only added, never changed. A
/// command is idempotent unless its description says otherwise, since a proposer repeats a command
/// whose outcome it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Bootstraps the cluster with its id and first node. The first command of the log.
    InitCluster {
        /// The id of the cluster.
        cluster_id: ClusterId,
        /// The registration of the first node.
        first_node: Registration,
    },
    /// Registers a node and allocates its id. The same token always gets the same id.
    RegisterNode(Registration),
    /// Updates the addresses, name and zone of a node. Its token does not change.
    UpdateNode {
        /// The node.
        node: NodeId,
        /// The new registration.
        registration: Registration,
    },
    /// Creates a topic. Not idempotent: fails if the topic exists.
    CreateTopic {
        /// The name of the topic.
        name: String,
        /// The retention of each partition.
        retention: RetentionPolicy,
        /// The replicas of each partition, the same number for all.
        assignment: Vec<Vec<NodeId>>,
    },
    /// Changes a topic. A setting that is `None` does not change.
    AlterTopic {
        /// The name of the topic.
        name: String,
        /// The new retention.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retention: Option<RetentionPolicy>,
        /// The partitions to add.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        growth: Option<Growth>,
    },
    /// Deletes a topic. Not idempotent: fails if the topic does not exist.
    DeleteTopic {
        /// The name of the topic.
        name: String,
    },
    /// Allocates producer ids. Not idempotent: each time new ones.
    AllocateProducers {
        /// The number of ids.
        count: u32,
    },
    /// Makes one of a partition's replicas its preferred leader.
    SetPreferredLeader {
        /// The partition's group.
        group: GroupId,
        /// The replica.
        node: NodeId,
    },
    /// Records that the raft group of a partition is initialized.
    StartPartition {
        /// The partition's group.
        group: GroupId,
    },
    /// Starts to move a partition to other nodes. Its current replicas as the target cancel a move.
    SetTarget {
        /// The partition's group.
        group: GroupId,
        /// The nodes that will have a replica.
        replicas: Vec<NodeId>,
    },
    /// Records that a move is done: the voters of the raft group are exactly the target.
    CommitMove {
        /// The partition's group.
        group: GroupId,
        /// The nodes with a replica: the target of the move.
        replicas: Vec<NodeId>,
    },
    /// Reports that a node's replica is corrupt and must be repaired.
    ReportDamage {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Records that the corrupt replica has left the raft group.
    CommitEviction {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Records that the repaired replica is a voter of the raft group again.
    CommitRepair {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Starts to decommission a node.
    DrainNode {
        /// The node.
        node: NodeId,
    },
    /// Completes the decommission of a node without replicas.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// Cancels the decommission of a node that is still draining, and the moves off it that are in
    /// progress. Replicas that were moved already are not moved back.
    UndrainNode {
        /// The node.
        node: NodeId,
    },
    /// Excludes a node that is about to stop from leader balancing until a time. An earlier time
    /// than the current one is ignored.
    RestNode {
        /// The node.
        node: NodeId,
        /// The end of the exclusion, milliseconds since the Unix epoch.
        until_ms: i64,
    },
}

/// The registration of a node: its description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The token that identifies the node until it has its id.
    pub token: RegistrationToken,
    /// The name, for people. Not unique: a node that was wiped rejoins as a new node with the same
    /// name.
    pub name: String,
    /// The address for clients, host:port.
    pub client_address: String,
    /// The address for peers, host:port.
    pub peer_address: String,
    /// The failure domain; empty if unknown.
    #[serde(default)]
    pub zone: String,
}

/// New partitions for a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The number of partitions afterwards. A topic that already has as many does not change.
    pub total: u32,
    /// The replicas of each new partition.
    pub assignment: Vec<Vec<NodeId>>,
}

/// The outcome of an applied command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The command succeeded.
    Done,
    /// The command succeeded for the node with this id.
    Node(NodeId),
    /// The command succeeded for the topic with this id.
    Topic(TopicId),
    /// The allocated producer ids: `count` ids from `first`.
    Producers {
        /// The first id.
        first: ProducerId,
        /// The number of ids.
        count: u32,
    },
}

impl Command {
    /// Encodes the command for the log.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// Decodes a command from the log.
    ///
    /// On an error, for example an unknown command of a newer release, the node MUST exit. If it
    /// skipped the command, its metadata would diverge from that of the other nodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes)
    }
}

impl Outcome {
    /// Encodes the result for the proposer.
    pub fn encode(result: &Result<Self, MetaError>) -> Result<Vec<u8>, CodecError> {
        codec::encode(result)
    }

    /// Decodes the result of [`Outcome::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Result<Self, MetaError>, CodecError> {
        codec::decode(bytes)
    }
}
