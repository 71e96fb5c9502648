//! Reads single partitions that are assigned from outside.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use lograft_core::limits::GROUP_CONSUMER_REOPEN_DELAY;
use lograft_core::{Offset, PartitionId};
use tokio::time::{Instant, sleep};

use super::batch::ConsumedBatch;
use super::config::{ConsumerConfig, StartAt};
use super::partition_stream::ConsumerConnections;
use super::reader::PartitionReader;
use super::start;
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// Something that was read from a partition.
#[derive(Debug)]
pub(crate) enum ReadItem {
    /// The offset of a start position that was given by name or time.
    Start(Offset),
    Batch(ConsumedBatch),
}

/// The items of one partition. The stream ends after an error.
pub(crate) type ReadItems = BoxStream<'static, Result<ReadItem, ClientError>>;

/// Opens readers of partitions, which share connections.
pub(crate) struct AssignedReaders {
    pool: Arc<NodePool>,
    connections: Arc<ConsumerConnections>,
}

impl AssignedReaders {
    pub(crate) fn new(pool: Arc<NodePool>) -> Self {
        Self {
            connections: Arc::new(ConsumerConnections::new(Arc::clone(&pool))),
            pool,
        }
    }

    /// Reads a partition of the topic with this id, after a delay.
    pub(crate) fn open(
        &self,
        config: Arc<ConsumerConfig>,
        (topic_id, partition): (u64, PartitionId),
        at: StartAt,
        delay: Duration,
    ) -> ReadItems {
        let (pool, connections) = (Arc::clone(&self.pool), Arc::clone(&self.connections));
        let opening = async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            match open(&pool, connections, config, (topic_id, partition), at).await {
                Ok(items) => items,
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        };
        stream::once(opening).flatten().boxed()
    }
}

async fn open(
    pool: &NodePool,
    connections: Arc<ConsumerConnections>,
    config: Arc<ConsumerConfig>,
    (topic_id, partition): (u64, PartitionId),
    at: StartAt,
) -> Result<ReadItems, ClientError> {
    let from = ConsumerConfig {
        start: at,
        ..ConsumerConfig::clone(&config)
    };
    let since = Instant::now();
    let start = loop {
        let meant = (&from, Some(topic_id));
        let mut starts = start::resolve(pool, meant, &[partition]).await?;
        // One partition has one start.
        let Some(start) = starts.pop() else {
            return Ok(stream::empty().boxed());
        };
        if start.at != StartAt::Latest {
            break start;
        }
        // The partition has no leader. A stream would look for the end again whenever it fails
        // before its first batch, and skip what was written in between.
        if since.elapsed() >= config.retry_timeout {
            return Err(ClientError::Timeout {
                action: "find the end of the log",
                after: config.retry_timeout,
                last: None,
            });
        }
        sleep(GROUP_CONSUMER_REOPEN_DELAY).await;
    };
    let reader = PartitionReader::new(connections, config, start).of_topic(topic_id);
    let batches = reader.into_stream().map(|batch| batch.map(ReadItem::Batch));
    Ok(match start.at {
        StartAt::Offset(offset) if at != start.at => {
            let named = stream::once(async move { Ok(ReadItem::Start(offset)) });
            named.chain(batches).boxed()
        }
        _ => batches.boxed(),
    })
}
