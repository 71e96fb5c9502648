//! The client: the entry point to producers, consumers and administration.

use std::fmt;
use std::sync::Arc;

use lograft_core::{Offset, PartitionId};
use lograft_proto::log::v1 as wire;

use crate::access::AccessAdmin;
use crate::admin::Admin;
use crate::cluster::metadata::{Metadata, TopicInfo};
use crate::cluster::node_pool::NodePool;
use crate::config::ClientConfig;
use crate::consumer::{Consumer, ConsumerConfig};
use crate::error::ClientError;
use crate::group::{GroupAdmin, GroupConfig, GroupConsumer};
use crate::producer::{Producer, ProducerConfig};

/// Offset bounds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: PartitionId,
    /// Offset of the first record in the log (inclusive).
    pub log_start_offset: Offset,
    /// End of the readable records (exclusive).
    pub high_watermark: Offset,
    /// Offset of the first record whose timestamp is at or after the requested one, if there is
    /// one.
    pub offset_at_timestamp: Option<Offset>,
}

/// A client of one cluster. Clones share connections and cached metadata.
#[derive(Clone)]
pub struct Client {
    pool: Arc<NodePool>,
}

impl Client {
    /// Connects to the first endpoint that replies and fetches the cluster's metadata. Fails after
    /// each endpoint was tried once.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let pool = Arc::new(NodePool::new(config)?);
        pool.fetch_all().await?;
        Ok(Self { pool })
    }

    /// Fetches the nodes and topics of the cluster.
    pub async fn metadata(&self) -> Result<Metadata, ClientError> {
        self.pool.fetch_all().await
    }

    /// One topic, from the metadata cache or fetched with retries.
    pub async fn topic(&self, name: &str) -> Result<TopicInfo, ClientError> {
        self.pool
            .topic(name)
            .await
            .map(|topic| topic.as_ref().clone())
    }

    /// Offset bounds of a topic's partitions (all if `partitions` is empty). With a timestamp, in
    /// milliseconds since the Unix epoch, also the offset that belongs to it.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[PartitionId],
        timestamp_ms: Option<i64>,
    ) -> Result<Vec<PartitionOffsets>, ClientError> {
        let reply = self
            .pool
            .list_offsets((topic, None), partitions, timestamp_ms)
            .await?;
        reply
            .partitions
            .into_iter()
            .map(partition_offsets)
            .collect()
    }

    /// Opens a producer.
    pub async fn producer(&self, config: ProducerConfig) -> Result<Producer, ClientError> {
        Producer::open(Arc::clone(&self.pool), config).await
    }

    /// Opens a consumer.
    pub async fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        Consumer::open(Arc::clone(&self.pool), config).await
    }

    /// Joins a consumer group. Fails if the group refuses the member, and after retries until the
    /// request timeout.
    pub async fn group_consumer(&self, config: GroupConfig) -> Result<GroupConsumer, ClientError> {
        GroupConsumer::open(Arc::clone(&self.pool), config).await
    }

    /// Calls about consumer groups.
    pub fn groups(&self) -> GroupAdmin {
        GroupAdmin::new(Arc::clone(&self.pool))
    }

    /// Calls about authorization rules and revoked certificates.
    pub fn access(&self) -> AccessAdmin {
        AccessAdmin::new(Arc::clone(&self.pool))
    }

    /// Administrative calls.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.pool))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.pool.config)
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
