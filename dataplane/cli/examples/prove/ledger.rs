//! Records that a producer has sent, their acknowledgements, and the comparison with the log.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use hdrhistogram::Histogram;
use lograft_client::{
    BatchDelivery, BatchMetadata, Client, ClientError, ConsumerConfig, Offset, PartitionId,
    ProducerConfig, RecordParts, StartAt,
};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use crate::measure::{histogram, micros};

/// Number of records per send call.
const SEND_RECORDS: u64 = 512;
/// The partition that is written.
pub(crate) const PARTITION: PartitionId = PartitionId(0);

/// Acknowledged consecutive records: `count` numbers from `first`, at offsets from `base_offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckedRange {
    first: u64,
    count: u64,
    base_offset: u64,
}

/// The acknowledgements so far, in the order of sending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<LedgerState>>);

#[derive(Debug)]
struct LedgerState {
    acked: VecDeque<AckedRange>,
    failed: Vec<String>,
    epoch: u64,
    epoch_since: Option<Instant>,
    records: u64,
    /// Microseconds from the time at which records are due until their acknowledgement.
    latencies: Histogram<u64>,
}

impl Default for LedgerState {
    fn default() -> Self {
        Self {
            acked: VecDeque::new(),
            failed: Vec::new(),
            epoch: 0,
            epoch_since: None,
            records: 0,
            latencies: histogram(),
        }
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, LedgerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records acknowledged so far.
    pub(crate) fn records(&self) -> u64 {
        self.lock().records
    }

    /// Epoch of the latest leader, and the time of its first acknowledgement.
    pub(crate) fn epoch(&self) -> (u64, Option<Instant>) {
        let state = self.lock();
        (state.epoch, state.epoch_since)
    }

    /// Errors of records that failed.
    pub(crate) fn failed(&self) -> Vec<String> {
        self.lock().failed.clone()
    }

    /// Takes the latencies so far, in microseconds: those of a load count from the time at which
    /// its records are due.
    pub(crate) fn take_latencies(&self) -> Histogram<u64> {
        std::mem::replace(&mut self.lock().latencies, histogram())
    }

    fn record_latency(&self, latency: Duration, count: u64) {
        let latencies = &mut self.lock().latencies;
        latencies.saturating_record_n(micros(latency), count);
    }

    /// Records the outcome of `count` consecutive records from number `first`.
    pub(crate) fn record(
        &self,
        first: u64,
        count: u64,
        outcome: Result<BatchMetadata, ClientError>,
    ) {
        let mut state = self.lock();
        let stored = match outcome {
            Ok(stored) => stored,
            Err(error) => {
                return state
                    .failed
                    .push(format!("{:#}", anyhow::Error::from(error)));
            }
        };
        state.records += count;
        let Some(base_offset) = stored.base_offset else {
            let text = format!("record {first} was acknowledged without an offset");
            return state.failed.push(text);
        };
        state.acked.push_back(AckedRange {
            first,
            count,
            base_offset: base_offset.get(),
        });
        if stored.leader_epoch.get() > state.epoch {
            state.epoch = stored.leader_epoch.get();
            state.epoch_since = Some(Instant::now());
        }
    }
}

/// Writes numbered records until it is finished.
#[derive(Debug)]
pub(crate) struct Load {
    /// Acknowledgements of the load.
    pub(crate) ledger: Ledger,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<u64>>,
}

impl Load {
    /// Starts the load at full speed. Records are numbered from `first`.
    pub(crate) fn start(client: Client, topic: &str, record_bytes: usize, first: u64) -> Self {
        let numbers = first..u64::MAX;
        Self::of(client, topic, record_bytes, numbers, Ledger::default())
    }

    /// Starts the load at a steady rate, records per second. Records are numbered from 0.
    pub(crate) fn paced(client: Client, topic: &str, record_bytes: usize, rate: u64) -> Self {
        let sender = Sender {
            client,
            topic: topic.to_owned(),
            record_bytes,
            rate: Some(rate.max(1)),
            next: 0,
            end: u64::MAX,
        };
        Self::run(sender, Ledger::default())
    }

    /// Starts to write records with these numbers, rounded up to whole calls, and adds the
    /// acknowledgements to a ledger.
    pub(crate) fn of(
        client: Client,
        topic: &str,
        record_bytes: usize,
        numbers: Range<u64>,
        ledger: Ledger,
    ) -> Self {
        let sender = Sender {
            client,
            topic: topic.to_owned(),
            record_bytes,
            rate: None,
            next: numbers.start,
            end: numbers.end,
        };
        Self::run(sender, ledger)
    }

    fn run(sender: Sender, ledger: Ledger) -> Self {
        let (stop, stopped) = watch::channel(false);
        let work = sender.run(ledger.clone(), stopped);
        Self {
            ledger,
            stop,
            task: tokio::spawn(work),
        }
    }

    /// Stops the load without waiting for records in flight.
    pub(crate) fn abandon(self) {
        self.task.abort();
    }

    /// Waits until all records are acknowledged, and returns the number after the last record.
    pub(crate) async fn complete(self) -> Result<u64> {
        self.task.await?
    }

