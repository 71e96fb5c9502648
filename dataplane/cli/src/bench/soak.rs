//! `lograft bench soak`: writes at a steady rate, keeps a ledger of the acknowledgements and
//! compares the log with it at the end.

mod group;
mod ledger;
mod reader;
mod report;
mod value;
mod verify;
mod writer;

use std::io::{self, Write as _};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use lograft_client::{Client, ClientError, Offset, PartitionId, ProducerConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::error::BenchError;
use super::measure::new_latencies;
use super::report::Percentiles;
use super::setup::{RECORD_SIZE_MAX_BYTES, TopicArgs};
use super::topic::BenchTopic;
use crate::call_error::cannot;
use crate::connect::connect_in;
use crate::error::CliError;
use crate::global::GlobalArgs;
use crate::output::{Paint, StatusLine, print, print_json};
use crate::replica::ReplicaArgs;
use crate::units::{count, elapsed, parse_duration, parse_size};

use group::{GroupReport, MEMBERS_MAX_COUNT, Members};
use ledger::SharedLedger;
use reader::{Ends, FollowReport, Follower};
use report::{PartitionReport, SoakReport};
use value::HEADER_BYTES;
use verify::{WrittenRange, verify};
use writer::{SoakLoad, write_partition};

/// Maximum number of records of a run, because the ledger keeps the offset of each in memory.
const RECORDS_MAX_COUNT: u64 = 50_000_000;
/// Interval between two updates of the status line.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// Encoded size of a record without its value, rounded up, to estimate the written bytes.
const RECORD_OVERHEAD_BYTES: u64 = 64;

/// Options of `lograft bench soak`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SoakBench {
    #[command(flatten)]
    topic: TopicArgs,
    /// Records per second per partition
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Size of each record value, at least 16 bytes
    #[arg(long, short = 's', value_name = "BYTES", default_value = "256", value_parser = parse_size)]
    record_size: u64,
    /// Time to write; Ctrl-C or SIGTERM ends it early and still verifies the records
    #[arg(long, short, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    duration: Duration,
    /// Time to retry a record before it counts as failed
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    delivery_timeout: Duration,
    /// Follow the topic while it is written, and compare what is read
    #[arg(long)]
    follow: bool,
    /// Process the topic with a consumer group of N members while it is written, and check that they
    /// process and commit everything
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MEMBERS_MAX_COUNT.into()))]
    members: Option<u32>,
    #[command(flatten)]
    replica: ReplicaArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark.
pub(crate) async fn run(args: SoakBench, global: &GlobalArgs) -> Result<(), CliError> {
    let size = check_args(&args)?;
    let (name, context) = global.context()?;
    let client = connect_in(&name, &context, args.replica.zone()).await?;
    let topic = BenchTopic::open(client.clone(), &args.topic, size).await?;
    let outcome = soak(&client, &topic, &args, size).await;
    let closed = topic.close().await;
    let report = outcome?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.render(Paint::stdout()))?;
    }
    closed?;
    match report.into_failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Checks the options against each other, and returns the record size.
fn check_args(args: &SoakBench) -> Result<usize, BenchError> {
    let invalid = |option, text| Err(BenchError::Option { option, text });
    let size = usize::try_from(args.record_size).unwrap_or(usize::MAX);
    if !(HEADER_BYTES..=RECORD_SIZE_MAX_BYTES).contains(&size) {
        let text = format!(
            "must be between {HEADER_BYTES} and {RECORD_SIZE_MAX_BYTES} bytes, got {}",
            args.record_size
        );
        return invalid("record-size", text);
    }
    let per_second = u64::from(args.rate).saturating_mul(args.topic.partitions.into());
    let seconds_max = (RECORDS_MAX_COUNT / per_second.max(1)).saturating_sub(1);
    if args.duration.as_secs() > seconds_max {
        let text = format!(
            "must be at most {seconds_max} s for {} records/s, because at most {} records can be \
             verified, got {}",
            count(per_second),
            count(RECORDS_MAX_COUNT),
            elapsed(args.duration)
        );
        return invalid("duration", text);
    }
    // Records deleted by retention would be reported as lost.
    let per_partition = u64::from(args.rate).saturating_mul(args.duration.as_secs() + 1);
    let needed = per_partition
        .saturating_mul(args.record_size + RECORD_OVERHEAD_BYTES)
        .saturating_mul(2);
    let retention = args.topic.retention_bytes;
    if args.topic.topic.is_none() && retention < needed {
        let text = format!(
            "must be at least {needed}, twice the bytes written to a partition, got {retention}"
        );
        return invalid("retention-bytes", text);
    }
    Ok(size)
}

