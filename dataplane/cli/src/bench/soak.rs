//! `lograft bench soak`: a steady load with a ledger, held against the log at the end.

mod ledger;
mod report;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use lograft_client::{
    Client, ClientError, Delivery, Offset, PartitionId, ProducerConfig, RecordParts, TopicProducer,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use self::ledger::Ledger;
use self::report::{PartitionReport, SoakReport};
use super::measure::{Latencies, latencies, note};
use super::report::Percentiles;
use super::setup::TargetArgs;
use super::topic::Target;
use crate::args::Global;
use crate::error::CliError;
use crate::output::{Paint, Status, print, print_json};
use crate::produce::now_ms;
use crate::connect;
use crate::units::{count, parse_duration, parse_size};

/// Most records of a run: each one's offset is remembered.
const RECORDS_MAX_COUNT: u64 = 50_000_000;
/// Acknowledgements waited for beside one another, per partition.
const UNACKED_MAX_COUNT: usize = 65_536;
/// Between two looks at the ledgers for the line on the terminal.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of a value that tell the run and the record.
const HEAD_BYTES: usize = 16;

/// Options of `lograft bench soak`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SoakBench {
    #[command(flatten)]
    target: TargetArgs,
    /// Records per second in each partition
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of one record's value, 16 or more
    #[arg(long, short = 's', value_name = "BYTES", default_value = "256", value_parser = parse_size)]
    record_size: u64,
    /// How long to write; Ctrl-C or SIGTERM ends it earlier, and what was written is checked
    #[arg(long, short, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    duration: Duration,
    /// How long a record is tried for before it counts as failed
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    delivery_timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) async fn run(args: SoakBench, global: &Global) -> Result<(), CliError> {
    let size = record_bytes(&args)?;
    let (name, context) = global.context()?;
    let client = connect::connect(&name, &context).await?;
    let target = Target::open(client.clone(), &args.target).await?;
    let outcome = soak(&client, &target, &args, size).await;
    let closed = target.close().await;
    let report = outcome?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.render(Paint::stdout()))?;
    }
    closed?;
    report.into_failure().map_or(Ok(()), Err)
}

/// A record's size, after a look at what all of them come to.
fn record_bytes(args: &SoakBench) -> Result<usize, CliError> {
    let refused = |option, text| Err(CliError::Option { option, text });
    let max = lograft_core::limits::RECORD_MAX_BYTES - 1024;
    let size = usize::try_from(args.record_size).unwrap_or(usize::MAX);
    if !(HEAD_BYTES..=max).contains(&size) {
        return refused("record-size", format!("{HEAD_BYTES} to {max} bytes"));
    }
    let each = u64::from(args.rate).saturating_mul(args.duration.as_secs() + 1);
    let all = each.saturating_mul(args.target.partitions.into());
    if all > RECORDS_MAX_COUNT {
        let text = format!(
            "{} records in all, of which {} can be remembered: a shorter time or a lower --rate",
            count(all),
            count(RECORDS_MAX_COUNT)
        );
        return refused("duration", text);
    }
    // What retention takes away could not be told from a loss.
    let kept = args.target.retention_bytes;
    let written = each.saturating_mul(args.record_size + 64);
    if args.target.topic.is_none() && written > kept / 2 {
        let text = format!("{written} bytes go into each partition: 2 times that or more");
        return refused("retention-bytes", text);
    }
    Ok(size)
}

/// What the partitions' loads share.
struct Load {
    producer: TopicProducer,
    run: u64,
    size: usize,
    period: Duration,
    stopped: AtomicBool,
    failure: Mutex<Option<ClientError>>,
}

