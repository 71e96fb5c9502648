//! The client: connections and the map of who leads what.

use std::sync::Arc;

use lograft_core::{NodeId, Offset, PartitionId, Term};

use crate::admin::Admin;
use crate::config::ClientConfig;
use crate::consumer::{Consumer, ConsumerConfig};
use crate::error::ClientError;
use crate::producer::{Producer, ProducerConfig};

/// A node that serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// `host:port` at which clients reach it.
    pub address: Arc<str>,
    /// Its failure domain; empty if none.
    pub zone: String,
}

/// A partition and who leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub partition: PartitionId,
    /// The node that leads, if anyone does.
    pub leader: Option<NodeId>,
    /// The raft term it leads in.
    pub leader_epoch: Term,
    /// The nodes that hold it; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its id, never used again.
    pub id: u64,
    /// Its partitions in the order of their numbers, without gaps.
    pub partitions: Vec<PartitionInfo>,
}

/// The cluster as one node saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's UUID.
    pub cluster_id: String,
    /// The nodes at work.
    pub nodes: Vec<NodeInfo>,
    /// The topics, sorted by name.
    pub topics: Vec<TopicInfo>,
}

/// Where a partition's log starts and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: PartitionId,
    /// The first offset that is still there.
    pub log_start_offset: Offset,
    /// The end (exclusive) of what can be read.
    pub high_watermark: Offset,
    /// The first offset whose batch holds a timestamp at or after the one asked for.
    pub offset_at_timestamp: Option<Offset>,
}

/// A connection to a cluster; clones share it.
#[derive(Clone, Debug)]
pub struct Client {}

impl Client {
    /// Connects to the first endpoint that answers and learns the cluster's shape.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        unimplemented!()
    }

    /// The cluster's nodes and topics, asked for now.
    pub async fn metadata(&self) -> Result<Metadata, ClientError> {
        unimplemented!()
    }

    /// One topic, from what is known or else asked for now.
    pub async fn topic(&self, name: &str) -> Result<TopicInfo, ClientError> {
        unimplemented!()
    }

    /// The bounds of a topic's partitions (all where `partitions` is empty), and, where a
    /// timestamp is given (milliseconds since the Unix epoch), the offset that belongs to it.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[PartitionId],
        timestamp_ms: Option<i64>,
    ) -> Result<Vec<PartitionOffsets>, ClientError> {
        unimplemented!()
    }

    /// Opens a producer.
    pub async fn producer(&self, config: ProducerConfig) -> Result<Producer, ClientError> {
        unimplemented!()
    }

    /// Opens a consumer.
    pub async fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        unimplemented!()
    }

    /// Administration.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }
}
