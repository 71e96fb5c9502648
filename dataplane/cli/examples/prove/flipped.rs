//! One flipped byte in every kind of file of a node, while it runs and while it is stopped: no wrong
//! record is served, and the cluster heals without a hand.

mod files;
mod node_log;
mod read_back;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::{Client, NewTopic, NodeId, TopicChange, TopicKey, topic_setting};
use serde_yaml::Value;
use tokio::time::{sleep, timeout};

use crate::cluster::{ProveArgs, connect_to};
use crate::ledger::{Ledger, Load, PARTITION};
use crate::node_set::NodeSet;
use files::{Group, GroupFile, Kind, all_kinds, corrupt_copies};
use node_log::LogMark;
use read_back::{ReadBack, lead, metadata_at, read_through};

const TOPIC: &str = "flipped";
/// A topic with a retention, whose purged segments are recycled.
const SHORT_TOPIC: &str = "short";
/// Segments of this size are preallocated, and recycled when they are purged.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
const RECORD_BYTES: usize = 1024;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time until the first write after a flip must be acknowledged.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// Changes of a topic's settings at once.
const CHANGES_AT_ONCE: u64 = 32;

/// Options of the flipped-byte command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FlippedByte {
    /// Only kinds of files whose names contain this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Maximum time until the cluster is healthy after a flip, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    heal_max_s: u64,
}

/// What happened after one flip.
struct Row {
    kind: Kind,
    is_running: bool,
    /// What the node said and did.
    did: String,
    /// How the reads through each node went.
    reads: [ReadBack; 3],
    /// Time from the flip until a write was acknowledged.
    resumed: Duration,
    /// Time from the flip, or from the restart that found it, until the cluster was healthy.
    healed: Option<Duration>,
}

/// The cluster under test.
struct Test {
    nodes: NodeSet,
    client: Client,
    /// Clients of one node each.
    at: Vec<Client>,
    ledger: Ledger,
    next_number: u64,
    partition_group: u64,
    heal_max: Duration,
}

fn small_files(config: &mut Value) {
    config["storage"]["segment_max_bytes"] = SEGMENT_BYTES.into();
    config["storage"]["tail_cache_max_bytes"] = (1024 * 1024).into();
    config["storage"]["reserve_bytes"] = (64 * 1024 * 1024).into();
}

impl FlippedByte {
    /// Runs all cases and prints a table. Fails if a wrong record was served, or if the cluster did
    /// not heal by itself.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let folder = args.empty_folder("flipped-byte")?;
        let program = args.program()?;
        let create = || NodeSet::create(&program, &folder, None, small_files);
        let mut nodes = tokio::task::block_in_place(create)?;
        nodes.start_all();
        let heal_max = Duration::from_secs(self.heal_max_s);
        nodes.wait_healthy(heal_max).await?;
        let at = [
            connect_to(&folder, 0).await?,
            connect_to(&folder, 1).await?,
            connect_to(&folder, 2).await?,
        ];
        let mut test = Test {
            client: nodes.client().await?,
            nodes,
            at: at.into(),
            ledger: Ledger::default(),
            next_number: 0,
            partition_group: 0,
            heal_max,
        };
        test.prepare().await?;
        let is_chosen = |kind: &Kind| {
            let name = kind.name();
            self.only.as_ref().is_none_or(|text| name.contains(text))
        };
        let (mut rows, mut absent) = (Vec::new(), Vec::new());
        for kind in all_kinds().into_iter().filter(is_chosen) {
            for is_running in [true, false] {
                test.write(512).await?;
                let turn = rows.len() / 2;
                let Some(victim) = test.victim(kind, turn)? else {
                    println!("{}: no node has such a file", kind.name());
                    absent.push(kind);
                    break;
                };
                let row = test.case(kind, is_running, victim).await?;
                row.print_brief();
                rows.push(row);
            }
        }
        test.nodes.stop_all().await?;
        print_table(&rows);
        for kind in absent {
            println!("| {} | - | no node has one | | | |", kind.name());
        }
        let failed = rows.iter().filter(|row| !row.is_good()).count();
        ensure!(failed == 0, "{failed} of {} cases failed", rows.len());
        Ok(())
    }
}

