//! `lograft bench latency`: each producer writes one record at a time and waits for its
//! acknowledgement.

use std::sync::Arc;

use clap::Args;
use lograft_client::{Client, ClientError, ProducerConfig, RecordParts, TopicProducer};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::measure::{Latencies, LoadCounters, Schedule, measure, new_latencies, record_latency};
use super::report::{BenchKind, Report};
use super::setup::{MeasureArgs, Setup};
use super::topic::BenchTopic;
use crate::call_error::cannot;
use crate::clock::now_ms;
use crate::connect::connect;
use crate::error::CliError;
use crate::global::GlobalArgs;

/// Options of `lograft bench latency`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LatencyBench {
    #[command(flatten)]
    measure: MeasureArgs,
    /// Number of producers, each with its own streams and one record in flight
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    producers: u16,
    /// Number of clients to spread the producers over, each with its own connections
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// Share one producer per client, so that concurrent records are batched together
    #[arg(long)]
    pack: bool,
}

impl LatencyBench {
    pub(crate) fn json(&self) -> bool {
        self.measure.json
    }
}

/// Runs the benchmark.
pub(crate) async fn run(args: LatencyBench, global: &GlobalArgs) -> Result<Report, CliError> {
    let (name, context) = global.context()?;
    let client = connect(&name, &context).await?;
    let record_bytes = args.measure.record_size;
    let topic = BenchTopic::open(client, &args.measure.topic, record_bytes).await?;
    let counters = Arc::new(LoadCounters::default());
    let mut workers = JoinSet::new();
    let cannot_open = || cannot("open a producer");
    let mut clients = Vec::new();
    for nth in 0..args.producers.min(args.clients) {
        let client = connect(&name, &context).await?;
        let shared = if args.pack {
            Some(open(&client, topic.name()).await.map_err(cannot_open())?)
        } else {
            None
        };
        for _ in (nth..args.producers).step_by(args.clients.into()) {
            let producer = match &shared {
                Some(shared) => TopicProducer::clone(shared),
                None => open(&client, topic.name()).await.map_err(cannot_open())?,
            };
            let counters = Arc::clone(&counters);
            workers.spawn(one_by_one(producer, args.measure.record_size, counters));
        }
        clients.push(client);
    }
    let schedule = Schedule {
        warm_up: args.measure.warm_up,
        duration: args.measure.duration,
    };
    let measured = measure(counters, workers, schedule, &context).await;
    let setup = Setup {
        topic: topic.name().to_owned(),
        partitions: topic.info.partitions.len(),
        replication_factor: topic.replication_factor(),
        record_bytes: args.measure.record_size,
        clients: clients.len(),
        workers: args.producers.into(),
        batch_max_bytes: None,
        in_flight_max_bytes: None,
        compression: None,
        warm_up_seconds: args.measure.warm_up.as_secs_f64(),
        duration_seconds: args.measure.duration.as_secs_f64(),
    };
    topic.close().await?;
    Ok(Report::new(BenchKind::Latency, setup, measured?))
}

async fn open(client: &Client, topic: &str) -> Result<TopicProducer, ClientError> {
    client
        .producer(ProducerConfig::default())
        .await?
        .topic(topic)
        .await
}

/// Sends a record, waits for its acknowledgement, then sends the next one.
async fn one_by_one(
    producer: TopicProducer,
    record_bytes: usize,
    counters: Arc<LoadCounters>,
) -> Result<Latencies, ClientError> {
    let mut latencies = new_latencies();
    let value = vec![b'x'; record_bytes];
    while counters.is_running() {
        let started = Instant::now();
        let record = RecordParts {
            timestamp_ms: Some(now_ms()),
            value: Some(&value),
            ..RecordParts::default()
        };
        match producer.send(record, None).await?.await {
            Ok(_) => {
                counters.add_done(1, record_bytes as u64);
                if counters.is_measuring() {
                    record_latency(&mut latencies, started.elapsed(), 1);
                }
            }
            Err(error) => counters.add_failed(1, error),
        }
    }
    Ok(latencies)
}
