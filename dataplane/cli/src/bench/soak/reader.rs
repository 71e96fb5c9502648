//! Follows the topic while it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use lograft_client::{
    Client, ClientError, ConsumedBatch, ConsumerConfig, Offset, PartitionId, ReadReplica, StartAt,
};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::value::parse_value;
use crate::bench::measure::{Latencies, new_latencies, record_latency};
use crate::bench::report::Percentiles;
use crate::clock::now_ms;

/// Time that the reader gets to reach the end after the last write.
pub(super) const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// The ends of the partitions, once nothing is written any more.
pub(super) type Ends = BTreeMap<PartitionId, Offset>;

/// A reader of the run's records.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) topic: String,
    pub(super) replica: ReadReplica,
    /// Id of the run.
    pub(super) run: u64,
    /// Where each partition starts.
    pub(super) starts: Ends,
}

/// Result of following.
#[derive(Debug, Serialize)]
pub(super) struct FollowReport {
    pub(super) read: u64,
    /// Records that are duplicated, or follow a later record.
    pub(super) doubled: u64,
    /// Records before the end that were not read in time.
    pub(super) missing: u64,
    /// Longest time of a partition without a record.
    pub(super) longest_pause_seconds: f64,
    /// From the time when a record was sent to when it was read, by the clock of this machine.
    pub(super) delay_ms: Percentiles,
}

/// What was read of one partition.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    /// Smallest record number that may follow.
    next_number: u64,
    next_offset: Offset,
    last: Option<Instant>,
}

/// The state of a reader.
struct Reading {
    run: u64,
    partitions: BTreeMap<PartitionId, Read>,
    read: u64,
    doubled: u64,
    longest_pause: Duration,
    delays: Latencies,
}

impl Follower {
    /// Reads until the ends, which are sent after the last write.
    pub(super) async fn run(
        self,
        mut ends: watch::Receiver<Option<Ends>>,
    ) -> Result<FollowReport, ClientError> {
        let starts = self.starts.iter();
        let config = ConsumerConfig {
            partitions: self.starts.keys().copied().collect(),
            start_overrides: starts
                .map(|(at, start)| (*at, StartAt::Offset(*start)))
                .collect(),
            replica: self.replica,
            ..ConsumerConfig::new(&self.topic, StartAt::Earliest)
        };
        let mut consumer = self.client.consumer(config).await?;
        let unread = |start: &Offset| Read {
            next_offset: *start,
            ..Read::default()
        };
        let starts = self.starts.iter();
        let mut reading = Reading {
            run: self.run,
            partitions: starts.map(|(at, start)| (*at, unread(start))).collect(),
            read: 0,
            doubled: 0,
            longest_pause: Duration::ZERO,
            delays: new_latencies(),
        };
        let known = loop {
            let known = ends.borrow_and_update().clone();
            if let Some(known) = known {
                break known;
            }
            tokio::select! {
                batch = consumer.next_batch() => {
                    let Some(batch) = batch? else { break Ends::new() };
                    reading.take(&batch)?;
                }
                changed = ends.changed() => if changed.is_err() { break Ends::new() },
            }
        };
        let deadline = Instant::now() + CATCH_UP_MAX;
        while reading.missing(&known) > 0 {
            let Ok(batch) = timeout_at(deadline, consumer.next_batch()).await else {
                break;
            };
            let Some(batch) = batch? else { break };
            reading.take(&batch)?;
        }
        Ok(FollowReport {
            missing: reading.missing(&known),
            read: reading.read,
            doubled: reading.doubled,
            longest_pause_seconds: reading.longest_pause.as_secs_f64(),
            delay_ms: Percentiles::of(&reading.delays),
        })
    }
}

impl Reading {
    fn take(&mut self, batch: &ConsumedBatch) -> Result<(), ClientError> {
        let now = Instant::now();
        let read = self.partitions.entry(batch.partition()).or_default();
        let pause = read
            .last
            .replace(now)
            .map_or(Duration::ZERO, |last| now - last);
        self.longest_pause = self.longest_pause.max(pause);
        read.next_offset = batch.next_offset();
        for record in batch.iter() {
            let (_, record) = record?;
            let value = record.value.unwrap_or_default();
            let Some((_, number)) = parse_value(value).filter(|(run, _)| *run == self.run) else {
                continue;
            };
            self.read += 1;
            self.doubled += u64::from(number < read.next_number);
            read.next_number = read.next_number.max(number + 1);
            let delay_ms = now_ms().saturating_sub(record.timestamp_ms);
            let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
            record_latency(&mut self.delays, delay, 1);
        }
        Ok(())
    }

    /// Records between what was read and the ends.
    fn missing(&self, ends: &Ends) -> u64 {
        let missing = ends.iter().map(|(partition, end)| {
            let read = self.partitions.get(partition).copied().unwrap_or_default();
            end.get().saturating_sub(read.next_offset.get())
        });
        missing.sum()
    }
}
