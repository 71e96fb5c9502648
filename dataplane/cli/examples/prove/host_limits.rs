//! Many replicas on each node within a small limit of open files: the cluster starts, serves,
//! restarts and serves, and a topic beyond the limit is refused before files run out.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{
    Client, ClientError, ConsumerConfig, NewTopic, Offset, PartitionId, ProducerConfig, Reason,
    RecordParts, StartAt,
};
use serde_yaml::Value;
use tokio::time::sleep;

use crate::cluster::ProveArgs;
use crate::measure::to_f64;
use crate::node_set::{FileLimits, NodeSet};
use crate::proc::{Memory, Usage};

/// Soft limit of open files that container runtimes give.
const SOFT_FILES: u64 = 1024;
const PARTITIONS_AT_ONCE: u32 = 100;
const PATIENCE: Duration = Duration::from_mins(8);
const IDLE: Duration = Duration::from_secs(20);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Options of the host-limits command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct HostLimits {
    /// Replicas of each of the three nodes
    #[arg(long, default_value_t = 1200)]
    replicas: u32,
    /// Hard limit of open files in the first part
    #[arg(long, default_value_t = 16_384)]
    hard_files: u64,
    /// Interval of heartbeats, in milliseconds: three nodes, a client and their disks share the
    /// cores of this machine
    #[arg(long, default_value_t = 1000)]
    heartbeat_ms: u64,
    /// Lower bound of the election timeout, in milliseconds; the upper one is a half more
    #[arg(long, default_value_t = 6000)]
    election_ms: u64,
}

/// Topics of a cluster, with one record in each partition.
struct Test {
    nodes: NodeSet,
    client: Client,
    topics: Vec<(String, u32)>,
    records_each: u64,
}

impl HostLimits {
    /// Runs both parts. Fails if a node ends by itself, a record is lost, or a topic beyond the
    /// limit is not refused.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        println!(
            "heartbeats every {} ms, election timeout {} to {} ms",
            self.heartbeat_ms,
            self.election_ms,
            self.election_max_ms()
        );
        let hard = self.hard_files;
        let soft = FileLimits {
            soft: SOFT_FILES,
            hard,
        };
        self.many_replicas(args, soft).await?;
        let small = FileLimits {
            soft: SOFT_FILES,
            hard: SOFT_FILES,
        };
        self.few_files(args, small).await
    }

    fn election_max_ms(self) -> u64 {
        self.election_ms + self.election_ms / 2
    }

    async fn start(self, args: &ProveArgs, limits: FileLimits) -> Result<Test> {
        let folder = args.empty_folder("host-limits")?;
        let program = args.program()?;
        let configure = |config: &mut Value| {
            config["raft"]["heartbeat_ms"] = self.heartbeat_ms.into();
            config["raft"]["election_min_ms"] = self.election_ms.into();
            config["raft"]["election_max_ms"] = self.election_max_ms().into();
            config["runtime"]["replicas_max_count"] = (self.replicas + 10).into();
            config["storage"]["reserve_bytes"] = (64 * 1024 * 1024).into();
        };
        let create = || NodeSet::create(&program, &folder, Some(limits), configure);
        let mut nodes = tokio::task::block_in_place(create)?;
        nodes.start_all();
        nodes.wait_healthy(PATIENCE).await?;
        println!(
            "limits of open files: soft {}, hard {}",
            limits.soft, limits.hard
        );
        Ok(Test {
            client: nodes.client().await?,
            nodes,
            topics: Vec::new(),
            records_each: 0,
        })
    }

    async fn many_replicas(self, args: &ProveArgs, limits: FileLimits) -> Result<()> {
        let mut test = self.start(args, limits).await?;
        let started = Instant::now();
        let mut left = self.replicas;
        while left > 0 {
            let partitions = left.min(PARTITIONS_AT_ONCE);
            test.create(partitions).await?;
            left -= partitions;
        }
        let created = started.elapsed();
        println!(
            "{} replicas on each node after {:.0} s, healthy",
            self.replicas,
            created.as_secs_f64()
        );
        test.restart_and_stop().await
    }

    async fn few_files(self, args: &ProveArgs, limits: FileLimits) -> Result<()> {
        let mut test = self.start(args, limits).await?;
        let refused = loop {
            match test.create(PARTITIONS_AT_ONCE / 2).await {
                Ok(()) => {}
                Err(error) => break error,
            }
            ensure!(test.replicas() < self.replicas, "no topic was refused");
        };
        let known = refused.downcast_ref::<ClientError>();
        let reason = known.and_then(ClientError::reason);
        ensure!(
            reason == Some(Reason::LimitExceeded),
            "refused with another reason: {refused:#}"
        );
        println!(
            "{} replicas on each node, then: {refused:#}",
            test.replicas()
        );
        test.restart_and_stop().await
    }
}

impl Test {
    /// Serves, restarts and serves again. Fails if a node ended by itself.
    async fn restart_and_stop(&mut self) -> Result<()> {
        self.serves().await?;
        self.print_usage().await?;
        self.restart().await?;
        self.serves().await?;
        self.check_ends()?;
        self.nodes.stop_all().await
    }

