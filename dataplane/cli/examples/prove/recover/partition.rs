//! A partition loses two of its three replicas; the metadata keep their majority.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::admin_wire::PartitionDescription;
use lograft_client::{Client, NewTopic, PartitionId, ProducerConfig, RecordParts};
use tokio::time::{sleep, timeout};

use super::{PATIENCE, POLL_INTERVAL, until};
use crate::cluster::{ProveArgs, connect_to};
use crate::ledger::{Ledger, Load, verify};
use crate::node_set::NodeSet;

const TOPIC: &str = "lost";
const PARTITION: &str = "lost/0";
const RECORD_BYTES: usize = 256;
/// Nodes of the cluster: all vote in the meta group, so three of them are its majority.
const NODES: u32 = 5;
/// How long the lost replicas run without anybody who knows of the recovery.
const ALONE: Duration = Duration::from_secs(20);

/// The cluster, and the nodes of the partition by their place in it.
struct Test {
    nodes: NodeSet,
    client: Client,
    survivor: usize,
    lost: [usize; 2],
    group: u64,
}

/// Runs the case. `are_alone`: the lost replicas first return without the others.
pub(super) async fn run(args: &ProveArgs, records: u64, are_alone: bool) -> Result<()> {
    let case = if are_alone { "old-member" } else { "partition" };
    let folder = args.empty_folder(&format!("recover-{case}"))?;
    let program = args.program()?;
    let create = || NodeSet::of(&program, &folder, NODES);
    let mut nodes = tokio::task::block_in_place(create)?;
    nodes.start_all();
    nodes.wait_healthy(PATIENCE).await?;
    let client = nodes.client().await?;
    let mut test = Test::prepare(nodes, client).await?;

    let kept = Ledger::default();
    let first = test.write(0..records, &kept).await?;
    // The survivor is stopped, so that it lacks what the others acknowledge meanwhile.
    test.refuses_while_intact().await?;
    test.nodes.stop(test.survivor).await?;
    let gone = Ledger::default();
    let end = test.write(first..first + records / 10, &gone).await?;
    for at in test.lost {
        test.nodes.stop(at).await?;
    }
    test.nodes.start(test.survivor);
    let took = test.recover().await?;
    println!(
        "{case}: recovered {took:.2?} after the command; {} records kept, {} acknowledged ones gone",
        kept.records(),
        gone.records()
    );
    let verdict = verify(&test.client, TOPIC, 0, 0, &kept).await?;
    ensure!(verdict.read == kept.records(), "{} records", verdict.read);
    let written = test.write(end..end + records / 10, &kept).await?;
    let verdict = verify(&test.client, TOPIC, 0, 0, &kept).await?;
    let grown = until("three replicas again", async || {
        let partition = test.partition().await?;
        Ok(partition.replicas.len() == 3 && partition.target_nodes.is_empty())
    });
    let grown = grown.await?;
    println!(
        "{case}: {} records read, three replicas after {grown:.2?}",
        verdict.read
    );

    if are_alone {
        test.run_alone(&folder, written).await?;
    } else {
        for at in test.lost {
            test.nodes.start(at);
        }
    }
    test.check_returned(&kept, written + records).await?;
    test.nodes.stop_all().await?;
    println!("{case}: both lost replicas returned and changed nothing");
    Ok(())
}

