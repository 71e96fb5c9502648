//! `lograft bench produce`: writes batches as fast as they are acknowledged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lograft_client::{
    BatchDelivery, BatchMetadata, Client, ClientError, ProducerConfig, RecordParts, TopicInfo,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::measure::{Latencies, LoadCounters, Schedule, measure, new_latencies, record_latency};
use super::report::{BenchKind, Report};
use super::setup::{BatchArgs, MeasureArgs, Setup};
use super::topic::BenchTopic;
use crate::clock::now_ms;
use crate::connect::connect;
use crate::error::CliError;
use crate::global::GlobalArgs;

/// Bytes given to the producer per call.
const SEND_BYTES: usize = 128 * 1024;
/// Maximum number of pending deliveries.
const DELIVERIES_MAX_COUNT: usize = 4096;
/// Delivery timeout: longer than a failover of a few seconds, but short enough to report soon that
/// the cluster refuses writes.
const DELIVERY_MAX: Duration = Duration::from_secs(15);
/// Size of the random bytes from which values are sliced.
const POOL_BYTES: usize = 4 * 1024 * 1024;

/// Options of `lograft bench produce`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProduceBench {
    #[command(flatten)]
    measure: MeasureArgs,
    #[command(flatten)]
    batch: BatchArgs,
    /// Number of clients, each with its own connections and producer
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
}

impl ProduceBench {
    pub(crate) fn json(&self) -> bool {
        self.measure.json
    }
}

/// Runs the benchmark.
pub(crate) async fn run(args: ProduceBench, global: &GlobalArgs) -> Result<Report, CliError> {
    let (name, context) = global.context()?;
    let client = connect(&name, &context).await?;
    let record_bytes = args.measure.record_size;
    let topic = BenchTopic::open(client, &args.measure.topic, record_bytes).await?;
    let config = producer_config(&args.batch, &topic.info);
    let counters = Arc::new(LoadCounters::default());
    let mut workers = JoinSet::new();
    for seed in 0..args.clients {
        let client = connect(&name, &context).await?;
        let worker = Worker {
            client,
            config: config.clone(),
            topic: topic.name().to_owned(),
            record_bytes: args.measure.record_size,
            counters: Arc::clone(&counters),
        };
        workers.spawn(worker.run(u64::from(seed)));
    }
    let schedule = Schedule {
        warm_up: args.measure.warm_up,
        duration: args.measure.duration,
    };
    let measured = measure(counters, workers, schedule, &context).await;
    let setup = setup(&args, &topic, &config);
    topic.close().await?;
    Ok(Report::new(BenchKind::Produce, setup, measured?))
}

/// Producer configuration: the options given, and the client's defaults for the rest. The buffer
/// is little more than the data in flight, because time spent waiting in it counts as latency.
fn producer_config(args: &BatchArgs, topic: &TopicInfo) -> ProducerConfig {
    let defaults = ProducerConfig::default();
    let size = |size: Option<u64>| size.and_then(|size| usize::try_from(size).ok());
    let batch_max_bytes = size(args.batch_size).unwrap_or(defaults.batch_max_bytes);
    let in_flight_max_bytes = size(args.in_flight).unwrap_or(defaults.in_flight_max_bytes);
    let leaders: BTreeSet<_> = topic
        .partitions
        .iter()
        .map(|partition| partition.leader)
        .collect();
    let buffer = leaders.len() * in_flight_max_bytes + topic.partitions.len() * batch_max_bytes;
    ProducerConfig {
        compression: args.compression.into(),
        batch_max_bytes,
        in_flight_max_bytes,
        delivery_timeout: DELIVERY_MAX,
        buffer_max_bytes: buffer
            .min(defaults.buffer_max_bytes)
            .max(2 * batch_max_bytes),
        ..defaults
    }
}