/// Writes for the duration, then verifies what was written.
async fn soak(
    client: &Client,
    topic: &BenchTopic,
    args: &SoakBench,
    size: usize,
) -> Result<SoakReport, CliError> {
    let load = open_load(client, topic, args, size).await?;
    let started = Instant::now();
    let written: Vec<_> = partition_ends(client, topic)
        .await?
        .into_iter()
        .map(|(partition, start)| PartitionLoad {
            partition,
            start,
            ledger: SharedLedger::default(),
        })
        .collect();
    // For programs that disturb the cluster meanwhile: not before it is written to. A closed standard
    // error is no reason to stop.
    let line = format!(
        "writing to {} partitions of {}",
        written.len(),
        topic.name()
    );
    drop(writeln!(io::stderr(), "{}", Paint::stderr().faint(line)));
    let (ends, ended) = watch::channel(None);
    let following = follow(
        client,
        topic.name(),
        &written,
        (args, load.run),
        ended.clone(),
    );
    let processing = process(client, topic.name(), &written, (args, load.run), ended);
    let writer = |part: &PartitionLoad| {
        let (load, ledger) = (Arc::clone(&load), part.ledger.clone());
        tokio::spawn(write_partition(load, part.partition, ledger))
    };
    let writers: Vec<_> = written.iter().map(writer).collect();
    let interrupted = wait_for_end(args.duration, &written).await;
    load.stop();
    let mut latencies = new_latencies();
    for ended in join_all(writers).await {
        let of_partition = ended
            .map_err(|source| BenchError::Task { source })?
            .map_err(cannot("write records"))?;
        // Fails only for different bounds; all histograms have the same.
        let _ = latencies.add(&of_partition);
    }
    let seconds = started.elapsed().as_secs_f64();
    if following.is_some() || processing.is_some() {
        let known = partition_ends(client, topic).await?;
        ends.send_replace(Some(known.into_iter().collect()));
    }
    let followed = finish(following, "follow the topic").await?;
    let group = finish(processing, "process the topic").await?;
    let mut partitions = Vec::new();
    for part in written {
        let report = verify_partition(client, topic.name(), part, load.run).await;
        partitions.push(report.map_err(cannot("read the records back"))?);
    }
    let pauses = partitions.iter().map(|part| part.longest_pause.seconds);
    Ok(SoakReport {
        bench: "soak",
        topic: topic.name().to_owned(),
        replication_factor: topic.replication_factor(),
        record_bytes: size,
        rate_per_partition: args.rate,
        seconds,
        interrupted,
        longest_pause_seconds: pauses.fold(0.0, f64::max),
        latency_ms: Percentiles::of(&latencies),
        failure: load.take_failure(),
        followed,
        group,
        partitions,
    })
}

/// A reader in progress.
type Reading<T> = JoinHandle<Result<T, ClientError>>;

/// Starts to follow the topic, if asked to. It ends at the ends that are sent.
fn follow(
    client: &Client,
    topic: &str,
    written: &[PartitionLoad],
    (args, run): (&SoakBench, u64),
    ended: watch::Receiver<Option<Ends>>,
) -> Option<Reading<FollowReport>> {
    let follower = args.follow.then(|| Follower {
        client: client.clone(),
        topic: topic.to_owned(),
        replica: args.replica.replica(),
        run,
        starts: starts(written),
    });
    follower.map(|follower| tokio::spawn(follower.run(ended)))
}

