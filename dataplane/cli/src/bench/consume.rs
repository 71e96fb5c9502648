//! `lograft bench consume`: read a topic from its start to its end, over and over.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use lograft_client::{Client, ClientError, ConsumerConfig, ProducerConfig, StartAt};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::measure::{Gauge, Latencies, Times, latencies, measure};
use super::produce::Worker;
use super::report::{Kind, Report};
use super::setup::{Setup, Shared};
use super::topic::Target;
use crate::args::Global;
use crate::error::CliError;
use crate::output::Status;
use crate::connect;
use crate::units::{parse_size, size};

/// Between two looks at how much has been written.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Options of `lograft bench consume`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConsumeBench {
    #[command(flatten)]
    shared: Shared,
    /// How much to write to a new topic before reading it
    #[arg(long, value_name = "BYTES", default_value = "512MiB", value_parser = parse_size)]
    fill: u64,
    /// Clients, each reading all partitions over connections of its own
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
}

impl ConsumeBench {
    pub(crate) fn json(&self) -> bool {
        self.shared.json
    }
}

/// Runs it.
pub(crate) async fn run(args: ConsumeBench, global: &Global) -> Result<Report, CliError> {
    let (name, context) = global.context()?;
    let client = connect::connect(&name, &context).await?;
    let target = Target::open(client.clone(), &args.shared.target).await?;
    if target.is_new() {
        fill(client.clone(), &args, &target).await?;
    }
    let offsets = client.list_offsets(target.name(), &[], None).await;
    let offsets = offsets.map_err(CliError::call("asking where the topic ends"))?;
    if offsets
        .iter()
        .all(|bounds| bounds.high_watermark <= bounds.log_start_offset)
    {
        return Err(CliError::NothingToRead {
            topic: target.name().into(),
        });
    }
    let gauge = Arc::new(Gauge::default());
    let mut workers = JoinSet::new();
    for _ in 0..args.clients {
        let client = connect::connect(&name, &context).await?;
        workers.spawn(read_on(
            client,
            target.name().to_owned(),
            Arc::clone(&gauge),
        ));
    }
    let times = Times {
        warm_up: args.shared.warm_up,
        duration: args.shared.duration,
    };
    let measured = measure(gauge, workers, times, &context).await;
    let setup = Setup {
        topic: target.name().to_owned(),
        partitions: target.info.partitions.len(),
        replication_factor: target.replication_factor(),
        record_bytes: args.shared.record_size,
        clients: args.clients.into(),
        workers: args.clients.into(),
        batch_max_bytes: None,
        in_flight_max_bytes: None,
        compression: None,
        warm_up_seconds: args.shared.warm_up.as_secs_f64(),
        duration_seconds: args.shared.duration.as_secs_f64(),
    };
    target.close().await?;
    Ok(Report::new(Kind::Consume, setup, measured?))
}

/// Writes what is to be read.
async fn fill(client: Client, args: &ConsumeBench, target: &Target) -> Result<(), CliError> {
    let gauge = Arc::new(Gauge::default());
    let worker = Worker {
        client,
        config: ProducerConfig::default(),
        topic: target.name().to_owned(),
        record_bytes: args.shared.record_size,
        gauge: Arc::clone(&gauge),
    };
    let writing = tokio::spawn(worker.run(0));
    let mut status = Status::new();
    while gauge.bytes() < args.fill && !writing.is_finished() {
        status.show(&format!(
            "writing {} of {}",
            size(gauge.bytes()),
            size(args.fill)
        ));
        sleep(LOOK_EVERY).await;
    }
    gauge.stop();
    let written = writing
        .await
        .map_err(|source| CliError::Worker { source })?;
    written
        .map(drop)
        .map_err(CliError::call("writing what is to be read"))
}

/// From the start to the end, again and again.
async fn read_on(
    client: Client,
    topic: String,
    gauge: Arc<Gauge>,
) -> Result<Latencies, ClientError> {
    while gauge.goes_on() {
        let config = ConsumerConfig {
            follow: false,
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
            gauge.done(records, bytes);
            if !gauge.goes_on() {
                break;
            }
        }
    }
    Ok(latencies())
}
