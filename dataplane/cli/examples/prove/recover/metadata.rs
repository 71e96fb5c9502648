//! The metadata lose the majority of their voters, and with it a whole cluster two of three disks.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::{Client, NewTopic};
use tokio::time::{sleep, timeout};

use super::{PATIENCE, until};
use crate::cluster::{ProveArgs, connect_to};
use crate::ledger::{Ledger, Load, verify};
use crate::node_set::NodeSet;

const TOPIC: &str = "kept";
const LATER_TOPIC: &str = "later";
const RECORD_BYTES: usize = 256;
/// How long the lost nodes run while they are refused.
const REFUSED: Duration = Duration::from_secs(10);

/// The loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Three of five voters of the metadata. Two nodes live: the survivor, and one that follows.
    Voters,
    /// Two of three disks.
    Disks,
}

/// The cluster, with the places of its nodes.
struct Test {
    nodes: NodeSet,
    folder: std::path::PathBuf,
    survivor: usize,
    lost: Vec<usize>,
}

impl Loss {
    const fn name(self) -> &'static str {
        match self {
            Self::Voters => "metadata",
            Self::Disks => "cluster",
        }
    }
}

/// Runs the case.
pub(super) async fn run(args: &ProveArgs, records: u64, loss: Loss) -> Result<()> {
    let case = loss.name();
    let folder = args.empty_folder(&format!("recover-{case}"))?;
    let program = args.program()?;
    let (count, victims) = match loss {
        Loss::Voters => (5, vec![2, 3, 4]),
        Loss::Disks => (3, vec![1, 2]),
    };
    let create = || NodeSet::of(&program, &folder, count);
    let mut nodes = tokio::task::block_in_place(create)?;
    nodes.start_all();
    nodes.wait_healthy(PATIENCE).await?;
    let mut test = Test {
        nodes,
        folder,
        survivor: 0,
        lost: victims,
    };
    let client = test.nodes.client().await?;
    // On every node, so that the survivor has it.
    client.admin().create_topic(topic(TOPIC, count)).await?;
    let kept = Ledger::default();
    let end = write(&client, TOPIC, 0..records, &kept).await?;
    test.lose().await?;
    let took = test.recover(loss).await?;
    println!("{case}: recovered in {took:.2?}");
    // Only the partition's majority decides whether its records are served before it is recovered.
    let client = connect_to(&test.folder, test.survivor).await?;
    let verdict = verify(&client, TOPIC, 0, 0, &kept).await?;
    ensure!(verdict.read == kept.records(), "{} records", verdict.read);
    let end = write(&client, TOPIC, end..end + records / 10, &kept).await?;
    client.admin().create_topic(topic(LATER_TOPIC, 1)).await?;
    println!(
        "{case}: {} records kept, new ones and a new topic too",
        kept.records()
    );
    test.return_lost(loss).await?;
    let joined = test.join_again(count).await?;
    println!("{case}: wiped, they joined and have all replicas after {joined:.2?}");
    let client = connect_to(&test.folder, test.survivor).await?;
    client.admin().describe_topic(LATER_TOPIC).await?;
    write(&client, TOPIC, end..end + 1000, &kept).await?;
    let verdict = verify(&client, TOPIC, 0, 0, &kept).await?;
    ensure!(verdict.read == kept.records(), "{} records", verdict.read);
    println!(
        "{case}: {} records read at the end, none else",
        verdict.read
    );
    test.nodes.stop_all().await
}

fn topic(name: &str, replication_factor: u32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: 1,
        replication_factor,
        ..NewTopic::default()
    }
}

async fn write(
    client: &Client,
    topic: &str,
    numbers: std::ops::Range<u64>,
    ledger: &Ledger,
) -> Result<u64> {
    let load = Load::of(client.clone(), topic, RECORD_BYTES, numbers, ledger.clone());
    let end = timeout(PATIENCE, load.complete()).await??;
    ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed());
    Ok(end)
}

impl Test {
    /// Stops the lost nodes. Their disks are kept aside: an operator does not know that they return.
    async fn lose(&mut self) -> Result<()> {
        let args = ["cluster", "recover", "--all", "--node", "1", "--yes"];
        let (is_done, text) = self.nodes.cli(&args).await?;
        ensure!(
            !is_done && text.contains("a majority of the meta group answers"),
            "{text}"
        );
        for at in self.lost.clone() {
            self.nodes.stop(at).await?;
        }
        Ok(())
    }

    /// Recovers by the CLI.
    async fn recover(&self, loss: Loss) -> Result<Duration> {
        let node = self.nodes.nodes[self.survivor].id.to_string();
        let what = "--all";
        let mut plan = String::new();
        until("the survivor may be recovered from", async || {
            let args = ["cluster", "recover", what, "--node", &node, "--dry-run"];
            let (is_found, text) = self.nodes.cli(&args).await?;
            plan = text;
            Ok(is_found)
        })
        .await
        .with_context(|| plan.clone())?;
        print!("{plan}");
        let started = Instant::now();
        let args = ["cluster", "recover", what, "--node", &node, "--yes"];
        let (is_done, text) = self.nodes.cli(&args).await?;
        print!("{text}");
        ensure!(is_done, "{loss:?}: {text}");
        if loss == Loss::Voters {
            let is_waited_for = !text.contains("kept/0 on node 2: does not answer");
            ensure!(is_waited_for, "a live replica was given up");
        }
        if loss == Loss::Voters {
            self.wait_for_follower().await?;
        }
        Ok(started.elapsed())
    }

    /// Waits until the node that lived on has the metadata of the survivor.
    async fn wait_for_follower(&self) -> Result<()> {
        until("the other live node follows", async || {
            let (_, text) = self.nodes.status().await?;
            let line = text.lines().find(|line| line.contains("node-2"));
            Ok(line.is_some_and(|line| line.contains("active")))
        })
        .await?;
        let log = fs::read_to_string(&self.nodes.nodes[1].log)?;
        let is_told = log.contains("metadata were recovered elsewhere, replicating them again");
        ensure!(is_told, "node-2 does not say that it follows");
        Ok(())
    }

    /// Wipes the disks of the lost nodes, which join as new ones.
    async fn join_again(&mut self, count: u32) -> Result<Duration> {
        let started = Instant::now();
        for at in self.lost.clone() {
            self.nodes.stop(at).await?;
            fs::remove_dir_all(&self.nodes.nodes[at].data_dir)?;
            self.nodes.start(at);
        }
        let client = connect_to(&self.folder, self.survivor).await?;
        until("the partition has all replicas", async || {
            let described = client.admin().describe_topic(TOPIC).await?;
            let partition = described.partitions.first().context("no partition")?;
            let count = usize::try_from(count)?;
            Ok(partition.replicas.len() == count && partition.target_nodes.is_empty())
        })
        .await?;
        self.nodes.wait_healthy(PATIENCE).await?;
        Ok(started.elapsed())
    }

    /// Starts the lost nodes, which are a majority of the former voters. They are refused, and say
    /// why.
    async fn return_lost(&mut self, loss: Loss) -> Result<()> {
        for at in self.lost.clone() {
            self.nodes.start(at);
        }
        sleep(REFUSED).await;
        for at in &self.lost {
            let node = &self.nodes.nodes[*at];
            until(
                &format!("{} says that it is refused", node.name),
                async || {
                    let log = fs::read_to_string(&node.log)?;
                    Ok(log.contains("elsewhere: this disk must be wiped"))
                },
            )
            .await?;
            println!(
                "{}: {} is refused: its disk must be wiped",
                loss.name(),
                node.name
            );
        }
        Ok(())
    }
}
