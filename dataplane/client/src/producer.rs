//! Producing: records are packed into batches, several batches are in flight to each leader.

mod lane;
mod link;
mod outcome;
mod shared;
mod supervisor;
mod topic;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::compression::Compression;
use lograft_core::limits;
use lograft_core::record::{Header, Record};
use lograft_core::{Offset, PartitionId, ProducerId, Term};
use lograft_proto::log::v1::{Durability, InitProducerRequest};

pub use self::outcome::{BatchDelivery, Delivery};
use self::shared::Shared;
use self::supervisor::Supervisor;
use self::topic::TopicLanes;
use self::turn::Runs;
use crate::client::reach::{Reach, Retry};
use crate::error::ClientError;

/// How a producer packs and delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// How batches are compressed.
    pub compression: Compression,
    /// At which size a batch is closed, bytes before compression.
    pub batch_max_bytes: usize,
    /// Unacknowledged batches at one leader, bytes.
    pub in_flight_max_bytes: usize,
    /// Records accepted and not yet acknowledged, bytes; sending waits beyond it.
    pub buffer_max_bytes: usize,
    /// How long a batch that is not full waits for more. With zero it goes as soon as nothing of
    /// its partition is in flight: the busier the partition, the fuller its batches.
    pub linger: Duration,
    /// How long a batch is tried before its records fail.
    pub delivery_timeout: Duration,
    /// How long a leader may take over one batch before it gives up and the producer tries again.
    pub request_timeout: Duration,
    /// Whether each record is stored exactly once, in order. Without it a batch whose
    /// acknowledgement was lost is stored again.
    pub idempotent: bool,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            batch_max_bytes: limits::PRODUCER_BATCH_BYTES,
            in_flight_max_bytes: limits::PRODUCER_IN_FLIGHT_MAX_BYTES,
            buffer_max_bytes: limits::PRODUCER_BUFFER_MAX_BYTES,
            linger: Duration::ZERO,
            delivery_timeout: limits::PRODUCER_DELIVERY_TIMEOUT,
            request_timeout: limits::PRODUCER_REQUEST_TIMEOUT,
            idempotent: true,
        }
    }
}

impl ProducerConfig {
    fn check(&self) -> Result<(), ClientError> {
        let batch = limits::PRODUCER_BATCH_MIN_BYTES..=limits::PRODUCER_BATCH_MAX_BYTES;
        if !batch.contains(&self.batch_max_bytes) {
            let bound = format!("{} to {} bytes", batch.start(), batch.end());
            return Err(ClientError::config("batch_max_bytes", bound));
        }
        if self.in_flight_max_bytes == 0 {
            return Err(ClientError::config("in_flight_max_bytes", "more than 0"));
        }
        if self.buffer_max_bytes == 0 {
            return Err(ClientError::config("buffer_max_bytes", "more than 0"));
        }
        if self.delivery_timeout.is_zero() || self.request_timeout.is_zero() {
            return Err(ClientError::config("timeouts", "more than 0"));
        }
        Ok(())
    }
}

/// A record by its parts, borrowed: they are encoded straight into a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordParts<'a> {
    /// When it was made, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// What decides its partition.
    pub key: Option<&'a [u8]>,
    /// What it says.
    pub value: Option<&'a [u8]>,
    /// Further named values.
    pub headers: &'a [Header],
}

impl<'a> From<&'a Record> for RecordParts<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

/// Where a record is, and how safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionId,
    /// The record's offset.
    pub offset: Offset,
    /// The raft term of the leader that acknowledged it.
    pub leader_epoch: Term,
    /// What had happened to it when it was acknowledged.
    pub durability: Durability,
    /// When the leader took it, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

/// Where a run of records is, and how safe: they stand one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionId,
    /// The first record's offset.
    pub base_offset: Offset,
    /// How many records.
    pub record_count: u32,
    /// The raft term of the leader that acknowledged them.
    pub leader_epoch: Term,
    /// What had happened to them when they were acknowledged.
    pub durability: Durability,
    /// When the leader took them, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

/// What a producer has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerStats {
    /// Records acknowledged.
    pub acked_records: u64,
    /// Records whose delivery failed.
    pub failed_records: u64,
    /// Batches acknowledged.
    pub acked_batches: u64,
    /// Encoded bytes acknowledged.
    pub acked_bytes: u64,
    /// Batches that a leader had already: an acknowledgement had been lost.
    pub duplicate_batches: u64,
    /// Batches sent again.
    pub resent_batches: u64,
    /// Bytes accepted and not yet acknowledged.
    pub buffered_bytes: usize,
}

