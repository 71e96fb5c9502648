//! `lograft bench latency`: each producer writes one record and waits for its acknowledgement.

use std::sync::Arc;

use clap::Args;
use lograft_client::{Client, ClientError, ProducerConfig, RecordParts, TopicProducer};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::measure::{Gauge, Latencies, Times, latencies, measure, note};
use super::report::{Kind, Report};
use super::setup::{Setup, Shared};
use super::topic::Target;
use crate::args::Global;
use crate::error::CliError;
use crate::produce::now_ms;
use crate::connect;

/// Options of `lograft bench latency`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LatencyBench {
    #[command(flatten)]
    shared: Shared,
    /// Producers, each with streams of its own and one record under way
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    producers: u16,
    /// Clients that the producers are spread over, each with connections of its own
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// One producer for each client, which packs what its records' senders hand over together
    #[arg(long)]
    pack: bool,
}

impl LatencyBench {
    pub(crate) fn json(&self) -> bool {
        self.shared.json
    }
}

/// Runs it.
pub(crate) async fn run(args: LatencyBench, global: &Global) -> Result<Report, CliError> {
    let (name, context) = global.context()?;
    let target = Target::open(connect::connect(&name, &context).await?, &args.shared.target).await?;
    let gauge = Arc::new(Gauge::default());
    let mut workers = JoinSet::new();
    let opening = || CliError::call("opening a producer");
    let mut clients = Vec::new();
    for nth in 0..args.producers.min(args.clients) {
        let client = connect::connect(&name, &context).await?;
        let shared = if args.pack {
            Some(open(&client, target.name()).await.map_err(opening())?)
        } else {
            None
        };
        for _ in (nth..args.producers).step_by(args.clients.into()) {
            let producer = match &shared {
                Some(shared) => TopicProducer::clone(shared),
                None => open(&client, target.name()).await.map_err(opening())?,
            };
            let gauge = Arc::clone(&gauge);
            workers.spawn(one_by_one(producer, args.shared.record_size, gauge));
        }
        clients.push(client);
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
        clients: clients.len(),
        workers: args.producers.into(),
        batch_max_bytes: None,
        in_flight_max_bytes: None,
        compression: None,
        warm_up_seconds: args.shared.warm_up.as_secs_f64(),
        duration_seconds: args.shared.duration.as_secs_f64(),
    };
    target.close().await?;
    Ok(Report::new(Kind::Latency, setup, measured?))
}

async fn open(client: &Client, topic: &str) -> Result<TopicProducer, ClientError> {
    client
        .producer(ProducerConfig::default())
        .await?
        .topic(topic)
        .await
}

/// One record, its acknowledgement, the next record.
async fn one_by_one(
    producer: TopicProducer,
    record_bytes: usize,
    gauge: Arc<Gauge>,
) -> Result<Latencies, ClientError> {
    let mut seen = latencies();
    let value = vec![b'x'; record_bytes];
    while gauge.goes_on() {
        let begun = Instant::now();
        let record = RecordParts {
            timestamp_ms: now_ms(),
            value: Some(&value),
            ..RecordParts::default()
        };
        match producer.send(record, None).await?.await {
            Ok(_) => {
                gauge.done(1, record_bytes as u64);
                if gauge.is_measuring() {
                    note(&mut seen, begun.elapsed(), 1);
                }
            }
            Err(why) => gauge.failed(1, why),
        }
    }
    Ok(seen)
}
