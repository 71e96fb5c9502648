//! Writes to the partitions at a steady rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lograft_client::{ClientError, Delivery, PartitionId, RecordParts, TopicProducer};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ledger::SharedLedger;
use super::value::write_value;
use crate::bench::measure::{Latencies, new_latencies, record_latency};
use crate::clock::now_ms;

/// Maximum number of pending acknowledgements per partition.
const UNACKED_MAX_COUNT: usize = 65_536;

/// State that the writers of all partitions share.
pub(super) struct SoakLoad {
    pub(super) producer: TopicProducer,
    /// Id of the run, part of every value.
    pub(super) run: u64,
    /// Size of each value.
    pub(super) size: usize,
    /// Time between two records of a partition.
    pub(super) period: Duration,
    pub(super) stopped: AtomicBool,
    /// Error of the last failed record.
    pub(super) failure: Mutex<Option<ClientError>>,
}

impl SoakLoad {
    /// Tells the writers to end.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn set_failure(&self, error: ClientError) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Error of the last failed record.
    pub(super) fn take_failure(&self) -> Option<ClientError> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Writes to one partition at the steady rate until the load is stopped.
pub(super) async fn write_partition(
    load: Arc<SoakLoad>,
    partition: PartitionId,
    ledger: SharedLedger,
) -> Result<Latencies, ClientError> {
    let (sent, receive) = mpsc::channel(UNACKED_MAX_COUNT);
    let acks = tokio::spawn(collect_acks(Arc::clone(&load), receive, ledger.clone()));
    let mut ticks = interval(load.period);
    // Late ticks are caught up, so that the average rate is kept.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut value = vec![0; load.size];
    let mut outcome = Ok(());
    while !load.stopped.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = ledger.lock().send();
        write_value(&mut value, load.run, number);
        let record = RecordParts {
            timestamp_ms: Some(now_ms()),
            value: Some(&value),
            ..RecordParts::default()
        };
        let started = Instant::now();
        match load.producer.send(record, Some(partition)).await {
            Ok(delivery) => {
                if sent.send((number, started, delivery)).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    drop(sent);
    let latencies = acks.await.unwrap_or_else(|_| new_latencies());
    outcome.map(|()| latencies)
}

/// Enters acknowledgements in the ledger and measures their latency.
async fn collect_acks(
    load: Arc<SoakLoad>,
    mut receive: mpsc::Receiver<(u64, Instant, Delivery)>,
    ledger: SharedLedger,
) -> Latencies {
    let mut latencies = new_latencies();
    let mut pending = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            sent = receive.recv(), if is_open && pending.len() < UNACKED_MAX_COUNT => match sent {
                Some((number, started, delivery)) => {
                    pending.push(async move { (number, started, delivery.await) });
                }
                None => is_open = false,
            },
            Some((number, started, outcome)) = pending.next() => {
                let mut ledger = ledger.lock();
                match outcome {
                    Ok(stored) => {
                        ledger.ack(number, stored.offset, Instant::now());
                        record_latency(&mut latencies, started.elapsed(), 1);
                    }
                    Err(error) => {
                        ledger.fail();
                        load.set_failure(error);
                    }
                }
            }
        }
    }
    latencies
}