    /// Stops the load, waits for records in flight and returns the number after the last record.
    pub(crate) async fn finish(self) -> Result<u64> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

/// The sending task of a load.
struct Sender {
    client: Client,
    topic: String,
    record_bytes: usize,
    /// Records per second; full speed without it.
    rate: Option<u64>,
    next: u64,
    end: u64,
}

/// Records of one call.
struct Sent {
    first: u64,
    due: Instant,
    deliveries: Vec<BatchDelivery>,
}

impl Sender {
    async fn run(mut self, ledger: Ledger, stopped: watch::Receiver<bool>) -> Result<u64> {
        let producer = self.client.producer(ProducerConfig::default()).await?;
        let handle = producer.topic(&self.topic).await?;
        let (to_acks, from_send) = mpsc::channel(256);
        let acks = tokio::spawn(record_acks(from_send, ledger));
        let size = self.record_bytes;
        let count = usize::try_from(SEND_RECORDS)?;
        let mut values = vec![0_u8; size * count];
        let (started, number) = (Instant::now(), self.next);
        while !*stopped.borrow() && self.next < self.end {
            let first = self.next;
            let mut due = Instant::now();
            if let Some(rate) = self.rate {
                due = started + Duration::from_micros((first - number) * 1_000_000 / rate);
                sleep_until(due.into()).await;
            }
            for value in values.chunks_exact_mut(size) {
                value[..8].copy_from_slice(&self.next.to_le_bytes());
                self.next += 1;
            }
            let records = (0..count).map(|at| {
                let value = Some(&values[at * size..][..size]);
                RecordParts {
                    value,
                    ..RecordParts::default()
                }
            });
            let deliveries = handle.send_many(records, Some(PARTITION)).await?;
            let sent = Sent {
                first,
                due,
                deliveries,
            };
            if to_acks.send(sent).await.is_err() {
                break;
            }
        }
        drop(to_acks);
        acks.await?;
        Ok(self.next)
    }
}

async fn record_acks(mut sent: mpsc::Receiver<Sent>, ledger: Ledger) {
    let mut pending = FuturesOrdered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            next = sent.recv(), if is_open && pending.len() < 100_000 => match next {
                None => is_open = false,
                Some(Sent { mut first, due, deliveries }) => for delivery in deliveries {
                    let (from, count) = (first, u64::from(delivery.record_count()));
                    first += count;
                    pending.push_back(async move {
                        let outcome = delivery.await;
                        (from, count, outcome, due)
                    });
                },
            },
            Some((from, count, outcome, due)) = pending.next() => {
                ledger.record_latency(due.elapsed(), count);
                ledger.record(from, count, outcome);
            }
        }
    }
}

/// Result of comparing the log with the acknowledgements.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    /// Number of records read.
    pub(crate) read: u64,
    /// Number of acknowledged records among them.
    pub(crate) acked: u64,
    /// Offset after the last record.
    pub(crate) next_offset: u64,
}

/// Reads the log from offset `from` and compares it with the ledger. Fails if offsets have a gap,
/// record numbers from `first` are duplicated or out of order, or an acknowledged record is missing
/// or at another offset.
pub(crate) async fn verify(
    client: &Client,
    topic: &str,
    from: u64,
    first: u64,
    ledger: &Ledger,
) -> Result<Verdict> {
    let start = StartAt::Offset(Offset(from));
    let config = ConsumerConfig {
        follow: false,
        ..ConsumerConfig::new(topic, start)
    };
    let mut consumer = client.consumer(config).await?;
    let mut acked = ledger.lock().acked.clone();
    let mut verdict = Verdict {
        next_offset: from,
        ..Verdict::default()
    };
    let mut next_number = first;
    while let Some(batch) = consumer.next_batch().await? {
        for record in batch.iter() {
            let (offset, record) = record?;
            let offset = offset.get();
            let value = record
                .value
                .and_then(|value| value.split_first_chunk::<8>());
            let (head, rest) = value.context("value is too short")?;
            let number = u64::from_le_bytes(*head);
            ensure!(
                rest.iter().all(|byte| *byte == 0),
                "record {number} at offset {offset} has other bytes than were written"
            );
            let expected = verdict.next_offset;
            ensure!(
                offset == expected,
                "gap in offsets: expected {expected}, got {offset}"
            );
            ensure!(
                number >= next_number,
                "record {number} at offset {offset} is duplicated or out of order"
            );
            if number > next_number {
                let is_lost = acked.front().is_some_and(|range| range.first < number);
                ensure!(
                    !is_lost,
                    "acknowledged records {next_number} to {number} (exclusive) are lost"
                );
            }
            take_acked(&mut acked, number, offset, &mut verdict)?;
            next_number = number + 1;
            verdict.next_offset = offset + 1;
            verdict.read += 1;
        }
    }
    let missing: u64 = acked.iter().map(|range| range.count).sum();
    ensure!(
        missing == 0,
        "{missing} acknowledged records are missing at the end of the log"
    );
    Ok(verdict)
}

/// Removes a record from the acknowledged ones, if it is among them, and checks its offset.
fn take_acked(
    acked: &mut VecDeque<AckedRange>,
    number: u64,
    offset: u64,
    verdict: &mut Verdict,
) -> Result<()> {
    let Some(range) = acked.front_mut().filter(|range| range.first == number) else {
        return Ok(());
    };
    let acked_offset = range.base_offset;
    ensure!(
        acked_offset == offset,
        "record {number} was acknowledged at offset {acked_offset} but is at {offset}"
    );
    verdict.acked += 1;
    *range = AckedRange {
        first: range.first + 1,
        count: range.count - 1,
        base_offset: acked_offset + 1,
    };
    if range.count == 0 {
        acked.pop_front();
    }
    Ok(())
}