/// Sends records. Clones share batches, buffers and connections; once the last is dropped, what is
/// not delivered yet fails: [`Producer::close`] first.
///
/// ```no_run
/// # async fn tour(client: lograft_client::Client) -> Result<(), lograft_client::ClientError> {
/// use lograft_client::{Compression, ProducerConfig, Record, RecordParts};
/// let config = ProducerConfig { compression: Compression::Lz4, ..ProducerConfig::default() };
/// let producer = client.producer(config).await?;
///
/// // One record, and what became of it.
/// let record = Record { value: Some("hello".into()), ..Record::default() };
/// let stored = producer.send("greetings", record, None).await?.await?;
/// println!("offset {} of partition {}", stored.offset, stored.partition);
///
/// // Many: encoded straight from borrowed bytes, one delivery per batch.
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

/// Ends the producer's tasks with the last clone.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.shut();
    }
}

impl Producer {
    pub(crate) async fn open(
        reach: Arc<Reach>,
        config: ProducerConfig,
    ) -> Result<Self, ClientError> {
        config.check()?;
        let id = if config.idempotent {
            Some(init_producer(&reach).await?)
        } else {
            None
        };
        let shared = Arc::new(Shared::new(reach, config, id));
        tokio::spawn(Supervisor::new(Arc::clone(&shared)).run());
        Ok(Self {
            handle: Arc::new(Handle { shared }),
        })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Takes a record; waits while the buffer is full. Without a partition the key decides, and
    /// without a key the producer. The result resolves once the record is stored.
    pub async fn send(
        &self,
        topic: &str,
        record: Record,
        partition: Option<PartitionId>,
    ) -> Result<Delivery, ClientError> {
        let lanes = self.shared().topic(topic).await?;
        self.shared()
            .send(&lanes, &RecordParts::from(&record), partition)
            .await
    }

    /// A handle for one topic: saves the search for it with each record.
    pub async fn topic(&self, name: &str) -> Result<TopicProducer, ClientError> {
        let lanes = self.shared().topic(name).await?;
        Ok(TopicProducer {
            producer: self.clone(),
            lanes,
        })
    }

    /// Waits until everything sent before is stored or has failed. Answers the first failure since
    /// the last flush, so that whoever drops deliveries still learns of it.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.shared().flush().await
    }

    /// Flushes and ends the producer; what is sent later by clones fails.
    pub async fn close(self) -> Result<(), ClientError> {
        let flushed = self.shared().flush().await;
        self.shared().shut();
        flushed
    }

    /// What it has done so far.
    pub fn stats(&self) -> ProducerStats {
        self.shared().stats()
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

async fn init_producer(reach: &Reach) -> Result<ProducerId, ClientError> {
    let reply = reach
        .call("getting a producer id", Retry::Always, |node| async move {
            node.log().init_producer(InitProducerRequest {}).await
        })
        .await?;
    Ok(ProducerId(reply.producer_id))
}

/// Sends records to one topic.
#[derive(Clone, Debug)]
pub struct TopicProducer {
    producer: Producer,
    lanes: Arc<TopicLanes>,
}

impl TopicProducer {
    /// The topic's name.
    pub fn name(&self) -> &Arc<str> {
        self.lanes.name()
    }

    /// How many partitions the topic has, as far as is known.
    pub fn partition_count(&self) -> u32 {
        self.lanes.partition_count()
    }

    /// The producer behind it.
    pub const fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Takes a record as [`Producer::send`] does.
    pub async fn send(
        &self,
        record: RecordParts<'_>,
        partition: Option<PartitionId>,
    ) -> Result<Delivery, ClientError> {
        self.producer
            .shared()
            .send(&self.lanes, &record, partition)
            .await
    }

    /// Takes many records: the fast way. One delivery for each run of records that went into the
    /// same batch one after another, in the order in which the runs began. On an error those
    /// before it are taken, and [`Producer::flush`] tells what became of them.
    pub async fn send_many<'a, I>(
        &self,
        records: I,
        partition: Option<PartitionId>,
    ) -> Result<Vec<BatchDelivery>, ClientError>
    where
        I: IntoIterator<Item = RecordParts<'a>>,
    {
        let mut records = records.into_iter();
        let mut runs = Runs::default();
        let shared = self.producer.shared();
        loop {
            shared.room().await?;
            if shared.send_turn(&self.lanes, &mut records, partition, &mut runs)? {
                return Ok(runs.into_deliveries());
            }
        }
    }
}