fn setup(args: &ProduceBench, topic: &BenchTopic, config: &ProducerConfig) -> Setup {
    let measure = &args.measure;
    Setup {
        topic: topic.name().to_owned(),
        partitions: topic.info.partitions.len(),
        replication_factor: topic.replication_factor(),
        record_bytes: measure.record_size,
        clients: args.clients.into(),
        workers: args.clients.into(),
        batch_max_bytes: Some(config.batch_max_bytes),
        in_flight_max_bytes: Some(config.in_flight_max_bytes),
        compression: Some(args.batch.compression.name()),
        warm_up_seconds: measure.warm_up.as_secs_f64(),
        duration_seconds: measure.duration.as_secs_f64(),
    }
}

/// One client that writes as fast as its producer accepts records.
pub(crate) struct Worker {
    pub(crate) client: Client,
    pub(crate) config: ProducerConfig,
    pub(crate) topic: String,
    pub(crate) record_bytes: usize,
    pub(crate) counters: Arc<LoadCounters>,
}

impl Worker {
    /// Writes until the counters stop it, then waits for all acknowledgements.
    pub(crate) async fn run(self, seed: u64) -> Result<Latencies, ClientError> {
        let producer = self.client.producer(self.config).await?;
        let topic = producer.topic(&self.topic).await?;
        let pool = random_bytes(POOL_BYTES.max(2 * self.record_bytes), seed);
        let (sent, receive) = mpsc::channel(64);
        let (size, counters) = (self.record_bytes, Arc::clone(&self.counters));
        let acks = tokio::spawn(count_acks(receive, counters, size));
        let count = (SEND_BYTES / size).max(1);
        let mut at = 0;
        while self.counters.is_running() {
            let (started, timestamp_ms) = (Instant::now(), Some(now_ms()));
            let records = (0..count).map(|_| {
                at = (at + size) % (pool.len() - size);
                let value = Some(&pool[at..at + size]);
                RecordParts {
                    timestamp_ms,
                    value,
                    ..RecordParts::default()
                }
            });
            let deliveries = topic.send_many(records, None).await?;
            if sent.send((started, deliveries)).await.is_err() {
                break;
            }
        }
        drop(sent);
        // `count_acks` counts failures.
        drop(producer.flush().await);
        Ok(acks.await.unwrap_or_else(|_| new_latencies()))
    }
}

/// Counts acknowledgements and measures their latency.
async fn count_acks(
    mut receive: mpsc::Receiver<(Instant, Vec<BatchDelivery>)>,
    counters: Arc<LoadCounters>,
    record_bytes: usize,
) -> Latencies {
    let mut latencies = new_latencies();
    let mut pending = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            sent = receive.recv(), if is_open && pending.len() < DELIVERIES_MAX_COUNT => {
                let Some((started, deliveries)) = sent else {
                    is_open = false;
                    continue;
                };
                for delivery in deliveries {
                    let records = u64::from(delivery.record_count());
                    pending.push(async move { (started, records, delivery.await) });
                }
            }
            Some((started, records, outcome)) = pending.next() => {
                let outcome: Result<BatchMetadata, ClientError> = outcome;
                match outcome {
                    Ok(_) => {
                        counters.add_done(records, records * record_bytes as u64);
                        if counters.is_measuring() {
                            record_latency(&mut latencies, started.elapsed(), records);
                        }
                    }
                    Err(error) => counters.add_failed(records, error),
                }
            }
        }
    }
    latencies
}

/// Incompressible bytes (xorshift64*), reproducible from the seed.
fn random_bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_random_and_reproducible() {
        let bytes = random_bytes(100_003, 1);
        assert_eq!(bytes, random_bytes(100_003, 1));
        assert_ne!(bytes, random_bytes(100_003, 2));
        let mut seen = [0_u32; 256];
        for byte in &bytes {
            seen[usize::from(*byte)] += 1;
        }
        assert!(
            seen.iter().all(|count| (250..=550).contains(count)),
            "bytes are uniformly distributed"
        );
    }
}
