//! Producers and a group while leaders move all the time: no error, nothing lost, nothing doubled.
//!
//! The load is a closed loop: each partition has one producer, which sends the next records when the
//! former ones are acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::{
    Client, ConsumerConfig, GroupConfig, NodeId, PartitionId, ProducerConfig, RecordParts, StartAt,
    TopicProducer,
};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::committed::Following;
use super::member::{GROUP, TOPIC};
use super::reader::{Delivered, Reader};
use super::{Groups, create_topic};
use crate::cluster::{Cluster, ProveArgs, connect};
use crate::measure::to_f64;

const NODES_COUNT: u32 = 5;
const MEMBERS_COUNT: usize = 3;
/// Records of a call, and their size.
const SENT_COUNT: usize = 50;
const RECORD_BYTES: usize = 100;
const MOVE_INTERVAL: Duration = Duration::from_secs(1);
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
const WARM_UP: Duration = Duration::from_secs(3);
/// Part of the quiet throughput that must remain.
const THROUGHPUT_MIN: f64 = 0.5;

/// Runs the case and prints its figures.
pub(super) async fn run(options: &Groups, args: &ProveArgs) -> Result<()> {
    let folder = args.empty_folder("groups")?;
    let cluster = Cluster::start(&args.program()?, &folder, NODES_COUNT)?;
    let client = cluster.client().await?;
    create_topic(&client, TOPIC, options.partitions).await?;
    let delivered = Delivered::default();
    let readers = start_readers(&folder, &delivered).await?;
    let committed = Following::start(client.clone());
    let writers = Writers::start(&folder, options.partitions).await?;

    sleep(WARM_UP).await;
    let quiet = writers
        .measure(sleep(Duration::from_secs(options.quiet_seconds)))
        .await;
    let mut moves = Moves::default();
    let moving = move_leaders(&client, options, &mut moves);
    let disturbed = writers.measure(moving).await;
    for reader in &readers {
        reader.check_running()?;
    }

    let ends = writers.finish().await?;
    delivered.wait_until(&ends).await?;
    committed.finish(&ends).await?;
    for reader in readers {
        reader.close().await?;
    }
    let totals = delivered.check(&ends)?;
    check_log(&client, &ends).await?;
    println!(
        "{NODES_COUNT} nodes, {} partitions, {} moves of a leader, {} refused or without effect; \
         {} records acknowledged, each once in the log and handed out, {} handed out again, \
         {} moves of partitions between members",
        options.partitions,
        moves.done,
        moves.failed.len(),
        totals.records,
        totals.repeated,
        totals.moves
    );
    for error in &moves.failed {
        println!("  {error}");
    }
    let ratio = disturbed / quiet;
    println!(
        "{SENT_COUNT} records of {RECORD_BYTES} bytes in flight for each partition: {quiet:.0} \
         records/s quiet ({} s), {disturbed:.0} while leaders moved ({} s): {ratio:.2}",
        options.quiet_seconds, options.seconds
    );
    ensure!(totals.repeated == 0, "records were handed out again");
    ensure!(
        moves.done > moves.failed.len(),
        "most moves failed: {:?}",
        moves.failed.last()
    );
    ensure!(
        ratio >= THROUGHPUT_MIN,
        "less than {THROUGHPUT_MIN} of the quiet throughput"
    );
    cluster.stop()
}

async fn start_readers(folder: &Path, delivered: &Delivered) -> Result<Vec<Reader>> {
    let mut readers = Vec::new();
    for _ in 0..MEMBERS_COUNT {
        let config = GroupConfig {
            auto_commit: Some(COMMIT_INTERVAL),
            ..GroupConfig::new(GROUP, [TOPIC])
        };
        let client = connect(folder).await?;
        readers.push(Reader::start(&client, config, delivered).await?);
    }
    Ok(readers)
}

/// The producers, one for each partition.
struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<u64>>>,
}

impl Writers {
    async fn start(folder: &Path, partitions: u32) -> Result<Self> {
        let client = connect(folder).await?;
        let producer = client.producer(ProducerConfig::default()).await?;
        let mut writers = Self {
            stop: Arc::default(),
            acknowledged: Arc::default(),
            tasks: Vec::new(),
        };
        for partition in 0..partitions {
            let topic = producer.topic(TOPIC).await?;
            let stop = Arc::clone(&writers.stop);
            let acknowledged = Arc::clone(&writers.acknowledged);
            let writing = write(topic, PartitionId(partition), stop, acknowledged);
            writers.tasks.push(tokio::spawn(writing));
        }
        Ok(writers)
    }

