//! Writes far more than the retention size: disk usage stays bounded, a node that was stopped
//! catches up, and the log starts at the earliest retained record.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, ConsumerConfig, NewTopic, NodeId, StartAt};
use rustix::process::Signal;

use crate::cluster::{Cluster, Node, ProveArgs};
use crate::ledger::{Load, PARTITION};
use crate::measure::to_f64;
use crate::proc;

const TOPIC: &str = "retained";
const CATCH_UP_TIMEOUT: Duration = Duration::from_mins(3);

/// Options of the retention command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Retention {
    /// Retention size of the partition in MiB.
    #[arg(long, default_value_t = 256)]
    keep_mib: u64,
    /// Data to write while one node is stopped, in MiB.
    #[arg(long, default_value_t = 4096)]
    write_mib: u64,
}

impl Retention {
    /// Runs the test.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let folder = args.empty_folder("retention")?;
        let mut cluster = Cluster::start(&args.program()?, &folder, 3)?;
        let client = cluster.client().await?;
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            partitions: 1,
            replication_factor: 3,
            retention: Some(lograft_client::admin_wire::Retention {
                bytes: Some(self.keep_mib << 20),
                ms: None,
            }),
            ..NewTopic::default()
        };
        client.admin().create_topic(topic).await?;
        let stopped = follower(&cluster, &client).await?;
        proc::signal(stopped.pid, Signal::STOP)?;
        let written = self.write(&client).await;
        proc::signal(stopped.pid, Signal::CONT)?;
        println!(
            "written while {} was stopped: {} MiB",
            stopped.name,
            written? >> 20
        );
        let healthy = tokio::task::block_in_place(|| cluster.wait_healthy(CATCH_UP_TIMEOUT))?;
        println!(
            "cluster healthy {:.1} s after the node was continued",
            healthy.as_secs_f64()
        );
        self.check_disks(&cluster).await?;
        // Reading everything from the node as leader proves that it has caught up.
        let id = node_id(&client, &stopped).await?;
        client
            .admin()
            .transfer_leadership(TOPIC, PARTITION, id)
            .await?;
        println!("{} is now the leader", stopped.name);
        self.check_start(&client).await?;
        cluster.stop()
    }

    async fn write(self, client: &Client) -> Result<u64> {
        let record_bytes = 1024;
        let load = Load::start(client.clone(), TOPIC, record_bytes, 0);
        let goal = (self.write_mib << 20) / u64::try_from(record_bytes)?;
        while load.ledger.records() < goal {
            ensure!(
                load.ledger.failed().is_empty(),
                "failed: {:?}",
                load.ledger.failed()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ledger = load.ledger.clone();
        load.finish().await?;
        Ok(ledger.records() * u64::try_from(record_bytes)?)
    }

    /// Waits until the disk usage of each node is within bounds: twice the retention size, plus
    /// whole and recycled segments.
    async fn check_disks(self, cluster: &Cluster) -> Result<()> {
        let bound = (self.keep_mib << 20) * 2 + (640 << 20);
        for node in cluster.nodes()? {
            let mut bytes = u64::MAX;
            for _ in 0..60 {
                bytes = proc::bytes_on_disk(&cluster.node_folder(&node.name));
                if bytes <= bound {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            println!(
                "{}: {} MiB on disk, retention {} MiB",
                node.name,
                bytes >> 20,
                self.keep_mib
            );
            ensure!(
                bytes <= bound,
                "{} must use at most {bound} bytes, got {bytes}",
                node.name
            );
        }
        Ok(())
    }

    async fn check_start(self, client: &Client) -> Result<()> {
        let bounds = client.list_offsets(TOPIC, &[], None).await?;
        let start = bounds
            .first()
            .context("topic has no partition")?
            .log_start_offset;
        ensure!(start.get() > 0, "log start did not move");
        let config = ConsumerConfig {
            follow: false,
            ..ConsumerConfig::new(TOPIC, StartAt::Earliest)
        };
        let mut consumer = client.consumer(config).await?;
        let mut next = None;
        let mut bytes = 0_u64;
        while let Some(batch) = consumer.next_batch().await? {
            let base = batch.base_offset();
            match next {
                None => ensure!(
                    base >= start,
                    "first batch must be at or after {start}, got {base}"
                ),
                Some(next) => ensure!(base == next, "gap in offsets: expected {next}, got {base}"),
            }
            next = Some(batch.next_offset());
            bytes += u64::try_from(batch.encoded_len())?;
        }
        println!(
            "log start {start}; {:.0} MB readable from there",
            to_f64(bytes) / 1e6
        );
        Ok(())
    }
}

/// A node that is not the leader of the partition.
async fn follower(cluster: &Cluster, client: &Client) -> Result<Node> {
    let metadata = client.metadata().await?;
    let topic = metadata
        .topics
        .iter()
        .find(|t| *t.name == *TOPIC)
        .context("topic not found")?;
    let leader = topic
        .partitions
        .first()
        .and_then(|p| p.leader)
        .context("partition has no leader")?;
    for node in cluster.nodes()? {
        if node_id(client, &node).await? != leader {
            return Ok(node);
        }
    }
    bail!("partition has no follower")
}

/// Node id of a process.
async fn node_id(client: &Client, process: &Node) -> Result<NodeId> {
    let metadata = client.metadata().await?;
    let node = metadata
        .nodes
        .iter()
        .find(|n| *n.address == *process.client);
    Ok(node.context("process is not a known node")?.id)
}
