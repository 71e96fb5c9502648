//! A consumer that reads a topic while it is written, and checks each record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, Consumer, ConsumerConfig, StartAt};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::load::TopicShape;

const CATCH_UP_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time to wait for records that should not exist.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// The next number of each partition.
type Read = Arc<Mutex<BTreeMap<u32, u64>>>;

/// A running consumer.
pub(super) struct Verifier {
    topic: &'static str,
    read: Read,
    task: JoinHandle<Result<()>>,
}

impl Verifier {
    /// Starts to read a topic from its start.
    pub(super) async fn start(client: &Client, topic: &TopicShape) -> Result<Self> {
        let config = ConsumerConfig::new(topic.name, StartAt::Earliest);
        let consumer = client.consumer(config).await?;
        let read = Read::default();
        let task = tokio::spawn(follow(consumer, Arc::clone(&read)));
        Ok(Self {
            topic: topic.name,
            read,
            task,
        })
    }

    pub(super) const fn topic(&self) -> &'static str {
        self.topic
    }

    /// Fails if the consumer has ended.
    pub(super) fn check(&self) -> Result<()> {
        let topic = self.topic;
        ensure!(
            !self.task.is_finished(),
            "the consumer of {topic} has ended"
        );
        Ok(())
    }

    /// Waits until all acknowledged records are read, and checks that there are no others. Returns
    /// their number.
    pub(super) async fn finish(self, ends: &BTreeMap<u32, u64>) -> Result<u64> {
        let started = Instant::now();
        let total: u64 = ends.values().sum();
        while !self.task.is_finished() && lock(&self.read).values().sum::<u64>() < total {
            let took = started.elapsed();
            ensure!(
                took < CATCH_UP_TIMEOUT,
                "{}: {:?} are read, {ends:?} are acknowledged",
                self.topic,
                self.read
            );
            sleep(POLL_INTERVAL).await;
        }
        sleep(AFTERWARDS).await;
        if self.task.is_finished() {
            self.task.await??;
            bail!("the consumer of {} has ended", self.topic);
        }
        self.task.abort();
        let read = lock(&self.read).clone();
        ensure!(
            read == *ends,
            "{}: {read:?} are in the log, {ends:?} are acknowledged",
            self.topic
        );
        Ok(total)
    }
}

fn lock(read: &Read) -> MutexGuard<'_, BTreeMap<u32, u64>> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads on and on. Fails if a record is not at the offset of its number.
async fn follow(mut consumer: Consumer, read: Read) -> Result<()> {
    while let Some(batch) = consumer.next_batch().await? {
        let partition = batch.partition().get();
        let mut next = lock(&read).get(&partition).copied().unwrap_or(0);
        for record in batch.iter() {
            let (offset, record) = record?;
            let head = record.value.and_then(|value| value.first_chunk::<8>());
            let number = u64::from_le_bytes(*head.context("a value is too short")?);
            ensure!(
                (offset.get(), number) == (next, next),
                "partition {partition}: expected record {next}, got {number} at {offset}"
            );
            next += 1;
        }
        lock(&read).insert(partition, next);
    }
    Ok(())
}
