//! Consuming: batches of many partitions, each in its order.

mod batch;
mod reader;
mod start;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use lograft_core::limits::{CONSUMER_REPLY_BYTES, CONSUMER_RETRY_TIMEOUT};
use lograft_core::record::Record;
use lograft_core::record_batch::Records;
use lograft_core::{Offset, PartitionId, Term};

pub use self::batch::ConsumedBatch;
use self::reader::{Connections, Reader};
use self::start::Start;
use crate::client::TopicInfo;
use crate::client::reach::Reach;
use crate::error::ClientError;

/// Where a consumer begins in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The first record that is still there.
    Earliest,
    /// What is written from now on.
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first batch that holds a record at or after this time, milliseconds since the Unix
    /// epoch; what is written from now on where there is none.
    Timestamp(i64),
}

/// What to do when the next offset is not in the log (any more).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfRange {
    /// Fail; [`ClientError::valid_offsets`] tells the range.
    #[default]
    Error,
    /// Go on at the first record that is there.
    Earliest,
    /// Go on with what is written from now on.
    Latest,
}

/// What a consumer reads and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// The topic.
    pub topic: String,
    /// Its partitions; empty takes all, and with `follow` also those that are added later.
    pub partitions: Vec<PartitionId>,
    /// Where to begin.
    pub start: StartAt,
    /// Where to begin in single partitions instead.
    pub start_overrides: BTreeMap<PartitionId, StartAt>,
    /// Whether to wait at the end for what comes. Without it the consumer ends at the high
    /// watermarks seen at its start.
    pub follow: bool,
    /// What to do when the next offset is not in the log.
    pub out_of_range: OutOfRange,
    /// How much a leader sends in one reply, batch bytes.
    pub reply_max_bytes: u32,
    /// How long a partition is tried without progress before the consumer fails. Waiting at the
    /// end for what comes is no failure.
    pub retry_timeout: Duration,
}

impl ConsumerConfig {
    /// All partitions of `topic` from `start` on, and what comes later.
    pub fn new(topic: impl Into<String>, start: StartAt) -> Self {
        Self {
            topic: topic.into(),
            partitions: Vec::new(),
            start,
            start_overrides: BTreeMap::new(),
            follow: true,
            out_of_range: OutOfRange::Error,
            reply_max_bytes: CONSUMER_REPLY_BYTES,
            retry_timeout: CONSUMER_RETRY_TIMEOUT,
        }
    }
}

/// A record and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// The partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// The raft term in which it was appended.
    pub leader_epoch: Term,
    /// When the leader took it, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
    /// The record.
    pub record: Record,
}

/// Reads a topic. What is not taken out stays at the nodes: buffers are bounded by the connections'
/// windows, and nothing is fetched again unless somebody asks for more.
///
/// After an error the partition that it is about is read no further; the others go on.
///
/// ```no_run
/// # async fn tour(client: lograft_client::Client) -> Result<(), lograft_client::ClientError> {
/// use lograft_client::{ConsumerConfig, StartAt};
/// let mut consumer = client.consumer(ConsumerConfig::new("clicks", StartAt::Earliest)).await?;
/// // The fast way: batches, and records that borrow from them.
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
    reach: Arc<Reach>,
    config: Arc<ConsumerConfig>,
    connections: Arc<Connections>,
    readers: SelectAll<Reading>,
    /// What [`Consumer::next`] is in the midst of.
    current: Option<(ConsumedBatch, Records)>,
    positions: BTreeMap<PartitionId, Offset>,
    /// How many partitions the topic has, as far as this consumer knows.
    partition_count: u32,
    /// Finds out about new partitions, where all are read.
    growth: Option<Growth>,
}

/// A partition's batches.
type Reading = BoxStream<'static, Result<ConsumedBatch, ClientError>>;
/// A fetch of metadata that waits for its time.
type Growth = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Consumer {
    pub(crate) async fn open(
        reach: Arc<Reach>,
        config: ConsumerConfig,
    ) -> Result<Self, ClientError> {
        if config.reply_max_bytes == 0 {
            return Err(ClientError::config("reply_max_bytes", "more than 0"));
        }
        let topic = reach.topic(&config.topic).await?;
        let partitions = assigned(&config, &topic)?;
        let starts = start::resolve(&reach, &config, &partitions).await?;
        let reads_all = config.partitions.is_empty();
        let growth = (config.follow && reads_all).then(|| growth(&reach));
        let mut consumer = Self {
            connections: Arc::new(Connections::new(Arc::clone(&reach))),
            reach,
            config: Arc::new(config),
            readers: SelectAll::new(),
            current: None,
            positions: BTreeMap::new(),
            partition_count: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
            growth,
        };
        for start in starts {
            consumer.add(start);
        }
        Ok(consumer)
    }

    fn add(&mut self, start: Start) {
        if let StartAt::Offset(offset) = start.at {
            self.positions.insert(start.partition, offset);
        }
        let config = Arc::clone(&self.config);
        self.readers
            .push(Reader::new(Arc::clone(&self.connections), config, start).into_stream());
    }

    /// The next record of any partition; `None` once all are read to their end. Within a partition
    /// in order. The future may be dropped before it is done without a loss.
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

    /// The next batch of any partition: the fast way. Begins with what [`Consumer::next`] has left
    /// of the current one. The future may be dropped before it is done without a loss.
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
            let grown = async {
                match &mut self.growth {
                    Some(growth) => growth.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                batch = self.readers.next() => return batch.transpose(),
                () = grown => {
                    self.growth = Some(growth(&self.reach));
                    self.add_new();
                }
            }
        }
    }

    /// Reads partitions that were added to the topic, from their beginning.
    fn add_new(&mut self) {
        let count = self
            .reach
            .routes()
            .topic(&self.config.topic)
            .map(|t| t.partitions.len());
        let count = u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX);
        while self.partition_count < count {
            let partition = PartitionId(self.partition_count);
            self.partition_count += 1;
            self.add(Start {
                partition,
                at: StartAt::Earliest,
                end: None,
            });
        }
    }

    /// For each partition the offset after what was handed out: where another consumer goes on.
    /// Partitions whose first offset is not known yet are left out.
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

fn growth(reach: &Arc<Reach>) -> Growth {
    let reach = Arc::clone(reach);
    Box::pin(async move {
        tokio::time::sleep(reach.config.metadata_max_age).await;
        reach.refresh().await;
    })
}

/// The partitions to read: those asked for, or all.
fn assigned(config: &ConsumerConfig, topic: &TopicInfo) -> Result<Vec<PartitionId>, ClientError> {
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
