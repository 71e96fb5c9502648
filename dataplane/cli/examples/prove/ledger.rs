//! What a producer sent and what was acknowledged, and whether the log agrees.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use lograft_client::{
    BatchDelivery, BatchMetadata, Client, ClientError, ConsumerConfig, Offset, PartitionId,
    ProducerConfig, RecordParts, StartAt,
};
use tokio::sync::{mpsc, watch};

/// Records handed to the producer at once.
const HANDED_RECORDS: u64 = 512;
/// The one partition that is written.
pub(crate) const PARTITION: PartitionId = PartitionId(0);

/// A run of records that was acknowledged: numbers `first` and following at `base_offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    first: u64,
    count: u64,
    base_offset: u64,
}

/// The acks so far, in the order of sending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    acked: VecDeque<Acked>,
    failed: Vec<String>,
    epoch: u64,
    epoch_since: Option<Instant>,
    records: u64,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records acknowledged so far.
    pub(crate) fn records(&self) -> u64 {
        self.book().records
    }

    /// The latest leader's term, and when its first ack came.
    pub(crate) fn epoch(&self) -> (u64, Option<Instant>) {
        let book = self.book();
        (book.epoch, book.epoch_since)
    }

    /// What failed for good, as sentences.
    pub(crate) fn failed(&self) -> Vec<String> {
        self.book().failed.clone()
    }

    fn note(&self, first: u64, count: u64, outcome: Result<BatchMetadata, ClientError>) {
        let mut book = self.book();
        let stored = match outcome {
            Ok(stored) => stored,
            Err(error) => {
                return book
                    .failed
                    .push(format!("{:#}", anyhow::Error::from(error)));
            }
        };
        book.records += count;
        book.acked.push_back(Acked {
            first,
            count,
            base_offset: stored.base_offset.get(),
        });
        if stored.leader_epoch.get() > book.epoch {
            book.epoch = stored.leader_epoch.get();
            book.epoch_since = Some(Instant::now());
        }
    }
}

/// Writes numbered records at full speed until told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    /// What was acknowledged.
    pub(crate) ledger: Ledger,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<u64>>,
}

impl Load {
    /// Starts it. Records count from `first`.
    pub(crate) fn start(client: Client, topic: &str, record_bytes: usize, first: u64) -> Self {
        let ledger = Ledger::default();
        let (stop, stopped) = watch::channel(false);
        let sender = Sender {
            client,
            topic: topic.to_owned(),
            record_bytes,
            next: first,
        };
        let work = sender.run(ledger.clone(), stopped);
        Self {
            ledger,
            stop,
            task: tokio::spawn(work),
        }
    }

    /// Stops it and waits for what is under way; the number after the last record.
    pub(crate) async fn finish(self) -> Result<u64> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

/// What a load sends.
struct Sender {
    client: Client,
    topic: String,
    record_bytes: usize,
    next: u64,
}

impl Sender {
    async fn run(mut self, ledger: Ledger, stopped: watch::Receiver<bool>) -> Result<u64> {
        let producer = self.client.producer(ProducerConfig::default()).await?;
        let handle = producer.topic(&self.topic).await?;
        let (to_acks, from_send) = mpsc::channel(256);
        let acks = tokio::spawn(take_acks(from_send, ledger));
        let size = self.record_bytes;
        let count = usize::try_from(HANDED_RECORDS)?;
        let mut values = vec![0_u8; size * count];
        while !*stopped.borrow() {
            let first = self.next;
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
            let runs = handle.send_many(records, Some(PARTITION)).await?;
            if to_acks.send((first, runs)).await.is_err() {
                break;
            }
        }
        drop(to_acks);
        acks.await?;
        Ok(self.next)
    }
}

async fn take_acks(mut handed: mpsc::Receiver<(u64, Vec<BatchDelivery>)>, ledger: Ledger) {
    let mut pending = FuturesOrdered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            next = handed.recv(), if is_open && pending.len() < 100_000 => match next {
                None => is_open = false,
                Some((mut first, runs)) => for run in runs {
                    let (from, count) = (first, u64::from(run.record_count()));
                    first += count;
                    pending.push_back(async move { (from, count, run.await) });
                },
            },
            Some((from, count, outcome)) = pending.next() => ledger.note(from, count, outcome),
        }
    }
}

/// What the log held, compared with what was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    /// Records read.
    pub(crate) read: u64,
    /// Of them acknowledged.
    pub(crate) acked: u64,
    /// The offset after the last.
    pub(crate) next_offset: u64,
}

/// Reads everything from `from` on and holds it against the ledger: offsets without gap, numbers
/// from `first` on in order and without repetition, every acknowledged record at its offset.
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
    let mut acked = ledger.book().acked.clone();
    let mut verdict = Verdict {
        next_offset: from,
        ..Verdict::default()
    };
    let mut next_number = first;
    while let Some(batch) = consumer.next_batch().await? {
        for record in batch.iter() {
            let (offset, record) = record?;
            let offset = offset.get();
            let head = record
                .value
                .and_then(|v| v.first_chunk::<8>())
                .context("a short value")?;
            let number = u64::from_le_bytes(*head);
            let expected = verdict.next_offset;
            ensure!(
                offset == expected,
                "gap in offsets: {offset} where {expected} should be"
            );
            ensure!(
                number >= next_number,
                "record {number} twice or late, at offset {offset}"
            );
            if number > next_number {
                let is_lost = acked.front().is_some_and(|run| run.first < number);
                ensure!(
                    !is_lost,
                    "acknowledged records from {next_number} to {number} are lost"
                );
            }
            take_acked(&mut acked, number, offset, &mut verdict)?;
            next_number = number + 1;
            verdict.next_offset = offset + 1;
            verdict.read += 1;
        }
    }
    let missing: u64 = acked.iter().map(|run| run.count).sum();
    ensure!(
        missing == 0,
        "{missing} acknowledged records are lost at the end"
    );
    Ok(verdict)
}

/// Crosses a record off, if it was acknowledged, and checks its offset.
fn take_acked(
    acked: &mut VecDeque<Acked>,
    number: u64,
    offset: u64,
    verdict: &mut Verdict,
) -> Result<()> {
    let Some(run) = acked.front_mut().filter(|run| run.first == number) else {
        return Ok(());
    };
    let said = run.base_offset;
    ensure!(
        said == offset,
        "record {number} was acknowledged at {said} and stands at {offset}"
    );
    verdict.acked += 1;
    *run = Acked {
        first: run.first + 1,
        count: run.count - 1,
        base_offset: said + 1,
    };
    if run.count == 0 {
        acked.pop_front();
    }
    Ok(())
}
