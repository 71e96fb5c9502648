//! The client: connections and the map of who leads what.

pub(crate) mod reach;
pub(crate) mod routes;

use std::fmt;
use std::sync::Arc;

use lograft_core::{NodeId, Offset, PartitionId, Term};
use lograft_proto::log::v1 as wire;

use self::reach::{Reach, Retry};

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
#[derive(Clone)]
pub struct Client {
    reach: Arc<Reach>,
}

impl Client {
    /// Connects to the first endpoint that answers and learns the cluster's nodes. Tries each
    /// endpoint once.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let reach = Arc::new(Reach::new(config)?);
        reach.fetch_all().await?;
        Ok(Self { reach })
    }

    /// The cluster's nodes and topics, asked for now.
    pub async fn metadata(&self) -> Result<Metadata, ClientError> {
        self.reach.fetch_all().await
    }

    /// One topic, from what is known or else asked for now.
    pub async fn topic(&self, name: &str) -> Result<TopicInfo, ClientError> {
        self.reach
            .topic(name)
            .await
            .map(|topic| topic.as_ref().clone())
    }

    /// The bounds of a topic's partitions (all where `partitions` is empty), and, where a
    /// timestamp is given (milliseconds since the Unix epoch), the offset that belongs to it.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[PartitionId],
        timestamp_ms: Option<i64>,
    ) -> Result<Vec<PartitionOffsets>, ClientError> {
        let request = wire::ListOffsetsRequest {
            topic: topic.to_owned(),
            partitions: partitions.iter().map(|p| p.get()).collect(),
            timestamp_ms,
            forwarded: false,
        };
        let reply = self
            .reach
            .call("listing offsets", Retry::Always, |node| {
                let request = request.clone();
                async move { node.log().list_offsets(request).await }
            })
            .await?;
        reply
            .partitions
            .into_iter()
            .map(partition_offsets)
            .collect()
    }

    /// Opens a producer.
    pub async fn producer(&self, config: ProducerConfig) -> Result<Producer, ClientError> {
        Producer::open(Arc::clone(&self.reach), config).await
    }

    /// Opens a consumer.
    pub async fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        Consumer::open(Arc::clone(&self.reach), config).await
    }

    /// Administration.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.reach))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.reach.config)
            .finish_non_exhaustive()
    }
}

fn partition_offsets(found: wire::PartitionOffsets) -> Result<PartitionOffsets, ClientError> {
    if let Some(error) = found.error {
        return Err(ClientError::from_wire("", error));
    }
    Ok(PartitionOffsets {
        partition: PartitionId(found.partition),
        log_start_offset: Offset(found.log_start_offset),
        high_watermark: Offset(found.high_watermark),
        offset_at_timestamp: found.offset_at_timestamp.map(Offset),
    })
}
