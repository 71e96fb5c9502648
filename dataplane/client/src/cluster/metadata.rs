//! Nodes, topics and partitions of a cluster.

use std::sync::Arc;

use lograft_core::{NodeId, PartitionId, Term};

/// A node that serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Node id.
    pub id: NodeId,
    /// Node name.
    pub name: String,
    /// `host:port` for client connections.
    pub address: Arc<str>,
    /// Failure domain; empty if none is configured.
    pub zone: String,
}

/// A partition and its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Partition number.
    pub partition: PartitionId,
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// The raft term of the leader.
    pub leader_epoch: Term,
    /// The nodes with a replica; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Topic name.
    pub name: Arc<str>,
    /// Topic id. A topic that is deleted and created again under the same name has another id.
    pub id: u64,
    /// Partitions, ordered by number without gaps.
    pub partitions: Vec<PartitionInfo>,
    /// Maximum size of a batch, as encoded, in bytes, unless the topic has the default. Producers
    /// close their batches in time.
    pub batch_max_bytes: Option<u32>,
    /// Maximum size of a record, in bytes, if the topic sets one.
    pub record_max_bytes: Option<u32>,
}

/// Nodes and topics of the cluster, as reported by one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// UUID of the cluster.
    pub cluster_id: String,
    /// Active nodes.
    pub nodes: Vec<NodeInfo>,
    /// Topics, sorted by name.
    pub topics: Vec<TopicInfo>,
}