    /// Records per second during some work.
    async fn measure(&self, work: impl Future<Output = ()>) -> f64 {
        let count = || self.acknowledged.load(Ordering::Relaxed);
        let (started, before) = (Instant::now(), count());
        work.await;
        to_f64(count() - before) / started.elapsed().as_secs_f64()
    }

    /// Stops. Returns the end of each partition, by what was acknowledged. Fails if a record could
    /// not be written.
    async fn finish(self) -> Result<BTreeMap<u32, u64>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ends = BTreeMap::new();
        for (partition, task) in (0..).zip(self.tasks) {
            ends.insert(partition, task.await??);
        }
        Ok(ends)
    }
}

/// Writes records with their numbers, which are also their offsets: nothing else writes. Returns the
/// number after the last one.
async fn write(
    topic: TopicProducer,
    partition: PartitionId,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Result<u64> {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut values = [[0_u8; RECORD_BYTES]; SENT_COUNT];
        for (number, value) in (next..).zip(&mut values) {
            value[..8].copy_from_slice(&u64::to_le_bytes(number));
        }
        let records: Vec<RecordParts<'_>> = values.iter().map(|value| parts(value)).collect();
        for delivery in topic.send_many(records, Some(partition)).await? {
            let stored = delivery.await?;
            let base = stored.base_offset.context("a record has no offset")?.get();
            ensure!(
                base == next,
                "record {next} of partition {partition} was stored at offset {base}"
            );
            next += u64::from(stored.record_count);
            acknowledged.fetch_add(u64::from(stored.record_count), Ordering::Relaxed);
        }
    }
    Ok(next)
}

fn parts(value: &[u8]) -> RecordParts<'_> {
    RecordParts {
        value: Some(value),
        ..RecordParts::default()
    }
}

/// The moves of leaders.
#[derive(Debug, Default)]
struct Moves {
    done: usize,
    failed: Vec<String>,
}

/// Moves the leader of a random partition to another of its replicas, every second.
async fn move_leaders(client: &Client, options: &Groups, moves: &mut Moves) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut next, end) = (
        Instant::now(),
        Instant::now() + Duration::from_secs(options.seconds),
    );
    while next < end {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let number = u32::try_from(random >> 40).unwrap_or(0);
        match move_leader(client, number % options.partitions, random).await {
            Ok(()) => moves.done += 1,
            Err(error) => moves.failed.push(format!("{error:#}")),
        }
        next += MOVE_INTERVAL;
        sleep(next.saturating_duration_since(Instant::now())).await;
    }
}

async fn move_leader(client: &Client, partition: u32, random: u64) -> Result<()> {
    let described = client.admin().describe_topic(TOPIC).await?;
    let mut partitions = described.partitions.iter();
    let found = partitions.find(|found| found.partition == partition);
    let found = found.context("no such partition")?;
    let leader = found.leader_node.context("no leader")?;
    let others: Vec<u64> = found
        .replicas
        .iter()
        .map(|replica| replica.node_id)
        .collect();
    let others: Vec<u64> = others.into_iter().filter(|id| *id != leader).collect();
    ensure!(!others.is_empty(), "one replica");
    let to = others[usize::try_from(random & 0xff)? % others.len()];
    let admin = client.admin();
    let term = admin
        .transfer_leadership(TOPIC, PartitionId(partition), NodeId(to))
        .await
        .with_context(|| format!("cannot move partition {partition} from {leader} to {to}"))?;
    ensure!(
        term.get() > found.leader_epoch,
        "partition {partition} has stayed at {leader}"
    );
    Ok(())
}

/// Reads the whole log: each number must be at its offset, and nothing after the last one.
async fn check_log(client: &Client, ends: &BTreeMap<u32, u64>) -> Result<()> {
    let config = ConsumerConfig {
        follow: false,
        ..ConsumerConfig::new(TOPIC, StartAt::Earliest)
    };
    let mut consumer = client.consumer(config).await?;
    let mut read: BTreeMap<u32, u64> = ends.keys().map(|partition| (*partition, 0)).collect();
    while let Some(batch) = consumer.next_batch().await? {
        let partition = batch.partition().get();
        let next = read.entry(partition).or_default();
        for record in batch.iter() {
            let (offset, record) = record?;
            let head = record.value.and_then(|value| value.first_chunk::<8>());
            let number = u64::from_le_bytes(*head.context("a value is too short")?);
            ensure!(
                (offset.get(), number) == (*next, *next),
                "partition {partition}: expected record {next}, got {number} at {offset}"
            );
            *next += 1;
        }
    }
    ensure!(
        read == *ends,
        "the log has {read:?}, {ends:?} are acknowledged"
    );
    Ok(())
}
