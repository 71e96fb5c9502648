//! Repeated `kill -9` of the leader or of all nodes while a producer writes at full speed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, NewTopic};
use rustix::process::Signal;

use crate::cluster::{Cluster, ProveArgs};
use crate::ledger::{Ledger, Load, PARTITION, verify};
use crate::measure::median;
use crate::proc;

const TOPIC: &str = "crashes";
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const RESUME_TIMEOUT: Duration = Duration::from_mins(1);

/// Options of the kill commands.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Crashes {
    /// Number of crashes.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Time of full load before each crash and after writes resume, in milliseconds.
    #[arg(long, default_value_t = 2000)]
    load_ms: u64,
    /// Size of each record in bytes.
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
}

/// The nodes to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victims {
    /// The partition's leader.
    Leader,
    /// All nodes at once.
    All,
}

/// Result of one crash.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    records: u64,
    resumed: Duration,
    healthy: Duration,
}

impl Crashes {
    /// Runs all rounds. Fails at the first lost, duplicated or reordered record.
    pub(crate) async fn run(self, args: &ProveArgs, victims: Victims) -> Result<()> {
        let folder = args.empty_folder("crashes")?;
        let mut cluster = Cluster::start(&args.program()?, &folder, 3)?;
        let client = cluster.client().await?;
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            partitions: 1,
            replication_factor: 3,
            retention: Some(lograft_client::admin_wire::Retention {
                bytes: Some(6 << 30),
                ms: None,
            }),
            ..NewTopic::default()
        };
        client.admin().create_topic(topic).await?;
        println!("| crash | records read | acknowledged | writes resumed after | healthy after |");
        println!("|---|---|---|---|---|");
        let (mut from, mut number) = (0, 0);
        let mut outcomes = Vec::new();
        for round in 1..=self.rounds {
            let load = Load::start(client.clone(), TOPIC, self.record_bytes, number);
            let ledger = load.ledger.clone();
            let outcome = self.crash(&mut cluster, &client, &ledger, victims).await;
            let first = number;
            number = load.finish().await?;
            let outcome = outcome?;
            ensure!(
                ledger.failed().is_empty(),
                "records failed: {:?}",
                ledger.failed()
            );
            let verdict = verify(&client, TOPIC, from, first, &ledger).await?;
            from = verdict.next_offset;
            println!(
                "| {round} | {} | {} | {:.2} s | {:.2} s |",
                verdict.read,
                verdict.acked,
                outcome.resumed.as_secs_f64(),
                outcome.healthy.as_secs_f64(),
            );
            outcomes.push(outcome);
        }
        cluster.stop()?;
        summary(&outcomes);
        Ok(())
    }

    async fn crash(
        self,
        cluster: &mut Cluster,
        client: &Client,
        ledger: &Ledger,
        victims: Victims,
    ) -> Result<Outcome> {
        let load = Duration::from_millis(self.load_ms);
        let started = Instant::now();
        while ledger.records() == 0 {
            ensure!(
                started.elapsed() < RESUME_TIMEOUT,
                "no acknowledgement after {RESUME_TIMEOUT:?}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        tokio::time::sleep(load).await;
        let (epoch, _) = ledger.epoch();
        let pids = find_victims(cluster, client, victims).await?;
        let started = Instant::now();
        for pid in pids {
            proc::signal(pid, Signal::KILL)?;
        }
        let resumed = loop {
            if let (now, Some(since)) = ledger.epoch()
                && now > epoch
            {
                break since.saturating_duration_since(started);
            }
            if started.elapsed() > RESUME_TIMEOUT {
                bail!(
                    "no write succeeded after {RESUME_TIMEOUT:?}; failed: {:?}",
                    ledger.failed()
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        tokio::time::sleep(load).await;
        // Still under load, so that the killed nodes must catch up while writes continue.
        tokio::task::block_in_place(|| cluster.wait_healthy(RESUME_TIMEOUT))?;
        Ok(Outcome {
            records: ledger.records(),
            resumed,
            healthy: started.elapsed(),
        })
    }
}

/// Process ids of the nodes to kill.
async fn find_victims(cluster: &Cluster, client: &Client, victims: Victims) -> Result<Vec<u32>> {
    if victims == Victims::All {
        return cluster.pids();
    }
    let metadata = client.metadata().await?;
    let topic = metadata
        .topics
        .iter()
        .find(|t| *t.name == *TOPIC)
        .context("topic not found")?;
    let partition = topic.partitions.iter().find(|p| p.partition == PARTITION);
    let leader = partition
        .and_then(|p| p.leader)
        .context("partition has no leader")?;
    let node = metadata
        .nodes
        .iter()
        .find(|n| n.id == leader)
        .context("leader is not a known node")?;
    let processes = cluster.nodes()?;
    let process = processes.iter().find(|p| p.client == *node.address);
    Ok(vec![process.context("leader has no process")?.pid])
}

fn summary(outcomes: &[Outcome]) {
    let seconds: Vec<f64> = outcomes.iter().map(|o| o.resumed.as_secs_f64()).collect();
    let records: u64 = outcomes.iter().map(|o| o.records).sum();
    let worst = seconds.iter().copied().fold(0.0, f64::max);
    println!(
        "\n{records} records acknowledged over {} crashes, all in the log exactly once and in order; \
         writes resumed after {:.2} s (median), {worst:.2} s (worst)",
        outcomes.len(),
        median(&seconds),
    );
}
