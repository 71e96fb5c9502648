//! Numbered records of a user: written one after the other, and read back in order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use lograft_client::{
    Client, ClientError, ConsumedRecord, Consumer, ConsumerConfig, PartitionId, ProducerConfig,
    RecordParts, StartAt, TopicProducer,
};
use tokio::task::JoinHandle;

use crate::sandbox::await_for;

/// Pause between an acknowledgement and the next record.
const PERIOD: Duration = Duration::from_millis(20);
/// Time after which a record that was not acknowledged has failed.
const DELIVERY_MAX: Duration = Duration::from_secs(15);
/// Timeout for the end of a writer, and of a reader.
const END_MAX: Duration = Duration::from_secs(30);

/// The acknowledgements of a writer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acked {
    pub(crate) count: u64,
    pub(crate) last: Option<Instant>,
    /// Longest time from one to the next.
    pub(crate) longest_pause: Duration,
}

/// Writes the records `NAME:0`, `NAME:1`, ... to the first partition of a topic until it is stopped
/// or a record fails.
pub(crate) struct Writer {
    acked: Arc<Mutex<Acked>>,
    stopped: Arc<AtomicBool>,
    task: JoinHandle<Result<(), ClientError>>,
}

impl Writer {
    /// Starts to write. Fails if the topic cannot be opened.
    pub(crate) async fn start(
        client: &Client,
        topic: &str,
        name: &str,
    ) -> Result<Self, ClientError> {
        let config = ProducerConfig {
            delivery_timeout: DELIVERY_MAX,
            ..ProducerConfig::default()
        };
        let topic = client.producer(config).await?.topic(topic).await?;
        let (acked, stopped) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let written = write(
            topic,
            name.to_owned(),
            Arc::clone(&acked),
            Arc::clone(&stopped),
        );
        Ok(Self {
            acked,
            stopped,
            task: tokio::spawn(written),
        })
    }

    /// The acknowledgements so far.
    pub(crate) fn acked(&self) -> Acked {
        *self.acked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for some acknowledgements.
    pub(crate) async fn await_acked(&self, count: u64) -> anyhow::Result<()> {
        await_for(END_MAX, "records to be acknowledged", || async {
            ensure!(!self.task.is_finished(), "the writer has ended");
            Ok((self.acked().count >= count).then_some(()))
        })
        .await
    }

    /// Ends it after the record that is on its way. Fails if a record has failed.
    pub(crate) async fn finish(self) -> anyhow::Result<Acked> {
        self.stopped.store(true, Ordering::Relaxed);
        let ended = tokio::time::timeout(END_MAX, self.task).await;
        ended.context("the writer does not end")???;
        Ok(*self.acked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until a record fails, and returns the acknowledgements before it.
    pub(crate) async fn await_refusal(self) -> anyhow::Result<(Acked, ClientError)> {
        let ended = tokio::time::timeout(END_MAX, self.task).await;
        let Err(error) = ended.context("the writer is not refused")?? else {
            bail!("the writer was stopped");
        };
        let acked = *self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((acked, error))
    }
}

async fn write(
    topic: TopicProducer,
    name: String,
    acked: Arc<Mutex<Acked>>,
    stopped: Arc<AtomicBool>,
) -> Result<(), ClientError> {
    let mut former = Instant::now();
    for number in 0_u64.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let value = format!("{name}:{number}");
        let record = RecordParts {
            value: Some(value.as_bytes()),
            ..RecordParts::default()
        };
        topic.send(record, Some(PartitionId(0))).await?.await?;
        let now = Instant::now();
        {
            let mut acked = acked.lock().unwrap_or_else(PoisonError::into_inner);
            acked.count = number + 1;
            acked.last = Some(now);
            acked.longest_pause = acked.longest_pause.max(now - former);
        }
        former = now;
        tokio::time::sleep(PERIOD).await;
    }
    Ok(())
}

/// Reads the records of a writer while they are written. It ends at the first record that is not
/// the next one.
pub(crate) struct Reader {
    count: Arc<AtomicU64>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Reader {
    /// Starts to read. Fails if the topic cannot be opened.
    pub(crate) async fn start(
        client: &Client,
        topic: &str,
        name: &str,
    ) -> Result<Self, ClientError> {
        let mut config = ConsumerConfig::new(topic, StartAt::Earliest);
        config.retry_timeout = DELIVERY_MAX;
        let consumer = client.consumer(config).await?;
        let count = Arc::<AtomicU64>::default();
        let task = tokio::spawn(read(consumer, name.to_owned(), Arc::clone(&count)));
        Ok(Self { count, task })
    }

    /// Waits until it has read this number of records, and ends it.
    pub(crate) async fn finish(self, count: u64) -> anyhow::Result<()> {
        await_for(END_MAX, "the records to be read", || async {
            let is_read = self.count.load(Ordering::Relaxed) >= count;
            Ok((is_read || self.task.is_finished()).then_some(()))
        })
        .await?;
        self.task.abort();
        match self.task.await {
            Ok(ended) => ended,
            // It was reading on.
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end by an error, and returns that.
    pub(crate) async fn await_refusal(self) -> anyhow::Result<anyhow::Error> {
        let ended = tokio::time::timeout(END_MAX, self.task).await;
        let ended = ended.context("the reader is not refused")??;
        ended.err().context("the reader was stopped")
    }
}

async fn read(mut consumer: Consumer, name: String, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    for number in 0_u64.. {
        let record = consumer.next().await?.context("the topic has ended")?;
        let (found, wanted) = (text(&record), format!("{name}:{number}"));
        ensure!(found == wanted, "found {found} in place of {wanted}");
        count.store(number + 1, Ordering::Relaxed);
    }
    Ok(())
}

fn text(record: &ConsumedRecord) -> String {
    let value = record.record.value.as_deref().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// The values of all records of a topic, in the order of each partition.
pub(crate) async fn read_all(client: &Client, topic: &str) -> Result<Vec<String>, ClientError> {
    let mut config = ConsumerConfig::new(topic, StartAt::Earliest);
    config.follow = false;
    config.retry_timeout = DELIVERY_MAX;
    let mut consumer = client.consumer(config).await?;
    let mut values = Vec::new();
    while let Some(record) = consumer.next().await? {
        values.push(text(&record));
    }
    Ok(values)
}

/// Writes one record to a partition.
pub(crate) async fn write_one(
    client: &Client,
    topic: &str,
    partition: u32,
    value: &str,
) -> Result<(), ClientError> {
    let config = ProducerConfig {
        delivery_timeout: DELIVERY_MAX,
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).await?;
    let record = RecordParts {
        value: Some(value.as_bytes()),
        ..RecordParts::default()
    };
    let topic = producer.topic(topic).await?;
    let delivery = topic.send(record, Some(PartitionId(partition))).await?;
    delivery.await.map(drop)
}

/// Fails unless every acknowledged record of a writer is among these values once and in order. One
/// that was not acknowledged may follow.
pub(crate) fn check_written(values: &[String], name: &str, acked: u64) -> anyhow::Result<()> {
    let prefix = format!("{name}:");
    let own = values
        .iter()
        .filter_map(|value| value.strip_prefix(&prefix));
    let mut count = 0_u64;
    for number in own {
        ensure!(
            *number == count.to_string(),
            "{name}: {number} in place of {count}"
        );
        count += 1;
    }
    ensure!(
        count == acked || count == acked + 1,
        "{name}: {count} of {acked} acknowledged records"
    );
    Ok(())
}
