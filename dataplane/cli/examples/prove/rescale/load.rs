//! A steady load with one idempotent producer: each partition gets records at the same rate,
//! whatever happens. Latencies count from the time at which a record was due.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use hdrhistogram::Histogram;
use lograft_client::{
    BatchMetadata, Client, ClientError, PartitionId, ProducerConfig, RecordParts, TopicProducer,
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::measure::{histogram, micros};

/// Interval at which each partition gets records.
const SEND_INTERVAL: Duration = Duration::from_millis(20);
/// Sends of a partition that are not acknowledged. Those after them are late, which shows in their
/// latencies.
const PENDING_MAX_COUNT: usize = 4096;
/// Pauses that a phase keeps.
const PAUSES_MAX_COUNT: usize = 10_000;
/// Shorter times without an acknowledgement are no pauses.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// A topic that is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicShape {
    pub(super) name: &'static str,
    pub(super) partitions: u32,
    pub(super) replication_factor: u32,
}

/// The rate of the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Over all partitions.
    pub(super) records_per_second: u32,
    pub(super) record_bytes: usize,
}

/// The end of each partition by topic.
pub(super) type Ends = BTreeMap<&'static str, BTreeMap<u32, u64>>;

/// A time in which a partition acknowledged nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) topic: &'static str,
    pub(super) partition: u32,
    pub(super) lasted: Duration,
    pub(super) ended: OffsetDateTime,
}

/// What happened since the last look.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) records: u64,
    pub(super) took: Duration,
    pub(super) latencies: Histogram<u64>,
    /// The longest first.
    pub(super) pauses: Vec<Pause>,
}

#[derive(Debug)]
struct Counts {
    since: Instant,
    records: u64,
    latencies: Histogram<u64>,
    pauses: Vec<Pause>,
    failed: Option<String>,
}

impl Counts {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            records: 0,
            latencies: histogram(),
            pauses: Vec::new(),
            failed: None,
        }
    }
}

#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Counts>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running load.
pub(super) struct Load {
    counts: Shared,
    stop: watch::Sender<bool>,
    tasks: Vec<(&'static str, u32, JoinHandle<Result<u64>>)>,
}

impl Load {
    /// Starts to write to all partitions of these topics.
    pub(super) async fn start(client: &Client, topics: &[TopicShape], pace: Pace) -> Result<Self> {
        let producer = client.producer(ProducerConfig::default()).await?;
        let partitions: u32 = topics.iter().map(|topic| topic.partitions).sum();
        let per_second = f64::from(pace.records_per_second) / f64::from(partitions.max(1));
        let (stop, _) = watch::channel(false);
        let counts = Shared(Arc::new(Mutex::new(Counts::new())));
        let (mut tasks, mut delay) = (Vec::new(), Duration::ZERO);
        for topic in topics {
            for partition in 0..topic.partitions {
                let writer = Writer {
                    producer: producer.topic(topic.name).await?,
                    topic: topic.name,
                    partition,
                    per_second,
                    record_bytes: pace.record_bytes.max(8),
                    counts: counts.clone(),
                };
                // Not all partitions at the same moment.
                delay += SEND_INTERVAL / partitions;
                let writing = writer.run(Instant::now() + delay, stop.subscribe());
                tasks.push((topic.name, partition, tokio::spawn(writing)));
            }
        }
        Ok(Self {
            counts,
            stop,
            tasks,
        })
    }

    /// The figures since the last call.
    pub(super) fn take(&self) -> Taken {
        let new = Counts::new();
        let now = new.since;
        let Counts {
            since,
            records,
            latencies,
            mut pauses,
            failed,
        } = std::mem::replace(&mut *self.counts.lock(), new);
        self.counts.lock().failed = failed;
        pauses.sort_by_key(|pause| std::cmp::Reverse(pause.lasted));
        Taken {
            records,
            took: now - since,
            latencies,
            pauses,
        }
    }

    /// Fails if a record could not be written.
    pub(super) fn check(&self) -> Result<()> {
        let failed = self.counts.lock().failed.clone();
        ensure!(failed.is_none(), "{}", failed.unwrap_or_default());
        Ok(())
    }

