//! Producer: packs records into batches and keeps several batches in flight to each leader.

mod append;
mod buffer;
mod completion;
mod config;
mod delivery;
mod outcome;
mod partition;
mod partition_queue;
mod produce_stream;
mod record;
mod state;
mod stats;
mod stream_queue;
mod supervisor;
mod supervisor_queue;
mod topic_partitions;
mod verdict;

use std::fmt;
use std::sync::Arc;

use lograft_core::record::Record;
use lograft_core::{PartitionId, ProducerId};
use lograft_proto::log::v1::InitProducerRequest;

pub use self::config::ProducerConfig;
use self::delivery::DeliveryRuns;
pub use self::delivery::{BatchDelivery, Delivery};
pub use self::record::{BatchMetadata, RecordMetadata, RecordParts};
use self::state::ProducerState;
pub use self::stats::ProducerStats;
use self::supervisor::Supervisor;
use self::topic_partitions::TopicPartitions;
use crate::cluster::node::Retry;
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// Sends records. Clones share batches, buffers and connections. When the last clone is dropped,
/// undelivered records fail; [`Producer::close`] delivers them first.
///
/// ```no_run
/// # async fn tour(client: lograft_client::Client) -> Result<(), lograft_client::ClientError> {
/// use lograft_client::{Compression, ProducerConfig, Record, RecordParts};
/// let config = ProducerConfig { compression: Compression::Lz4, ..ProducerConfig::default() };
/// let producer = client.producer(config).await?;
///
/// // One record and its delivery.
/// let record = Record { value: Some("hello".into()), ..Record::default() };
/// let stored = producer.send("greetings", record, None).await?.await?;
/// println!("{:?} of partition {}", stored.offset, stored.partition);
///
/// // Many records, encoded from borrowed bytes, with one delivery per batch.
/// let lines = ["a", "b", "c"];
/// let records = lines.iter().map(|line| RecordParts {
///     value: Some(line.as_bytes()),
///     ..RecordParts::default()
/// });
/// let topic = producer.topic("greetings").await?;
/// for run in topic.send_many(records, None).await? {
///     println!("{} records", run.await?.record_count);
/// }
/// producer.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Closes the producer when the last clone is dropped.
struct Handle {
    state: Arc<ProducerState>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.close();
    }
}

impl Producer {
    pub(crate) async fn open(
        pool: Arc<NodePool>,
        config: ProducerConfig,
    ) -> Result<Self, ClientError> {
        config.validate()?;
        let id = if config.idempotent {
            Some(init_producer(&pool).await?)
        } else {
            None
        };
        let state = Arc::new(ProducerState::new(pool, config, id));
        tokio::spawn(Supervisor::new(Arc::clone(&state)).run());
        Ok(Self {
            handle: Arc::new(Handle { state }),
        })
    }

    fn state(&self) -> &Arc<ProducerState> {
        &self.handle.state
    }

    /// Sends a record. Waits while the buffer is full. Without `partition` the key selects the
    /// partition, and without a key the producer does. The delivery resolves once the record is
    /// stored.
    pub async fn send(
        &self,
        topic: &str,
        record: Record,
        partition: Option<PartitionId>,
    ) -> Result<Delivery, ClientError> {
        let topic = self.state().topic(topic).await?;
        self.state()
            .send(&topic, &RecordParts::from(&record), partition)
            .await
    }

    /// A handle for one topic, which saves the lookup of the topic for each record.
    pub async fn topic(&self, name: &str) -> Result<TopicProducer, ClientError> {
        let topic = self.state().topic(name).await?;
        Ok(TopicProducer {
            producer: self.clone(),
            topic,
        })
    }

    /// Waits until all records sent before are stored or have failed. Fails with the first failure
    /// since the last flush, so that failures are noticed even if deliveries are dropped.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.state().flush().await
    }

    /// Flushes and closes the producer. Records that clones send later fail.
    pub async fn close(self) -> Result<(), ClientError> {
        let flushed = self.state().flush().await;
        self.state().close();
        flushed
    }

    /// Counters since the producer was opened.
    pub fn stats(&self) -> ProducerStats {
        self.state().stats()
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

async fn init_producer(pool: &NodePool) -> Result<ProducerId, ClientError> {
    let reply = pool
        .call("get a producer id", Retry::Always, |node| async move {
            node.log().init_producer(InitProducerRequest {}).await
        })
        .await?;
    Ok(ProducerId(reply.producer_id))
}

/// Sends records to one topic.
#[derive(Clone, Debug)]
pub struct TopicProducer {
    producer: Producer,
    topic: Arc<TopicPartitions>,
}

impl TopicProducer {
    /// Topic name.
    pub fn name(&self) -> &Arc<str> {
        self.topic.name()
    }

    /// Number of the topic's partitions according to the cached metadata.
    pub fn partition_count(&self) -> u32 {
        self.topic.partition_count()
    }

    /// Sends a record, like [`Producer::send`].
    pub async fn send(
        &self,
        record: RecordParts<'_>,
        partition: Option<PartitionId>,
    ) -> Result<Delivery, ClientError> {
        self.producer
            .state()
            .send(&self.topic, &record, partition)
            .await
    }

    /// Sends many records, which is faster than one by one. Returns one delivery for each run of
    /// records that are consecutive in a batch, ordered by the first record of the run. On an error
    /// the records before it are sent, and [`Producer::flush`] reports their failures.
    pub async fn send_many<'a, I>(
        &self,
        records: I,
        partition: Option<PartitionId>,
    ) -> Result<Vec<BatchDelivery>, ClientError>
    where
        I: IntoIterator<Item = RecordParts<'a>>,
    {
        let mut records = records.into_iter();
        let mut runs = DeliveryRuns::default();
        let state = self.producer.state();
        state.look_for(&self.topic, partition).await;
        loop {
            state.wait_for_room().await?;
            if state.append_until_closed(&self.topic, &mut records, partition, &mut runs)? {
                return Ok(runs.into_deliveries());
            }
        }
    }
}