async fn soak(
    client: &Client,
    target: &Target,
    args: &SoakBench,
    size: usize,
) -> Result<SoakReport, CliError> {
    let config = ProducerConfig {
        delivery_timeout: args.delivery_timeout,
        ..ProducerConfig::default()
    };
    let opened = async { client.producer(config).await?.topic(target.name()).await };
    let load = Arc::new(Load {
        producer: opened.await.map_err(CliError::call("opening a producer"))?,
        run: uuid::Uuid::new_v4().as_u64_pair().1,
        size,
        period: Duration::from_secs(1) / args.rate,
        stopped: AtomicBool::new(false),
        failure: Mutex::new(None),
    });
    let begun = Instant::now();
    let written: Vec<_> = ends(client, target)
        .await?
        .into_iter()
        .map(|(partition, start)| Written {
            partition,
            start,
            ledger: Arc::default(),
        })
        .collect();
    let workers: Vec<_> = written
        .iter()
        .map(|part| {
            tokio::spawn(write(
                Arc::clone(&load),
                part.partition,
                part.ledger.clone(),
            ))
        })
        .collect();
    let interrupted = wait(args.duration, &written).await;
    load.stopped.store(true, Ordering::Relaxed);
    let mut seen = latencies();
    for worker in join_all(workers).await {
        let latencies = worker.map_err(|source| CliError::Worker { source })?;
        let latencies = latencies.map_err(CliError::call("writing"))?;
        // All have the same bounds.
        let _ = seen.add(&latencies);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut partitions = Vec::new();
    for part in written {
        let read = check(client, target.name(), part, load.run).await;
        partitions.push(read.map_err(CliError::call("reading back"))?);
    }
    let longest = partitions.iter().map(|part| part.longest.seconds);
    Ok(SoakReport {
        bench: "soak",
        topic: target.name().to_owned(),
        replication_factor: target.replication_factor(),
        record_bytes: size,
        rate_per_partition: args.rate,
        seconds,
        interrupted,
        longest_pause_seconds: longest.fold(0.0, f64::max),
        latency_ms: Percentiles::of(&seen),
        failure: locked(&load.failure).take(),
        partitions,
    })
}

/// What goes into one partition.
struct Written {
    partition: PartitionId,
    /// Where it ended before.
    start: Offset,
    ledger: Arc<Mutex<Ledger>>,
}

/// Reads a partition back.
async fn check(
    client: &Client,
    topic: &str,
    part: Written,
    run: u64,
) -> Result<PartitionReport, ClientError> {
    let ledger = locked(&part.ledger).clone();
    let acked = ledger.offsets();
    let verdict = verify::verify(client, topic, (part.partition, part.start), run, acked).await?;
    Ok(PartitionReport {
        partition: part.partition.get(),
        sent: acked.len() as u64,
        acked: ledger.acked(),
        failed: ledger.failed(),
        longest: ledger.longest(),
        verdict,
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where each partition ends before the run.
async fn ends(client: &Client, target: &Target) -> Result<Vec<(PartitionId, Offset)>, CliError> {
    let found = client.list_offsets(target.name(), &[], None).await;
    let mut found: Vec<_> = found
        .map_err(CliError::call("asking where the partitions end"))?
        .into_iter()
        .map(|bounds| (bounds.partition, bounds.high_watermark))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Until the time is over or somebody ends it; whether somebody did.
async fn wait(duration: Duration, written: &[Written]) -> bool {
    let end = Instant::now() + duration;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut terminate = signal(SignalKind::terminate()).ok();
    let mut terminated = std::pin::pin!(async {
        match &mut terminate {
            Some(terminate) => drop(terminate.recv().await),
            None => std::future::pending().await,
        }
    });
    let mut status = Status::new();
    loop {
        tokio::select! {
            () = sleep_until(end) => return false,
            _ = &mut interrupt => return true,
            () = &mut terminated => return true,
            () = sleep(STATUS_INTERVAL) => {}
        }
        let (mut acked, mut longest) = (0, 0.0_f64);
        for part in written {
            let ledger = locked(&part.ledger);
            acked += ledger.acked();
            longest = longest.max(ledger.longest().seconds);
        }
        let left = end.saturating_duration_since(Instant::now()).as_secs();
        let acked = count(acked);
        status.show(&format!(
            "{acked} acknowledged, longest pause {longest:.2} s, {left} s to go"
        ));
    }
}

/// Writes to one partition at the steady rate until told to stop.
async fn write(
    load: Arc<Load>,
    partition: PartitionId,
    ledger: Arc<Mutex<Ledger>>,
) -> Result<Latencies, ClientError> {
    let (handed, receive) = mpsc::channel(UNACKED_MAX_COUNT);
    let acks = tokio::spawn(take_acks(Arc::clone(&load), receive, Arc::clone(&ledger)));
    let mut ticks = interval(load.period);
    // A tick that is late is made up for: the rate holds.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut value = vec![0; load.size];
    value[..8].copy_from_slice(&load.run.to_le_bytes());
    let mut outcome = Ok(());
    while !load.stopped.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = locked(&ledger).send();
        value[8..HEAD_BYTES].copy_from_slice(&number.to_le_bytes());
        let record = RecordParts {
            timestamp_ms: now_ms(),
            value: Some(&value),
            ..RecordParts::default()
        };
        let begun = Instant::now();
        match load.producer.send(record, Some(partition)).await {
            Ok(delivery) => {
                if handed.send((number, begun, delivery)).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    drop(handed);
    let seen = acks.await.unwrap_or_else(|_| latencies());
    outcome.map(|()| seen)
}

async fn take_acks(
    load: Arc<Load>,
    mut receive: mpsc::Receiver<(u64, Instant, Delivery)>,
    ledger: Arc<Mutex<Ledger>>,
) -> Latencies {
    let mut seen = latencies();
    let mut pending = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            handed = receive.recv(), if is_open && pending.len() < UNACKED_MAX_COUNT => match handed {
                Some((number, begun, delivery)) => {
                    pending.push(async move { (number, begun, delivery.await) });
                }
                None => is_open = false,
            },
            Some((number, begun, outcome)) = pending.next() => {
                let mut ledger = locked(&ledger);
                match outcome {
                    Ok(stored) => {
                        ledger.ack(number, stored.offset, Instant::now());
                        note(&mut seen, begun.elapsed(), 1);
                    }
                    Err(why) => {
                        ledger.fail();
                        *locked(&load.failure) = Some(why);
                    }
                }
            }
        }
    }
    seen
}
