//! Writers of numbered records, at a steady rate, whose acknowledgements are kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use lograft_client::{BatchDelivery, Client, ProducerConfig, RecordParts, TopicProducer};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::ledger::{self, Ledger, PARTITION};

/// Interval between two records of a writer.
const INTERVAL: Duration = Duration::from_millis(5);
/// Time to deliver a record: longer than any fault.
const DELIVERY_TIMEOUT: Duration = Duration::from_mins(10);
/// Bound of the records without acknowledgement; the writer waits then.
const PENDING_MAX_COUNT: usize = 200_000;
/// Time in which all records are acknowledged after the end of a fault.
const FINISH_TIMEOUT: Duration = Duration::from_mins(2);

#[derive(Debug)]
struct Acks {
    last: Instant,
    longest_pause: Duration,
}

/// One topic with its writer.
#[derive(Debug)]
pub(super) struct Writer {
    topic: String,
    ledger: Ledger,
    acks: Arc<Mutex<Acks>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

/// The records of a writer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Acknowledged records, each of which was read back once.
    pub(super) records: u64,
    pub(super) longest_pause: Duration,
}

fn lock(acks: &Mutex<Acks>) -> MutexGuard<'_, Acks> {
    acks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Starts to write to an existing topic.
    pub(super) async fn start(client: &Client, topic: &str) -> Result<Self> {
        let config = ProducerConfig {
            delivery_timeout: DELIVERY_TIMEOUT,
            ..ProducerConfig::default()
        };
        let producer = client.producer(config).await?.topic(topic).await?;
        let ledger = Ledger::default();
        let acks = Arc::new(Mutex::new(Acks {
            last: Instant::now(),
            longest_pause: Duration::ZERO,
        }));
        let (stop, stopped) = watch::channel(false);
        let work = write(producer, ledger.clone(), Arc::clone(&acks), stopped);
        Ok(Self {
            topic: topic.to_owned(),
            ledger,
            acks,
            stop,
            task: tokio::spawn(work),
        })
    }

    /// Records acknowledged so far.
    pub(super) fn records(&self) -> u64 {
        self.ledger.records()
    }

    /// Waits until a record is acknowledged that was not before.
    pub(super) async fn wait_ack(&self, bound: Duration) -> Result<()> {
        let before = self.records();
        let started = Instant::now();
        while self.records() == before {
            ensure!(
                started.elapsed() < bound,
                "{}: nothing was acknowledged for {bound:?}",
                self.topic
            );
            sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// Ends the load and reads all records. Fails if an acknowledged one is missing, twice there,
    /// or out of order.
    pub(super) async fn finish(self, client: &Client) -> Result<Written> {
        self.stop.send_replace(true);
        let ended = timeout(FINISH_TIMEOUT, self.task).await;
        ensure!(
            ended.is_ok(),
            "{}: records are not acknowledged {FINISH_TIMEOUT:?} after the fault",
            self.topic
        );
        ended???;
        let failed = self.ledger.failed();
        ensure!(failed.is_empty(), "{}: failed: {failed:?}", self.topic);
        let verdict = ledger::verify(client, &self.topic, 0, 0, &self.ledger).await?;
        let records = self.ledger.records();
        ensure!(
            verdict.acked == records,
            "{}: {records} records acknowledged, {} found",
            self.topic,
            verdict.acked
        );
        Ok(Written {
            records,
            longest_pause: lock(&self.acks).longest_pause,
        })
    }
}

async fn write(
    producer: TopicProducer,
    ledger: Ledger,
    acks: Arc<Mutex<Acks>>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let (to_acks, sent) = mpsc::channel(16);
    let noting = tokio::spawn(note_acks(sent, ledger, acks));
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0_u64;
    while !*stopped.borrow() {
        ticks.tick().await;
        let value = number.to_le_bytes();
        let record = RecordParts {
            value: Some(&value),
            ..RecordParts::default()
        };
        for delivery in producer.send_many([record], Some(PARTITION)).await? {
            if to_acks.send((number, delivery)).await.is_err() {
                break;
            }
        }
        number += 1;
    }
    drop(to_acks);
    noting.await?;
    Ok(())
}

async fn note_acks(
    mut sent: mpsc::Receiver<(u64, BatchDelivery)>,
    ledger: Ledger,
    acks: Arc<Mutex<Acks>>,
) {
    let mut pending = FuturesOrdered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            next = sent.recv(), if is_open && pending.len() < PENDING_MAX_COUNT => match next {
                None => is_open = false,
                Some((number, delivery)) => {
                    pending.push_back(async move { (number, delivery.await) });
                }
            },
            Some((number, outcome)) = pending.next() => {
                ledger.record(number, 1, outcome);
                let mut acks = lock(&acks);
                acks.longest_pause = acks.longest_pause.max(acks.last.elapsed());
                acks.last = Instant::now();
            }
        }
    }
}
