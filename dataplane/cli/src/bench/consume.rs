//! `lograft bench consume`: reads a topic from start to end repeatedly.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use lograft_client::{Client, ClientError, ConsumerConfig, ProducerConfig, ReadReplica, StartAt};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::error::BenchError;
use super::measure::{Latencies, LoadCounters, Schedule, measure, new_latencies};
use super::produce::Worker;
use super::report::{BenchKind, Report};
use super::setup::{MeasureArgs, Setup};
use super::topic::BenchTopic;
use crate::call_error::cannot;
use crate::connect::{connect, connect_in};
use crate::error::CliError;
use crate::global::GlobalArgs;
use crate::output::StatusLine;
use crate::replica::ReplicaArgs;
use crate::units::{parse_size, size};

/// Interval between two checks of how much has been written.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Options of `lograft bench consume`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConsumeBench {
    #[command(flatten)]
    measure: MeasureArgs,
    /// Amount of data to write to the new topic before reading
    #[arg(long, value_name = "BYTES", default_value = "512MiB", value_parser = parse_size)]
    fill: u64,
    /// Number of clients, each reading all partitions over its own connections
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    #[command(flatten)]
    replica: ReplicaArgs,
}

impl ConsumeBench {
    pub(crate) fn json(&self) -> bool {
        self.measure.json
    }
}

/// Runs the benchmark.
pub(crate) async fn run(args: ConsumeBench, global: &GlobalArgs) -> Result<Report, CliError> {
    let (name, context) = global.context()?;
    let client = connect(&name, &context).await?;
    let record_bytes = args.measure.record_size;
    let topic = BenchTopic::open(client.clone(), &args.measure.topic, record_bytes).await?;
    if topic.is_new() {
        fill(client.clone(), &args, &topic).await?;
    }
    let offsets = client
        .list_offsets(topic.name(), &[], None)
        .await
        .map_err(cannot("list offsets"))?;
    if offsets
        .iter()
        .all(|bounds| bounds.high_watermark <= bounds.log_start_offset)
    {
        return Err(BenchError::EmptyTopic {
            topic: topic.name().into(),
        }
        .into());
    }
    let counters = Arc::new(LoadCounters::default());
    let mut workers = JoinSet::new();
    for _ in 0..args.clients {
        let client = connect_in(&name, &context, args.replica.zone()).await?;
        workers.spawn(read_repeatedly(
            (client, args.replica.replica()),
            topic.name().to_owned(),
            Arc::clone(&counters),
        ));
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
        clients: args.clients.into(),
        workers: args.clients.into(),
        batch_max_bytes: None,
        in_flight_max_bytes: None,
        compression: None,
        warm_up_seconds: args.measure.warm_up.as_secs_f64(),
        duration_seconds: args.measure.duration.as_secs_f64(),
    };
    topic.close().await?;
    Ok(Report::new(BenchKind::Consume, setup, measured?))
}

/// Writes `--fill` bytes to the topic.
async fn fill(client: Client, args: &ConsumeBench, topic: &BenchTopic) -> Result<(), CliError> {
    let counters = Arc::new(LoadCounters::default());
    let worker = Worker {
        client,
        config: ProducerConfig::default(),
        topic: topic.name().to_owned(),
        record_bytes: args.measure.record_size,
        counters: Arc::clone(&counters),
    };
    let writing = tokio::spawn(worker.run(0));
    let mut status = StatusLine::new();
    while counters.bytes() < args.fill && !writing.is_finished() {
        status.show(&format!(
            "writing {} of {}",
            size(counters.bytes()),
            size(args.fill)
        ));
        sleep(POLL_INTERVAL).await;
    }
    counters.stop();
    writing
        .await
        .map_err(|source| BenchError::Task { source })?
        .map_err(cannot("write the records to read"))?;
    Ok(())
}

/// Reads the topic from start to end until the counters stop it.
async fn read_repeatedly(
    (client, replica): (Client, ReadReplica),
    topic: String,
    counters: Arc<LoadCounters>,
) -> Result<Latencies, ClientError> {
    while counters.is_running() {
        let config = ConsumerConfig {
            follow: false,
            replica,
            ..ConsumerConfig::new(&topic, StartAt::Earliest)
        };
        let mut consumer = client.consumer(config).await?;
        while let Some(batch) = consumer.next_batch().await? {
            let (mut records, mut bytes) = (0, 0);
            for record in batch.iter() {
                let (_, record) = record?;
                records += 1;
                bytes += record.value.map_or(0, <[u8]>::len) as u64;
            }
            counters.add_done(records, bytes);
            if !counters.is_running() {
                break;
            }
        }
    }
    Ok(new_latencies())
}
