//! `kill -9` of the leader, or of all nodes at once, again and again, while a producer writes at
//! full speed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, NewTopic};
use rustix::process::Signal;

use super::median;
use crate::cluster::{Cluster, Place};
use crate::ledger::{Ledger, Load, PARTITION, verify};
use crate::proc;

const TOPIC: &str = "crashes";
const LOOK_EVERY: Duration = Duration::from_millis(5);
const RESUME_WAIT: Duration = Duration::from_mins(1);

/// How often, and how long in between.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Crashes {
    /// How many crashes.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Full load before each crash and after writes go on again, milliseconds.
    #[arg(long, default_value_t = 2000)]
    load_ms: u64,
    /// Bytes of each record.
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victims {
    /// The partition's leader.
    Leader,
    /// All nodes at once.
    All,
}

/// One crash.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    records: u64,
    resumed: Duration,
    healthy: Duration,
}

impl Crashes {
    /// Runs the rounds; fails at the first broken promise.
    pub(crate) async fn run(self, place: &Place, victims: Victims) -> Result<()> {
        let folder = place.empty("crashes")?;
        let mut cluster = Cluster::start(&place.program()?, &folder, 3)?;
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
        println!("| crash | records read | acknowledged | writes went on after | healthy after |");
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
                "deliveries failed: {:?}",
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
        let begin = Instant::now();
        while ledger.records() == 0 {
            ensure!(
                begin.elapsed() < RESUME_WAIT,
                "nothing was acknowledged in {RESUME_WAIT:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(load).await;
        let (epoch, _) = ledger.epoch();
        let pids = find(cluster, client, victims).await?;
        let begin = Instant::now();
        for pid in pids {
            proc::signal(pid, Signal::KILL)?;
        }
        let resumed = loop {
            if let (now, Some(since)) = ledger.epoch()
                && now > epoch
            {
                break since.saturating_duration_since(begin);
            }
            if begin.elapsed() > RESUME_WAIT {
                bail!("no write in {RESUME_WAIT:?}; failed: {:?}", ledger.failed());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        tokio::time::sleep(load).await;
        // Under load on purpose: whoever was killed catches up while writes go on.
        tokio::task::block_in_place(|| cluster.wait_healthy(RESUME_WAIT))?;
        Ok(Outcome {
            records: ledger.records(),
            resumed,
            healthy: begin.elapsed(),
        })
    }
}

/// The processes to kill.
async fn find(cluster: &Cluster, client: &Client, victims: Victims) -> Result<Vec<u32>> {
    if victims == Victims::All {
        return cluster.pids();
    }
    let metadata = client.metadata().await?;
    let topic = metadata
        .topics
        .iter()
        .find(|t| *t.name == *TOPIC)
        .context("the topic is gone")?;
    let partition = topic.partitions.iter().find(|p| p.partition == PARTITION);
    let leader = partition.and_then(|p| p.leader).context("no leader")?;
    let node = metadata
        .nodes
        .iter()
        .find(|n| n.id == leader)
        .context("an unknown leader")?;
    let processes = cluster.nodes()?;
    let process = processes.iter().find(|p| p.client == *node.address);
    Ok(vec![process.context("the leader has no process")?.pid])
}

fn summary(outcomes: &[Outcome]) {
    let seconds: Vec<f64> = outcomes.iter().map(|o| o.resumed.as_secs_f64()).collect();
    let records: u64 = outcomes.iter().map(|o| o.records).sum();
    let worst = seconds.iter().copied().fold(0.0, f64::max);
    println!(
        "\n{records} records acknowledged over {} crashes, each there exactly once and in order; \
         writes went on after {:.2} s (median), {worst:.2} s (worst)",
        outcomes.len(),
        median(&seconds),
    );
}