impl Test {
    async fn prepare(nodes: NodeSet, client: Client) -> Result<Self> {
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            partitions: 1,
            replication_factor: 3,
            ..NewTopic::default()
        };
        client.admin().create_topic(topic).await?;
        let described = client.admin().describe_topic(TOPIC).await?;
        let partition = described.partitions.first().context("no partition")?;
        let leader = partition.leader_node.context("no leader")?;
        let place = |node: u64| nodes.nodes.iter().position(|known| known.id.get() == node);
        let hosts: Vec<u64> = partition
            .replicas
            .iter()
            .map(|found| found.node_id)
            .collect();
        let others = hosts.iter().filter(|node| **node != leader);
        let others: Vec<usize> = others.filter_map(|node| place(*node)).collect();
        let &[survivor, other] = others.as_slice() else {
            anyhow::bail!("replicas on {hosts:?}");
        };
        let leader = place(leader).context("unknown leader")?;
        Ok(Self {
            group: partition.group_id,
            nodes,
            client,
            survivor,
            lost: [leader, other],
        })
    }

    async fn partition(&self) -> Result<PartitionDescription> {
        let described = self.client.admin().describe_topic(TOPIC).await?;
        let partition = described.partitions.into_iter().next();
        partition.context("no partition")
    }

    async fn write(&self, numbers: std::ops::Range<u64>, ledger: &Ledger) -> Result<u64> {
        let (client, ledger) = (self.client.clone(), ledger.clone());
        let load = Load::of(client, TOPIC, RECORD_BYTES, numbers, ledger.clone());
        let end = timeout(PATIENCE, load.complete()).await??;
        ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed());
        Ok(end)
    }

    async fn refuses_while_intact(&self) -> Result<()> {
        let args = ["cluster", "recover", PARTITION, "--yes"];
        let (is_done, text) = self.nodes.cli(&args).await?;
        ensure!(
            !is_done && text.contains("a majority of its replicas answers"),
            "{text}"
        );
        Ok(())
    }

    /// Recovers the partition by the CLI, once the survivor answers.
    async fn recover(&self) -> Result<Duration> {
        let dry_run = ["cluster", "recover", PARTITION, "--dry-run"];
        let survivor = self.nodes.nodes[self.survivor].id;
        let mut plan = String::new();
        until("the survivor answers", async || {
            let (is_found, text) = self.nodes.cli(&dry_run).await?;
            plan = text;
            Ok(is_found && plan.contains(&format!("survives on node {survivor}")))
        })
        .await
        .with_context(|| plan.clone())?;
        print!("{plan}");
        let (is_done, text) = self.nodes.cli(&["cluster", "recover", PARTITION]).await?;
        ensure!(
            !is_done && text.contains("--yes"),
            "nobody has agreed: {text}"
        );
        let started = Instant::now();
        let args = ["cluster", "recover", PARTITION, "--yes"];
        let (is_done, text) = self.nodes.cli(&args).await?;
        ensure!(is_done, "{text}");
        Ok(started.elapsed())
    }

    /// Starts the lost replicas, which are a majority of the former group, without any node that
    /// knows of the recovery; then all others.
    async fn run_alone(&mut self, folder: &std::path::Path, number: u64) -> Result<()> {
        self.nodes.stop_all().await?;
        for at in self.lost {
            self.nodes.start(at);
        }
        let mut count = 0;
        let mut failed = None;
        let writing = async {
            loop {
                failed = self.write_alone(folder, number, &mut count).await.err();
                sleep(POLL_INTERVAL).await;
            }
        };
        drop(timeout(ALONE, writing).await);
        println!("the lost replicas alone have acknowledged {count} records, which nobody keeps");
        // Without them, it would not be shown that they are thrown away.
        ensure!(count > 0, "no record was acknowledged: {failed:?}");
        for at in 0..self.nodes.nodes.len() {
            if !self.lost.contains(&at) {
                self.nodes.start(at);
            }
        }
        Ok(())
    }

    async fn write_alone(
        &self,
        folder: &std::path::Path,
        number: u64,
        count: &mut u64,
    ) -> Result<()> {
        let client = connect_to(folder, self.lost[0]).await?;
        // New producers need ids, for which the metadata need their majority: without one.
        let config = ProducerConfig {
            idempotent: false,
            ..ProducerConfig::default()
        };
        let producer = client.producer(config).await?;
        let topic = producer.topic(TOPIC).await?;
        let mut value = [0; RECORD_BYTES];
        for number in number + *count.. {
            value[..8].copy_from_slice(&number.to_le_bytes());
            let record = RecordParts {
                value: Some(&value),
                ..RecordParts::default()
            };
            topic.send_many([record], Some(PartitionId(0))).await?;
            producer.flush().await?;
            *count += 1;
        }
        Ok(())
    }

    /// Checks that the log is the recovered one and that the lost nodes have given up theirs.
    async fn check_returned(&self, kept: &Ledger, number: u64) -> Result<()> {
        self.nodes.wait_healthy(PATIENCE).await?;
        let hosts: Vec<u64> = self
            .partition()
            .await?
            .replicas
            .iter()
            .map(|r| r.node_id)
            .collect();
        for at in self.lost {
            let node = &self.nodes.nodes[at];
            let is_host = hosts.contains(&node.id.get());
            let folder = node
                .data_dir
                .join("groups")
                .join(format!("group-{}", self.group));
            let name = &node.name;
            until(&format!("{name} has given up its files"), async || {
                Ok(is_host || !folder.exists())
            })
            .await?;
            let log = std::fs::read_to_string(&node.log)?;
            let is_told = log.contains("group was recovered") || log.contains("replica removed");
            ensure!(is_told, "{name} does not say that it gave up its replica");
            println!("{name}: gave up its replica, holds a new one: {is_host}");
        }
        self.write(number..number + 1000, kept).await?;
        let verdict = verify(&self.client, TOPIC, 0, 0, kept).await?;
        ensure!(
            verdict.read == kept.records(),
            "{} records read",
            verdict.read
        );
        println!(
            "{} records read, all that were kept and nothing else",
            verdict.read
        );
        Ok(())
    }
}
