//! Replicas that are damaged and cannot be copied from others: one of two, and the only one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lograft_client::{Client, NewTopic};
use serde_json::Value;
use serde_yaml::Value as Yaml;
use tokio::time::timeout;

use super::damage::{corrupt_copy, flip_entry, flip_header, group_dir, segments};
use super::{PATIENCE, until};
use crate::cluster::{ProveArgs, connect_to};
use crate::ledger::{Ledger, Load, verify};
use crate::node_set::NodeSet;

const TOPIC: &str = "damaged";
const NEW_TOPIC: &str = "exported";
const PARTITION: &str = "damaged/0";
const RECORD_BYTES: usize = 256;
const NODES: usize = 3;
/// Several segments with the records of a run.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Exit code of an export with gaps.
const INCOMPLETE: i32 = 5;

fn small_segments(config: &mut Yaml) {
    config["storage"]["segment_max_bytes"] = SEGMENT_BYTES.into();
}

/// A cluster with a damaged replica.
struct Test {
    nodes: NodeSet,
    /// Place of the node with the damaged replica, and of another one.
    damaged: usize,
    other: usize,
    group: u64,
    ledger: Ledger,
}

/// One of two replicas is damaged: its group has no majority without it.
pub(super) async fn two(args: &ProveArgs, records: u64) -> Result<()> {
    let mut test = Test::prepare(args, "recover-two-replicas", 2, records).await?;
    let node = &test.nodes.nodes[test.damaged];
    flip_header(&segments(&group_dir(&node.data_dir, test.group))?[0])?;
    test.start_damaged().await?;
    test.wait_for_status("damaged/0").await?;
    let survivor = test.nodes.nodes[test.other].id.to_string();
    let mut plan = String::new();
    until("the intact replica is the survivor", async || {
        let args = ["cluster", "recover", PARTITION, "--dry-run"];
        let (is_found, shown) = test.nodes.cli(&args).await?;
        plan = shown;
        Ok(is_found && plan.contains(&format!("survives on node {survivor}")))
    })
    .await
    .with_context(|| plan.clone())?;
    print!("{plan}");
    let started = Instant::now();
    test.run(&["cluster", "recover", PARTITION, "--yes"])
        .await?;
    let client = connect_to(test.nodes.folder(), test.other).await?;
    test.check_all(&client, records).await?;
    until("two replicas again", async || {
        let described = client.admin().describe_topic(TOPIC).await?;
        let partition = described.partitions.first().context("no partition")?;
        Ok(partition.replicas.len() == 2 && partition.target_nodes.is_empty())
    })
    .await?;
    test.nodes.wait_healthy(PATIENCE).await?;
    println!(
        "two-replicas: all {records} records are there; two replicas and healthy after {:.2?}",
        started.elapsed()
    );
    test.nodes.stop_all().await
}

/// The only replica is damaged: what can be read is exported, and written to a new topic.
pub(super) async fn only(args: &ProveArgs, records: u64) -> Result<()> {
    let mut test = Test::prepare(args, "recover-only-replica", 1, records).await?;
    let node = &test.nodes.nodes[test.damaged];
    let found = segments(&group_dir(&node.data_dir, test.group))?;
    ensure!(found.len() >= 3, "{} segments", found.len());
    flip_entry(&found[1])?;
    flip_header(&found[0])?;
    test.start_damaged().await?;
    test.wait_for_status("damaged/0").await?;
    let node = &test.nodes.nodes[test.damaged];
    let copy = corrupt_copy(&node.data_dir, test.group)?.context("no corrupt copy")?;
    let out = test.nodes.folder().join("damaged.ndjson");
    let said = test.export(&copy, &out).await?;
    let lost = gaps(&said)?;
    let lost_count: u64 = lost.iter().map(|gap| gap.end() - gap.start() + 1).sum();
    ensure!(!lost.is_empty(), "no gap is named: {said}");
    let is_lost = |offset: u64| lost.iter().any(|gap| gap.contains(&offset));
    let mut exported = numbers_of_export(&out)?;
    // Those behind were stored when the load ended, and perhaps never acknowledged.
    exported.retain(|number| *number < records);
    let expected: Vec<u64> = (0..records).filter(|number| !is_lost(*number)).collect();
    let is_equal = exported.iter().copied().eq(expected.iter().copied());
    ensure!(is_equal, "{} of {records} exported", exported.len());
    println!(
        "only-replica: {} of {records} acknowledged records exported, {lost_count} named as lost",
        exported.len()
    );
    test.run(&["topic", "create", NEW_TOPIC, "--partitions", "1"])
        .await?;
    let file = out.display().to_string();
    let produce = ["produce", NEW_TOPIC, "--input", "json", "--file", &file];
    test.run(&produce).await?;
    test.run(&["topic", "delete", TOPIC]).await?;
    let client = connect_to(test.nodes.folder(), test.other).await?;
    let mut read = super::read_numbers(&client, NEW_TOPIC).await?;
    read.retain(|number| *number < records);
    ensure!(read == expected, "{} records in the new topic", read.len());
    until("the corrupt copy is deleted with its topic", async || {
        Ok(!copy.exists())
    })
    .await?;
    test.nodes.wait_healthy(PATIENCE).await?;
    println!(
        "only-replica: {} records in the new topic, healthy",
        read.len()
    );
    test.nodes.stop_all().await
}