impl Test {
    /// Writes until every kind of file exists.
    async fn prepare(&mut self) -> Result<()> {
        let admin = self.client.admin();
        for (name, retention) in [(TOPIC, None), (SHORT_TOPIC, Some(SEGMENT_BYTES))] {
            let retention = retention.map(|bytes| lograft_client::admin_wire::Retention {
                bytes: Some(bytes),
                ms: None,
            });
            let topic = NewTopic {
                name: name.to_owned(),
                partitions: 1,
                replication_factor: 3,
                retention,
                ..NewTopic::default()
            };
            admin.create_topic(topic).await?;
        }
        let described = admin.describe_topic(TOPIC).await?;
        let partition = described.partitions.first().context("no partition")?;
        self.partition_group = partition.group_id;
        let short = Ledger::default();
        write(&self.client, SHORT_TOPIC, 0, 32 * 1024, &short).await?;
        self.write(16 * 1024).await?;
        self.change_settings().await?;
        self.nodes.wait_healthy(self.heal_max).await?;
        Ok(())
    }

    /// Fills a segment of the meta group, until a node has a checkpoint of it.
    async fn change_settings(&self) -> Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..CHANGES_AT_ONCE {
            tasks.spawn(change_settings(self.client.clone(), task));
        }
        let checkpoint = Kind::Of(Group::Meta, GroupFile::Checkpoint);
        while self.victim(checkpoint, 0)?.is_none() {
            if let Some(ended) = tasks.try_join_next() {
                ended??;
            }
            sleep(POLL_INTERVAL).await;
        }
        tasks.shutdown().await;
        Ok(())
    }

    /// Writes so many records, and returns the time until the first acknowledgement.
    async fn write(&mut self, records: u64) -> Result<Duration> {
        let (client, ledger) = (self.client.clone(), self.ledger.clone());
        let written = write(&client, TOPIC, self.next_number, records, &ledger);
        let (next, took) = timeout(WRITE_TIMEOUT, written)
            .await
            .with_context(|| format!("no acknowledgement within {WRITE_TIMEOUT:?}"))??;
        self.next_number = next;
        let failed = self.ledger.failed();
        ensure!(failed.is_empty(), "failed writes: {failed:?}");
        Ok(took)
    }

    /// A node that has a file of this kind.
    fn victim(&self, kind: Kind, turn: usize) -> Result<Option<usize>> {
        for nth in 0..3 {
            let at = (turn + nth) % 3;
            let dir = &self.nodes.nodes[at].data_dir;
            if kind.find(dir, self.partition_group)?.is_some() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    async fn case(&mut self, kind: Kind, is_running: bool, victim: usize) -> Result<Row> {
        self.nodes.take_ends(victim);
        if is_running {
            self.make_leader(kind, self.nodes.nodes[victim].id).await?;
        } else {
            self.nodes.stop(victim).await?;
        }
        let node = &self.nodes.nodes[victim];
        let spot = kind.find(&node.data_dir, self.partition_group)?;
        let spot = spot.with_context(|| format!("the file is gone: {}", kind.name()))?;
        let mark = LogMark::end_of(&node.log)?;
        let mut flipped = Instant::now();
        spot.flip()?;
        if !is_running {
            self.nodes.start(victim);
        }
        let resumed = self.write(64).await?;
        let mut reads = self.read_back().await;
        let mut did = mark.noticed()?;
        if is_running && did.is_empty() {
            // Nothing has read the byte yet: the next start does, or nothing ever does.
            self.nodes.stop(victim).await?;
            flipped = Instant::now();
            self.nodes.start(victim);
            let again = self.read_back().await;
            if reads.iter().all(|read| *read == ReadBack::Right) {
                reads = again;
            }
            let noticed = mark.noticed()?;
            did = format!(
                "not read while it ran; at the next start: {}",
                or_nothing(noticed)
            );
        }
        let mut healed = self.healed(victim, flipped).await?;
        let metadata = self.metadata_differs().await;
        if let (Some(_), Some(text)) = (healed, &metadata) {
            reads[victim] = ReadBack::Wrong(text.clone());
        }
        let ends = self.nodes.take_ends(victim);
        if !ends.is_empty() {
            did = format!("{did}; ended {} times ({})", ends.len(), ends[0]);
        }
        if healed.is_none() {
            // By hand: so that the other cases can run.
            did = format!("{did}; {}", mark.last_error()?);
            spot.flip()?;
            self.nodes.wait_healthy(self.heal_max).await?;
        } else if reads.iter().any(|read| matches!(read, ReadBack::NotNow(_))) {
            // A node that was being repaired could not lead: now it can.
            reads = self.read_back().await;
            healed = self.healed(victim, flipped).await?.and(healed);
        }
        Ok(Row {
            kind,
            is_running,
            did: or_nothing(did),
            reads,
            resumed,
            healed,
        })
    }

    /// Makes the victim the leader of the group whose files are flipped.
    async fn make_leader(&self, kind: Kind, node: NodeId) -> Result<()> {
        let started = Instant::now();
        loop {
            let moved = match kind.group() {
                Some(Group::Meta) => {
                    let moved = self.client.admin().transfer_meta_leadership(node).await;
                    moved.map(drop)
                }
                _ => lead(&self.client, PARTITION, node).await,
            };
            match moved {
                Ok(()) => return Ok(()),
                Err(error) if started.elapsed() > self.heal_max => return Err(error.into()),
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }

    async fn read_back(&self) -> [ReadBack; 3] {
        let read = async |at: usize| {
            let node = self.nodes.nodes[at].id;
            read_through(&self.client, node, &self.ledger).await
        };
        [read(0).await, read(1).await, read(2).await]
    }

    /// How the metadata of the nodes differ.
    async fn metadata_differs(&self) -> Option<String> {
        let started = Instant::now();
        loop {
            let mut seen = Vec::new();
            for client in &self.at {
                seen.push(
                    metadata_at(client)
                        .await
                        .map_err(|error| format!("{error:#}")),
                );
            }
            if seen.iter().all(|found| found.is_ok() && *found == seen[0]) {
                return None;
            }
            if started.elapsed() > self.heal_max {
                return Some(format!("metadata of the nodes: {seen:?}"));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Time from the flip until the cluster is healthy and the victim has no corrupt copy; `None`
    /// if that takes too long.
    async fn healed(&self, victim: usize, flipped: Instant) -> Result<Option<Duration>> {
        let started = Instant::now();
        let dir = &self.nodes.nodes[victim].data_dir;
        while started.elapsed() < self.heal_max {
            let is_healthy = self.nodes.status().await?.0;
            if is_healthy && corrupt_copies(dir)? == 0 && self.nodes.pid(victim).is_ok() {
                return Ok(Some(flipped.elapsed()));
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(None)
    }
}

/// Changes the settings of a topic again and again.
async fn change_settings(client: Client, task: u64) -> Result<()> {
    for nth in 0.. {
        let bytes = 600_000 + nth * CHANGES_AT_ONCE + task;
        let change = TopicChange {
            settings: vec![topic_setting(TopicKey::BatchMaxBytes, bytes)],
            ..TopicChange::default()
        };
        client.admin().alter_topic(SHORT_TOPIC, change).await?;
    }
    Ok(())
}

fn or_nothing(text: String) -> String {
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        text
    }
}

/// Writes so many records, rounded up to whole calls. Returns the number after the last one, and
/// the time until the first acknowledgement.
async fn write(
    client: &Client,
    topic: &str,
    first: u64,
    records: u64,
    ledger: &Ledger,
) -> Result<(u64, Duration)> {
    let (before, started) = (ledger.records(), Instant::now());
    let numbers = first..first + records;
    let load = Load::of(client.clone(), topic, RECORD_BYTES, numbers, ledger.clone());
    while ledger.records() == before && ledger.failed().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    let resumed = started.elapsed();
    Ok((load.complete().await?, resumed))
}

impl Row {
    fn is_good(&self) -> bool {
        let is_right = self.reads.iter().all(|read| *read == ReadBack::Right);
        is_right && self.healed.is_some()
    }

    fn when(&self) -> &'static str {
        if self.is_running {
            "running"
        } else {
            "stopped"
        }
    }

    fn reads(&self) -> String {
        let name = |read: &ReadBack| match read {
            ReadBack::Right => "right".to_owned(),
            ReadBack::NotNow(text) => format!("not now: {text}"),
            ReadBack::Wrong(text) => format!("WRONG: {text}"),
        };
        if self.reads.iter().all(|read| *read == ReadBack::Right) {
            return "all right".to_owned();
        }
        let all: Vec<String> = self.reads.iter().map(name).collect();
        all.join("; ")
    }

    fn healed(&self) -> String {
        self.healed.map_or_else(
            || "NOT".to_owned(),
            |after| format!("{:.1} s", after.as_secs_f64()),
        )
    }

    fn print_brief(&self) {
        let (kind, when, healed) = (self.kind.name(), self.when(), self.healed());
        println!(
            "{kind}, {when}: healed {healed}; {}; {}",
            self.reads(),
            self.did
        );
    }
}

fn print_table(rows: &[Row]) {
    println!("| file | node | the node | reads through each node | writes went on | healthy |");
    println!("|---|---|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {:.1} s | {} |",
            row.kind.name(),
            row.when(),
            row.did.replace('|', "/"),
            row.reads(),
            row.resumed.as_secs_f64(),
            row.healed(),
        );
    }
}
