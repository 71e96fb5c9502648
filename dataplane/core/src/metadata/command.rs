//! What can be asked of the meta group, and what it answers.

use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::{MetaError, RegistrationToken, TopicId};
use crate::ids::{ClusterId, GroupId, NodeId, ProducerId};
use crate::retention::RetentionPolicy;

/// A change of the metadata. In the log as a version byte and JSON; variants and fields are only
/// ever added. Each can be sent twice without harm unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Gives the cluster its id and its first node. The first command ever.
    InitCluster {
        /// The cluster's id.
        cluster_id: ClusterId,
        /// The node that is bootstrapped.
        first_node: Registration,
    },
    /// Gives a node an id. The same token always gets the same id.
    RegisterNode(Registration),
    /// Takes a node's new addresses, name and zone; its token stays what it was.
    UpdateNode {
        /// The node.
        node: NodeId,
        /// What it says of itself now.
        registration: Registration,
    },
    /// Creates a topic. Not twice: the second time it exists.
    CreateTopic {
        /// Its name.
        name: String,
        /// What is kept.
        retention: RetentionPolicy,
        /// The replicas of each partition, all of the same number.
        assignment: Vec<Vec<NodeId>>,
    },
    /// Changes a topic; what is `None` stays as it is.
    AlterTopic {
        /// Its name.
        name: String,
        /// The new retention.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retention: Option<RetentionPolicy>,
        /// The new partitions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        growth: Option<Growth>,
    },
    /// Deletes a topic. Not twice: the second time it is unknown.
    DeleteTopic {
        /// Its name.
        name: String,
    },
    /// Gives out producer ids. Each time new ones.
    AllocateProducers {
        /// How many.
        count: u32,
    },
    /// Makes one of a partition's replicas its preferred leader.
    SetPreferredLeader {
        /// The partition's group.
        group: GroupId,
        /// The replica.
        node: NodeId,
    },
    /// Notes that a partition's raft group has been initialized.
    StartPartition {
        /// The partition's group.
        group: GroupId,
    },
    /// Asks for a partition to be moved; the replicas it has now call a move off.
    SetTarget {
        /// The partition's group.
        group: GroupId,
        /// Who is to hold it.
        replicas: Vec<NodeId>,
    },
    /// Notes that a move is done: raft's voters are the target and nobody else.
    CommitMove {
        /// The partition's group.
        group: GroupId,
        /// Who holds it: the target.
        replicas: Vec<NodeId>,
    },
    /// Says that a node's replica has damaged files and must be fetched again.
    ReportDamage {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Notes that raft's membership is without the damaged replica.
    CommitEviction {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Notes that the replica is back among raft's voters.
    CommitRepair {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Begins to decommission a node.
    DrainNode {
        /// The node.
        node: NodeId,
    },
    /// Ends the decommission of a node that holds nothing any more.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// Calls a decommission off while the node still drains, and with it the moves under way; what
    /// has moved already stays where it is.
    UndrainNode {
        /// The node.
        node: NodeId,
    },
    /// Keeps the balance of leaders from handing a node anything: it is about to stop. A later
    /// time counts, never an earlier one.
    RestNode {
        /// The node.
        node: NodeId,
        /// Until when, milliseconds since the Unix epoch.
        until_ms: i64,
    },
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Made by the node, kept until it has its id.
    pub token: RegistrationToken,
    /// For people; two nodes may have the same (one of them wiped and joined anew).
    pub name: String,
    /// host:port at which clients reach it.
    pub client_address: String,
    /// host:port at which peers reach it.
    pub peer_address: String,
    /// Its failure domain; empty if none.
    #[serde(default)]
    pub zone: String,
}

/// New partitions for a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// How many partitions it has afterwards: a topic that has them already is left alone.
    pub total: u32,
    /// The replicas of each new one.
    pub assignment: Vec<Vec<NodeId>>,
}

/// What an applied command answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is done; this is the node's id.
    Node(NodeId),
    /// It is done; this is the topic's id.
    Topic(TopicId),
    /// These ids are the caller's: `count` from `first` on.
    Producers {
        /// The first of them.
        first: ProducerId,
        /// How many.
        count: u32,
    },
}

impl Command {
    /// As it stands in the log.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// From the log. A command that this program does not know must end the node: to leave it out
    /// would make this node's metadata another than the others'.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes)
    }
}

impl Outcome {
    /// As it goes back to the proposer.
    pub fn encode(result: &Result<Self, MetaError>) -> Result<Vec<u8>, CodecError> {
        codec::encode(result)
    }

    /// What [`Outcome::encode`] made.
    pub fn decode(bytes: &[u8]) -> Result<Result<Self, MetaError>, CodecError> {
        codec::decode(bytes)
    }
}