    fn replicas(&self) -> u32 {
        self.topics.iter().map(|(_, partitions)| partitions).sum()
    }

    /// Creates a topic with three replicas of each partition, and waits until it is healthy.
    async fn create(&mut self, partitions: u32) -> Result<()> {
        let name = format!("many-{}", self.topics.len());
        let topic = NewTopic {
            name: name.clone(),
            partitions,
            replication_factor: 3,
            ..NewTopic::default()
        };
        let started = Instant::now();
        loop {
            let created = self.client.admin().create_topic(topic.clone()).await;
            let Err(error) = created else { break };
            match error.reason() {
                // An attempt whose answer was lost on a busy machine.
                Some(Reason::TopicExists) => break,
                Some(Reason::LimitExceeded) => return Err(error.into()),
                _ if started.elapsed() > PATIENCE => return Err(error.into()),
                _ => sleep(RETRY_INTERVAL).await,
            }
        }
        self.topics.push((name, partitions));
        self.nodes.wait_healthy(PATIENCE).await?;
        Ok(())
    }

    /// Writes a record to each partition, and reads all of them.
    async fn serves(&mut self) -> Result<()> {
        let started = Instant::now();
        let producer = self.client.producer(ProducerConfig::default()).await?;
        for (name, partitions) in &self.topics {
            let topic = producer.topic(name).await?;
            let mut deliveries = Vec::new();
            for partition in 0..*partitions {
                let value = format!("{name}/{partition}");
                let record = RecordParts {
                    value: Some(value.as_bytes()),
                    ..RecordParts::default()
                };
                let partition = Some(PartitionId(partition));
                deliveries.extend(topic.send_many([record], partition).await?);
            }
            for delivery in deliveries {
                delivery.await?;
            }
        }
        producer.close().await?;
        self.records_each += 1;
        let written = started.elapsed();
        for (name, partitions) in &self.topics {
            let found = self.count(name).await?;
            let expected = u64::from(*partitions) * self.records_each;
            ensure!(
                found == expected,
                "{name} must have {expected} records, got {found}"
            );
        }
        println!(
            "a record written to each of {} partitions in {:.1} s, all read in {:.1} s",
            self.replicas(),
            written.as_secs_f64(),
            started.elapsed().saturating_sub(written).as_secs_f64()
        );
        self.check_ends()
    }

    async fn count(&self, name: &str) -> Result<u64> {
        let started = Instant::now();
        loop {
            match self.count_once(name).await {
                Ok(count) => return Ok(count),
                Err(error) if started.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => sleep(RETRY_INTERVAL).await,
            }
        }
    }

    async fn count_once(&self, name: &str) -> Result<u64, ClientError> {
        let config = ConsumerConfig {
            follow: false,
            ..ConsumerConfig::new(name, StartAt::Offset(Offset(0)))
        };
        let mut consumer = self.client.consumer(config).await?;
        let mut count = 0;
        while consumer.next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Restarts one node after the other, as a rollout does.
    async fn restart(&mut self) -> Result<()> {
        for at in 0..self.nodes.nodes.len() {
            let started = Instant::now();
            let ends = self.nodes.stop(at).await?;
            let name = &self.nodes.nodes[at].name;
            ensure!(ends == 0, "{name} ended {ends} times by itself");
            self.nodes.start(at);
            self.nodes.wait_healthy(PATIENCE).await?;
            println!(
                "{} restarted, healthy after {:.1} s",
                self.nodes.nodes[at].name,
                started.elapsed().as_secs_f64()
            );
        }
        Ok(())
    }

    fn check_ends(&self) -> Result<()> {
        for at in 0..self.nodes.nodes.len() {
            let ends = self.nodes.take_ends(at);
            if !ends.is_empty() {
                let node = &self.nodes.nodes[at];
                bail!(
                    "{} ended by itself: {ends:?}; see {}",
                    node.name,
                    node.log.display()
                );
            }
        }
        Ok(())
    }

    async fn print_usage(&self) -> Result<()> {
        let pids = (0..self.nodes.nodes.len()).map(|at| self.nodes.pid(at));
        let pids = pids.collect::<Result<Vec<_>>>()?;
        let before = Usage::of(&pids)?;
        sleep(IDLE).await;
        let cpu = Usage::of(&pids)?.since(before).cpu_seconds / IDLE.as_secs_f64();
        println!("| node | open files | soft limit of the process | resident |");
        println!("|---|---|---|---|");
        for (node, pid) in self.nodes.nodes.iter().zip(&pids) {
            println!(
                "| {} | {} | {} | {} MiB |",
                node.name,
                open_files(*pid)?,
                soft_limit(*pid)?,
                Memory::of(*pid)?.resident_bytes >> 20
            );
        }
        let cores = std::thread::available_parallelism()?;
        let share = cpu / to_f64(u64::try_from(cores.get())?);
        println!(
            "all nodes together, idle: {:.0} % of {cores} cores",
            share * 100.0
        );
        Ok(())
    }
}

fn open_files(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"))?.count())
}

fn soft_limit(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with("Max open files"));
    let mut fields = line.context("no limit of open files")?.split_whitespace();
    Ok(fields.nth(3).context("no soft limit")?.parse()?)
}
