//! `lograft bench produce`: packed batches, as fast as they are acknowledged.

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

use super::measure::{Gauge, Latencies, Times, latencies, measure, note};
use super::report::{Kind as BenchKind, Report};
use super::setup::{Packing, Setup, Shared};
use super::topic::Target;
use crate::args::Global;
use crate::error::CliError;
use crate::produce::{Kind, now_ms};
use crate::connect;

/// Handed to the producer at once, bytes.
const HANDED_BYTES: usize = 128 * 1024;
/// Deliveries waited for beside one another.
const DELIVERIES_MAX_COUNT: usize = 4096;
/// How long a batch is tried for: a benchmark is to say soon that the cluster refuses writes, and a
/// failover takes a few seconds.
const DELIVERY_MAX: Duration = Duration::from_secs(15);
/// Random bytes that values are cut out of.
const POOL_BYTES: usize = 4 * 1024 * 1024;

/// Options of `lograft bench produce`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProduceBench {
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    packing: Packing,
    /// Clients, each with connections and a producer of its own
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
}

impl ProduceBench {
    pub(crate) fn json(&self) -> bool {
        self.shared.json
    }
}

/// Runs it.
pub(crate) async fn run(args: ProduceBench, global: &Global) -> Result<Report, CliError> {
    let (name, context) = global.context()?;
    let target = Target::open(connect::connect(&name, &context).await?, &args.shared.target).await?;
    let config = producer_config(&args.packing, &target.info);
    let gauge = Arc::new(Gauge::default());
    let mut workers = JoinSet::new();
    for seed in 0..args.clients {
        let client = connect::connect(&name, &context).await?;
        let worker = Worker {
            client,
            config: config.clone(),
            topic: target.name().to_owned(),
            record_bytes: args.shared.record_size,
            gauge: Arc::clone(&gauge),
        };
        workers.spawn(worker.run(u64::from(seed)));
    }
    let times = Times {
        warm_up: args.shared.warm_up,
        duration: args.shared.duration,
    };
    let measured = measure(gauge, workers, times, &context).await;
    let setup = setup(&args, &target, &config);
    target.close().await?;
    Ok(Report::new(BenchKind::Produce, setup, measured?))
}

/// The client's defaults, as far as nothing else is asked for. The buffer holds little more than
/// what is in flight: what waits longer would only be counted as latency.
fn producer_config(packing: &Packing, topic: &TopicInfo) -> ProducerConfig {
    let defaults = ProducerConfig::default();
    let size = |size: Option<u64>| size.and_then(|size| usize::try_from(size).ok());
    let batch_max_bytes = size(packing.batch_size).unwrap_or(defaults.batch_max_bytes);
    let in_flight_max_bytes = size(packing.in_flight).unwrap_or(defaults.in_flight_max_bytes);
    let leaders: BTreeSet<_> = topic
        .partitions
        .iter()
        .map(|partition| partition.leader)
        .collect();
    let buffer = leaders.len() * in_flight_max_bytes + topic.partitions.len() * batch_max_bytes;
    ProducerConfig {
        compression: packing.compression.into(),
        batch_max_bytes,
        in_flight_max_bytes,
        delivery_timeout: DELIVERY_MAX,
        buffer_max_bytes: buffer
            .min(defaults.buffer_max_bytes)
            .max(2 * batch_max_bytes),
        ..defaults
    }
}

fn setup(args: &ProduceBench, target: &Target, config: &ProducerConfig) -> Setup {
    let shared = &args.shared;
    Setup {
        topic: target.name().to_owned(),
        partitions: target.info.partitions.len(),
        replication_factor: target.replication_factor(),
        record_bytes: shared.record_size,
        clients: args.clients.into(),
        workers: args.clients.into(),
        batch_max_bytes: Some(config.batch_max_bytes),
        in_flight_max_bytes: Some(config.in_flight_max_bytes),
        compression: Some(match args.packing.compression {
            Kind::None => "none",
            Kind::Lz4 => "lz4",
            Kind::Zstd => "zstd",
        }),
        warm_up_seconds: shared.warm_up.as_secs_f64(),
        duration_seconds: shared.duration.as_secs_f64(),
    }
}

/// One client that writes as fast as it may.
pub(crate) struct Worker {
    pub(crate) client: Client,
    pub(crate) config: ProducerConfig,
    pub(crate) topic: String,
    pub(crate) record_bytes: usize,
    pub(crate) gauge: Arc<Gauge>,
}

impl Worker {
    /// Until the gauge stops it.
    pub(crate) async fn run(self, seed: u64) -> Result<Latencies, ClientError> {
        let producer = self.client.producer(self.config).await?;
        let topic = producer.topic(&self.topic).await?;
        let pool = random_bytes(POOL_BYTES.max(2 * self.record_bytes), seed);
        let (handed, receive) = mpsc::channel(64);
        let (size, gauge) = (self.record_bytes, Arc::clone(&self.gauge));
        let acks = tokio::spawn(take_acks(receive, gauge, size));
        let count = (HANDED_BYTES / size).max(1);
        let mut at = 0;
        while self.gauge.goes_on() {
            let (begun, timestamp_ms) = (Instant::now(), now_ms());
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
            if handed.send((begun, deliveries)).await.is_err() {
                break;
            }
        }
        drop(handed);
        // Failures are counted where the acknowledgements are taken.
        drop(producer.flush().await);
        Ok(acks.await.unwrap_or_else(|_| latencies()))
    }
}

/// Counts and times acknowledgements.
async fn take_acks(
    mut receive: mpsc::Receiver<(Instant, Vec<BatchDelivery>)>,
    gauge: Arc<Gauge>,
    record_bytes: usize,
) -> Latencies {
    let mut seen = latencies();
    let mut pending = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            handed = receive.recv(), if is_open && pending.len() < DELIVERIES_MAX_COUNT => {
                let Some((begun, deliveries)) = handed else {
                    is_open = false;
                    continue;
                };
                for delivery in deliveries {
                    let records = u64::from(delivery.record_count());
                    pending.push(async move { (begun, records, delivery.await) });
                }
            }
            Some((begun, records, outcome)) = pending.next() => {
                let outcome: Result<BatchMetadata, ClientError> = outcome;
                match outcome {
                    Ok(_) => {
                        gauge.done(records, records * record_bytes as u64);
                        if gauge.is_measuring() {
                            note(&mut seen, begun.elapsed(), records);
                        }
                    }
                    Err(why) => gauge.failed(records, why),
                }
            }
        }
    }
    seen
}

/// Bytes that do not compress (xorshift64*), the same for the same seed.
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
    fn values_do_not_compress_and_come_again() {
        let bytes = random_bytes(100_003, 1);
        assert_eq!(bytes, random_bytes(100_003, 1));
        assert_ne!(bytes, random_bytes(100_003, 2));
        let mut seen = [0_u32; 256];
        for byte in &bytes {
            seen[usize::from(*byte)] += 1;
        }
        assert!(
            seen.iter().all(|count| (250..=550).contains(count)),
            "bytes are spread evenly"
        );
    }
}