    /// Stops, and returns the ends of all partitions.
    pub(super) async fn finish(self) -> Result<Ends> {
        self.stop.send_replace(true);
        let mut ends = Ends::new();
        for (topic, partition, task) in self.tasks {
            ends.entry(topic)
                .or_default()
                .insert(partition, task.await??);
        }
        Ok(ends)
    }
}

/// Writes to one partition.
struct Writer {
    producer: TopicProducer,
    topic: &'static str,
    partition: u32,
    per_second: f64,
    record_bytes: usize,
    counts: Shared,
}

/// The progress of a writer. Records carry their numbers, which are also their offsets: nothing
/// else writes to the partition.
#[derive(Debug)]
struct Progress {
    sent: u64,
    acked: u64,
    acked_at: Instant,
}

impl Writer {
    async fn run(self, start: Instant, stopped: watch::Receiver<bool>) -> Result<u64> {
        let written = self.write(start, stopped).await;
        if let Err(error) = &written {
            let (topic, partition) = (self.topic, self.partition);
            let failed = format!("{topic}/{partition}: {error:#}");
            self.counts.lock().failed.get_or_insert(failed);
        }
        written
    }

    async fn write(&self, start: Instant, stopped: watch::Receiver<bool>) -> Result<u64> {
        let mut progress = Progress {
            sent: 0,
            acked: 0,
            acked_at: start,
        };
        let mut pending = FuturesOrdered::new();
        let mut due = start;
        loop {
            let is_stopped = *stopped.borrow();
            if is_stopped && pending.is_empty() {
                return Ok(progress.acked);
            }
            let can_send = !is_stopped && pending.len() < PENDING_MAX_COUNT;
            tokio::select! {
                () = sleep_until(due.into()), if can_send => {
                    for delivery in self.send(due - start, &mut progress).await? {
                        pending.push_back(async move { (due, delivery.await) });
                    }
                    due += SEND_INTERVAL;
                }
                Some((due, outcome)) = pending.next() => {
                    self.acknowledged(&mut progress, due, outcome)?;
                }
            }
        }
    }

    /// Sends the records that are due.
    async fn send(
        &self,
        elapsed: Duration,
        progress: &mut Progress,
    ) -> Result<Vec<lograft_client::BatchDelivery>> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count below 2^53"
        )]
        let total = ((elapsed + SEND_INTERVAL).as_secs_f64() * self.per_second) as u64;
        let numbers = progress.sent..total.max(progress.sent);
        progress.sent = numbers.end;
        let mut bytes = vec![0_u8; self.record_bytes * numbers.clone().count()];
        for (number, value) in numbers.zip(bytes.chunks_exact_mut(self.record_bytes)) {
            value[..8].copy_from_slice(&number.to_le_bytes());
        }
        let records: Vec<RecordParts<'_>> =
            bytes.chunks_exact(self.record_bytes).map(parts).collect();
        let partition = Some(PartitionId(self.partition));
        Ok(self.producer.send_many(records, partition).await?)
    }

    fn acknowledged(
        &self,
        progress: &mut Progress,
        due: Instant,
        outcome: Result<BatchMetadata, ClientError>,
    ) -> Result<()> {
        let stored = outcome?;
        let base = stored.base_offset.context("a record has no offset")?.get();
        let (expected, count) = (progress.acked, u64::from(stored.record_count));
        ensure!(
            base == expected,
            "record {expected} was acknowledged at offset {base}"
        );
        let now = Instant::now();
        let lasted = now.saturating_duration_since(progress.acked_at);
        (progress.acked, progress.acked_at) = (expected + count, now);
        let mut counts = self.counts.lock();
        counts.records += count;
        let latency = micros(now.saturating_duration_since(due));
        counts.latencies.saturating_record_n(latency, count);
        if lasted >= PAUSE_MIN && counts.pauses.len() < PAUSES_MAX_COUNT {
            counts.pauses.push(Pause {
                topic: self.topic,
                partition: self.partition,
                lasted,
                ended: OffsetDateTime::now_utc(),
            });
        }
        Ok(())
    }
}

fn parts(value: &[u8]) -> RecordParts<'_> {
    RecordParts {
        value: Some(value),
        ..RecordParts::default()
    }
}