/// Starts the members of a group, if asked to. They end at the ends that are sent.
fn process(
    client: &Client,
    topic: &str,
    written: &[PartitionLoad],
    (args, run): (&SoakBench, u64),
    ended: watch::Receiver<Option<Ends>>,
) -> Option<Reading<GroupReport>> {
    let members = args.members.map(|count| Members {
        client: client.clone(),
        topic: topic.to_owned(),
        count,
        run,
        starts: starts(written),
    });
    members.map(|members| tokio::spawn(members.run(ended)))
}

/// Where each partition starts.
fn starts(written: &[PartitionLoad]) -> Ends {
    let starts = written.iter().map(|part| (part.partition, part.start));
    starts.collect()
}

/// Waits for a reader, if there is one.
async fn finish<T>(reading: Option<Reading<T>>, what: &'static str) -> Result<Option<T>, CliError> {
    let Some(reading) = reading else {
        return Ok(None);
    };
    let read = reading
        .await
        .map_err(|source| BenchError::Task { source })?;
    Ok(Some(read.map_err(cannot(what))?))
}

async fn open_load(
    client: &Client,
    topic: &BenchTopic,
    args: &SoakBench,
    size: usize,
) -> Result<Arc<SoakLoad>, CliError> {
    let config = ProducerConfig {
        delivery_timeout: args.delivery_timeout,
        ..ProducerConfig::default()
    };
    let opened = async { client.producer(config).await?.topic(topic.name()).await };
    Ok(Arc::new(SoakLoad {
        producer: opened.await.map_err(cannot("open a producer"))?,
        run: uuid::Uuid::new_v4().as_u64_pair().1,
        size,
        period: Duration::from_secs(1) / args.rate,
        stopped: AtomicBool::new(false),
        failure: Mutex::new(None),
    }))
}

/// The load of one partition.
struct PartitionLoad {
    partition: PartitionId,
    /// End of the partition before the run.
    start: Offset,
    ledger: SharedLedger,
}

/// Reads a partition back and compares it with its ledger.
async fn verify_partition(
    client: &Client,
    topic: &str,
    part: PartitionLoad,
    run: u64,
) -> Result<PartitionReport, ClientError> {
    let ledger = part.ledger.lock().clone();
    let acked = ledger.offsets();
    let range = WrittenRange {
        topic,
        partition: part.partition,
        start: part.start,
    };
    let verdict = verify(client, range, run, acked).await?;
    Ok(PartitionReport {
        partition: part.partition.get(),
        sent: acked.len() as u64,
        acked: ledger.acked(),
        failed: ledger.failed(),
        longest_pause: ledger.longest_pause(),
        verdict,
    })
}

/// High watermark of each partition before the run.
async fn partition_ends(
    client: &Client,
    topic: &BenchTopic,
) -> Result<Vec<(PartitionId, Offset)>, CliError> {
    let mut ends: Vec<_> = client
        .list_offsets(topic.name(), &[], None)
        .await
        .map_err(cannot("list offsets"))?
        .into_iter()
        .map(|bounds| (bounds.partition, bounds.high_watermark))
        .collect();
    ends.sort_unstable();
    Ok(ends)
}

/// Waits for the duration, or until Ctrl-C or SIGTERM. Returns whether a signal ended it.
async fn wait_for_end(duration: Duration, written: &[PartitionLoad]) -> bool {
    let end = Instant::now() + duration;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut terminate = signal(SignalKind::terminate()).ok();
    let mut terminated = std::pin::pin!(async {
        match &mut terminate {
            Some(terminate) => drop(terminate.recv().await),
            None => std::future::pending().await,
        }
    });
    let mut status = StatusLine::new();
    loop {
        tokio::select! {
            () = sleep_until(end) => return false,
            _ = &mut interrupt => return true,
            () = &mut terminated => return true,
            () = sleep(STATUS_INTERVAL) => {}
        }
        let (mut acked, mut longest_pause) = (0, 0.0_f64);
        for part in written {
            let ledger = part.ledger.lock();
            acked += ledger.acked();
            longest_pause = longest_pause.max(ledger.longest_pause().seconds);
        }
        let remaining = end.saturating_duration_since(Instant::now()).as_secs();
        let acked = count(acked);
        status.show(&format!(
            "{acked} acknowledged, longest pause {longest_pause:.2} s, {remaining} s remaining"
        ));
    }
}
