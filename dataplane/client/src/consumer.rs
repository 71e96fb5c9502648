//! Consumer: reads the batches of several partitions, each partition in order.

mod assigned;
mod batch;
mod config;
mod partition_stream;
mod reader;
mod start;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use lograft_core::record_batch::Records;
use lograft_core::{Offset, PartitionId};

pub(crate) use self::assigned::{AssignedReaders, ReadItem};
pub use self::batch::{ConsumedBatch, ConsumedRecord};
pub use self::config::{ConsumerConfig, OutOfRange, ReadReplica, StartAt};
use self::partition_stream::ConsumerConnections;
use self::reader::PartitionReader;
use self::start::StartPosition;
use crate::cluster::metadata::TopicInfo;
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// Reads the records of a topic. Records that the caller does not take stay on the nodes: the
/// HTTP/2 flow control windows of the consumer's connections bound the buffers.
///
/// After an error the affected partition is not read any further; the others are.
///
/// ```no_run
/// # async fn tour(client: lograft_client::Client) -> Result<(), lograft_client::ClientError> {
/// use lograft_client::{ConsumerConfig, StartAt};
/// let mut consumer = client.consumer(ConsumerConfig::new("clicks", StartAt::Earliest)).await?;
/// // Fastest: batches, and records that borrow from them.
/// while let Some(batch) = consumer.next_batch().await? {
///     for record in batch.iter() {
///         let (offset, record) = record?;
///         println!("{}/{offset}: {:?}", batch.partition(), record.value);
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    pool: Arc<NodePool>,
    config: Arc<ConsumerConfig>,
    connections: Arc<ConsumerConnections>,
    readers: SelectAll<PartitionBatches>,
    /// The batch whose records [`Consumer::next`] returns.
    current: Option<(ConsumedBatch, Records)>,
    positions: BTreeMap<PartitionId, Offset>,
    /// Number of the topic's partitions that this consumer knows.
    partition_count: u32,
    /// The next search for new partitions; only set if all partitions are read.
    next_discovery: Option<Discovery>,
}

/// The batches of one partition.
type PartitionBatches = BoxStream<'static, Result<ConsumedBatch, ClientError>>;
/// A metadata refresh after the metadata age.
type Discovery = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Consumer {
    pub(crate) async fn open(
        pool: Arc<NodePool>,
        config: ConsumerConfig,
    ) -> Result<Self, ClientError> {
        if config.reply_max_bytes == 0 {
            return Err(ClientError::config("reply_max_bytes", "more than 0", 0));
        }
        let topic = pool.topic(&config.topic).await?;
        let partitions = selected_partitions(&config, &topic)?;
        let starts = start::resolve(&pool, (&config, None), &partitions).await?;
        let reads_all = config.partitions.is_empty();
        let next_discovery = (config.follow && reads_all).then(|| discovery(&pool));
        let mut consumer = Self {
            connections: Arc::new(ConsumerConnections::new(Arc::clone(&pool))),
            pool,
            config: Arc::new(config),
            readers: SelectAll::new(),
            current: None,
            positions: BTreeMap::new(),
            partition_count: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
            next_discovery,
        };
        for start in starts {
            consumer.add_partition(start);
        }
        Ok(consumer)
    }

    fn add_partition(&mut self, start: StartPosition) {
        if let StartAt::Offset(offset) = start.at {
            self.positions.insert(start.partition, offset);
        }
        let config = Arc::clone(&self.config);
        let reader = PartitionReader::new(Arc::clone(&self.connections), config, start);
        self.readers.push(reader.into_stream());
    }

    /// The next record of any partition, in order within each partition. `None` after all
    /// partitions were read to their end. Cancel safe: dropping the future loses no record.
    pub async fn next(&mut self) -> Result<Option<ConsumedRecord>, ClientError> {
        loop {
            if let Some((batch, records)) = &mut self.current {
                if let Some(record) = records.next() {
                    let record = batch.take_next(record?);
                    self.positions
                        .insert(record.partition, record.offset.next());
                    return Ok(Some(record));
                }
                self.current = None;
            }
            let Some(batch) = self.receive().await? else {
                return Ok(None);
            };
            let records = batch.records();
            self.current = Some((batch, records));
        }
    }

    /// The next batch of any partition, which is faster than single records. Starts with the
    /// records that [`Consumer::next`] has not returned from its current batch. Cancel safe:
    /// dropping the future loses no record.
    pub async fn next_batch(&mut self) -> Result<Option<ConsumedBatch>, ClientError> {
        let current = self
            .current
            .take()
            .map(|(batch, _)| batch)
            .filter(|b| b.record_count() > 0);
        let batch = match current {
            Some(batch) => Some(batch),
            None => self.receive().await?,
        };
        if let Some(batch) = &batch {
            self.positions
                .insert(batch.partition(), batch.next_offset());
        }
        Ok(batch)
    }

    async fn receive(&mut self) -> Result<Option<ConsumedBatch>, ClientError> {
        loop {
            let refreshed = async {
                match &mut self.next_discovery {
                    Some(discovery) => discovery.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                batch = self.readers.next() => return batch.transpose(),
                () = refreshed => {
                    self.next_discovery = Some(discovery(&self.pool));
                    self.add_new_partitions();
                }
            }
        }
    }

    /// Adds partitions that were added to the topic. They are read from the start: records may have
    /// been written to them before this consumer discovered them.
    fn add_new_partitions(&mut self) {
        let count = self
            .pool
            .metadata()
            .topic(&self.config.topic)
            .map(|t| t.partitions.len());
        let count = u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX);
        while self.partition_count < count {
            let partition = PartitionId(self.partition_count);
            self.partition_count += 1;
            self.add_partition(StartPosition {
                partition,
                at: StartAt::Earliest,
                end: None,
            });
        }
    }

    /// For each partition the offset after the last returned record, at which another consumer can
    /// resume. Partitions whose first offset is not known yet are omitted.
    pub fn positions(&self) -> Vec<(PartitionId, Offset)> {
        self.positions
            .iter()
            .map(|(partition, offset)| (*partition, *offset))
            .collect()
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("config", &self.config)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

fn discovery(pool: &Arc<NodePool>) -> Discovery {
    let pool = Arc::clone(pool);
    Box::pin(async move {
        tokio::time::sleep(pool.config.metadata_max_age).await;
        pool.refresh().await;
    })
}

/// The partitions to read: the configured ones, or all.
fn selected_partitions(
    config: &ConsumerConfig,
    topic: &TopicInfo,
) -> Result<Vec<PartitionId>, ClientError> {
    if config.partitions.is_empty() {
        return Ok(topic.partitions.iter().map(|p| p.partition).collect());
    }
    let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    let mut partitions = config.partitions.clone();
    partitions.sort_unstable();
    partitions.dedup();
    match partitions.iter().find(|p| p.get() >= count) {
        None => Ok(partitions),
        Some(&partition) => Err(ClientError::UnknownPartition {
            topic: Arc::clone(&topic.name),
            partition,
            count,
        }),
    }
}