impl Test {
    /// A topic with acknowledged records; the node of one of its replicas is stopped.
    async fn prepare(
        args: &ProveArgs,
        name: &str,
        replication_factor: u32,
        records: u64,
    ) -> Result<Self> {
        let folder = args.empty_folder(name)?;
        let program = args.program()?;
        let create = || NodeSet::create(&program, &folder, None, small_segments);
        let mut nodes = tokio::task::block_in_place(create)?;
        nodes.start_all();
        nodes.wait_healthy(PATIENCE).await?;
        let client = nodes.client().await?;
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            partitions: 1,
            replication_factor,
            ..NewTopic::default()
        };
        client.admin().create_topic(topic).await?;
        let ledger = Ledger::default();
        let load = Load::of(
            client.clone(),
            TOPIC,
            RECORD_BYTES,
            0..records,
            ledger.clone(),
        );
        timeout(PATIENCE, load.complete()).await??;
        ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed());
        let described = client.admin().describe_topic(TOPIC).await?;
        let partition = described.partitions.first().context("no partition")?;
        let place = |node: u64| nodes.nodes.iter().position(|known| known.id.get() == node);
        let replica = partition.replicas.first().context("no replica")?;
        let damaged = place(replica.node_id).context("unknown node")?;
        let other = match partition.replicas.get(1) {
            Some(other) => place(other.node_id).context("unknown node")?,
            None => (damaged + 1) % NODES,
        };
        let group = partition.group_id;
        nodes.stop(damaged).await?;
        Ok(Self {
            nodes,
            damaged,
            other,
            group,
            ledger,
        })
    }

    /// Starts the node, which sets the damaged files aside.
    async fn start_damaged(&mut self) -> Result<()> {
        self.nodes.start(self.damaged);
        let data_dir = self.nodes.nodes[self.damaged].data_dir.clone();
        until("the damaged files are set aside", async || {
            Ok(corrupt_copy(&data_dir, self.group)?.is_some())
        })
        .await?;
        Ok(())
    }

    /// Waits until the status names the partition.
    async fn wait_for_status(&self, what: &str) -> Result<()> {
        let mut status = String::new();
        until("the status names the damage", async || {
            let (is_healthy, text) = self.nodes.status().await?;
            status = text;
            Ok(!is_healthy && status.contains(what))
        })
        .await
        .with_context(|| status.clone())?;
        let lines = status.lines().filter(|line| line.contains(what));
        lines.for_each(|line| println!("status: {}", line.trim()));
        Ok(())
    }

    async fn run(&self, args: &[&str]) -> Result<()> {
        let (is_done, text) = self.nodes.cli(args).await?;
        print!("{text}");
        ensure!(is_done, "{args:?}: {text}");
        Ok(())
    }

    async fn export(&self, dir: &Path, out: &Path) -> Result<String> {
        let [dir, out] = [dir, out].map(|path| path.display().to_string());
        let args = ["replica", "export", &dir, "--out", &out];
        let (code, text) = self.nodes.cli_code(&args).await?;
        print!("{text}");
        ensure!(code == Some(INCOMPLETE), "exit code {code:?}: {text}");
        Ok(text)
    }

    async fn check_all(&self, client: &Client, records: u64) -> Result<()> {
        let verdict = verify(client, TOPIC, 0, 0, &self.ledger).await?;
        ensure!(verdict.acked >= records, "{} records", verdict.acked);
        Ok(())
    }
}

/// The offsets of the gaps that an export has named.
fn gaps(text: &str) -> Result<Vec<RangeInclusive<u64>>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once("gap: offsets ") else {
            continue;
        };
        let mut words = rest.split_whitespace();
        let first = words.next().context("no first offset")?.parse()?;
        let last = words.nth(1).context("no last offset")?.parse()?;
        found.push(first..=last);
    }
    Ok(found)
}

/// The numbers in the values of exported records, in their order.
fn numbers_of_export(path: &PathBuf) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let record: BTreeMap<String, Value> = serde_json::from_str(&line?)?;
        let offset = record.get("offset").and_then(Value::as_u64);
        let value = match (record.get("value"), record.get("value_base64")) {
            (Some(Value::String(text)), None) => text.clone().into_bytes(),
            (None, Some(Value::String(text))) => super::from_base64(text)?,
            other => anyhow::bail!("{other:?}"),
        };
        let number = super::number_of(&value)?;
        // The load is the only producer of the topic.
        ensure!(offset == Some(number), "record {number} at {offset:?}");
        numbers.push(number);
    }
    ensure!(fs::metadata(path)?.len() > 0, "an empty export");
    Ok(numbers)
}
