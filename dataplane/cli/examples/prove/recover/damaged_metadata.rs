//! The log of the metadata is damaged on one node: with a majority of others, and without one.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lograft_client::{Client, NewTopic};
use tokio::time::timeout;

use super::damage::{flip_header, group_dir, segments};
use super::{PATIENCE, until};
use crate::cluster::{ProveArgs, connect_to};
use crate::ledger::{Ledger, Load, verify};
use crate::node_set::NodeSet;

const TOPIC: &str = "kept";
const LATER_TOPIC: &str = "later";
const RECORD_BYTES: usize = 256;
const META_GROUP: u64 = 0;
/// Places of the node with the damaged log, of the one that is lost, and of the intact one.
const DAMAGED: usize = 0;
const LOST: usize = 1;
const INTACT: usize = 2;

/// Runs the case.
pub(super) async fn run(args: &ProveArgs, records: u64) -> Result<()> {
    let folder = args.empty_folder("recover-damaged-metadata")?;
    let program = args.program()?;
    let create = || NodeSet::of(&program, &folder, 3);
    let mut nodes = tokio::task::block_in_place(create)?;
    nodes.start_all();
    nodes.wait_healthy(PATIENCE).await?;
    let client = nodes.client().await?;
    client.admin().create_topic(topic(TOPIC)).await?;
    let ledger = Ledger::default();
    let end = write(&client, 0..records, &ledger).await?;

    // With a majority of the other voters, the node repairs its log by itself.
    nodes.stop(DAMAGED).await?;
    damage(&nodes)?;
    let started = Instant::now();
    nodes.start(DAMAGED);
    until("the node says that its log is damaged", async || {
        says(&nodes, DAMAGED, "corrupt")
    })
    .await?;
    nodes.wait_healthy(PATIENCE).await?;
    println!(
        "damaged-metadata: with a majority, healthy {:.2?} after the start, without a hand",
        started.elapsed()
    );
    let verdict = verify(&client, TOPIC, 0, 0, &ledger).await?;
    ensure!(verdict.read == ledger.records(), "{} records", verdict.read);

    // Without one, the metadata are recovered from the node with the intact log.
    nodes.stop(LOST).await?;
    nodes.stop(DAMAGED).await?;
    damage(&nodes)?;
    nodes.start(DAMAGED);
    let node = nodes.nodes[INTACT].id.to_string();
    let recover = ["cluster", "recover", "--all", "--node", &node];
    let mut plan = String::new();
    until("the intact node may be recovered from", async || {
        let (is_found, text) = nodes.cli(&[&recover[..], &["--dry-run"]].concat()).await?;
        plan = text;
        Ok(is_found)
    })
    .await
    .with_context(|| plan.clone())?;
    print!("{plan}");
    let started = Instant::now();
    let (is_done, text) = nodes.cli(&[&recover[..], &["--yes"]].concat()).await?;
    print!("{text}");
    ensure!(is_done, "{text}");
    println!("damaged-metadata: recovered in {:.2?}", started.elapsed());
    let client = connect_to(&folder, INTACT).await?;
    check(&client, end, records, &ledger).await?;
    nodes.stop_all().await
}

/// Checks that all records are there, and that new ones and new topics are taken.
async fn check(client: &Client, end: u64, records: u64, ledger: &Ledger) -> Result<()> {
    let verdict = verify(client, TOPIC, 0, 0, ledger).await?;
    ensure!(verdict.read == ledger.records(), "{} records", verdict.read);
    write(client, end..end + records / 10, ledger).await?;
    client.admin().create_topic(topic(LATER_TOPIC)).await?;
    let verdict = verify(client, TOPIC, 0, 0, ledger).await?;
    ensure!(verdict.read == ledger.records(), "{} records", verdict.read);
    println!(
        "damaged-metadata: {} records read, old and new ones",
        verdict.read
    );
    Ok(())
}

fn damage(nodes: &NodeSet) -> Result<()> {
    let dir = group_dir(&nodes.nodes[DAMAGED].data_dir, META_GROUP);
    let last = segments(&dir)?.pop().context("no segment")?;
    flip_header(&last)
}

fn says(nodes: &NodeSet, at: usize, what: &str) -> Result<bool> {
    let log = std::fs::read_to_string(&nodes.nodes[at].log)?;
    Ok(log.contains(what))
}

fn topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: 1,
        replication_factor: if name == TOPIC { 3 } else { 1 },
        ..NewTopic::default()
    }
}

async fn write(client: &Client, numbers: std::ops::Range<u64>, ledger: &Ledger) -> Result<u64> {
    let load = Load::of(client.clone(), TOPIC, RECORD_BYTES, numbers, ledger.clone());
    let end = timeout(PATIENCE, load.complete()).await??;
    ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed());
    Ok(end)
}
