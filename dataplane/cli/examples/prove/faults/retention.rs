//! Retention by size, far beyond it: the disk stays bounded, a node that was away catches up, and
//! the earliest record is the log start.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, ConsumerConfig, NewTopic, NodeId, StartAt};
use rustix::process::Signal;

use crate::cluster::{Cluster, Node, Place};
use crate::ledger::{Load, PARTITION};
use crate::measure::to_f64;
use crate::proc;

const TOPIC: &str = "retained";
const CATCH_UP_WAIT: Duration = Duration::from_mins(3);

/// How much to keep and how much to write.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Retention {
    /// Kept of the partition, MiB.
    #[arg(long, default_value_t = 256)]
    keep_mib: u64,
    /// Written while one node is away, MiB.
    #[arg(long, default_value_t = 4096)]
    write_mib: u64,
}

impl Retention {
    /// Runs it; fails at the first broken promise.
    pub(crate) async fn run(self, place: &Place) -> Result<()> {
        let folder = place.empty("retention")?;
        let mut cluster = Cluster::start(&place.program()?, &folder, 3)?;
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
        let away = follower(&cluster, &client).await?;
        proc::signal(away.pid, Signal::STOP)?;
        let written = self.write(&client).await;
        proc::signal(away.pid, Signal::CONT)?;
        println!(
            "written while {} was stopped: {} MiB",
            away.name,
            written? >> 20
        );
        let healthy = tokio::task::block_in_place(|| cluster.wait_healthy(CATCH_UP_WAIT))?;
        println!(
            "all healthy {:.1} s after it went on",
            healthy.as_secs_f64()
        );
        self.check_disks(&cluster).await?;
        // The proof that it has caught up: it leads, and all is read from it.
        let id = node_id(&client, &away).await?;
        client
            .admin()
            .transfer_leadership(TOPIC, PARTITION, id)
            .await?;
        println!("{} leads now", away.name);
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

    /// Twice what is kept is room enough for whole segments and recycled ones; waits for trims.
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
                "{}: {} MiB on disk, kept {} MiB",
                node.name,
                bytes >> 20,
                self.keep_mib
            );
            ensure!(
                bytes <= bound,
                "{} holds {bytes} bytes, more than {bound}",
                node.name
            );
        }
        Ok(())
    }

    async fn check_start(self, client: &Client) -> Result<()> {
        let bounds = client.list_offsets(TOPIC, &[], None).await?;
        let start = bounds.first().context("no partition")?.log_start_offset;
        ensure!(start.get() > 0, "the log start did not move");
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
                None => ensure!(base >= start, "reading began at {base}, below {start}"),
                Some(next) => ensure!(base == next, "a gap: {base} where {next} should be"),
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

/// A node that does not lead the partition.
async fn follower(cluster: &Cluster, client: &Client) -> Result<Node> {
    let metadata = client.metadata().await?;
    let topic = metadata
        .topics
        .iter()
        .find(|t| *t.name == *TOPIC)
        .context("no topic")?;
    let leader = topic
        .partitions
        .first()
        .and_then(|p| p.leader)
        .context("no leader")?;
    for node in cluster.nodes()? {
        if node_id(client, &node).await? != leader {
            return Ok(node);
        }
    }
    bail!("no follower")
}

/// The id of a node's process.
async fn node_id(client: &Client, process: &Node) -> Result<NodeId> {
    let metadata = client.metadata().await?;
    let node = metadata
        .nodes
        .iter()
        .find(|n| *n.address == *process.client);
    Ok(node.context("an unknown node")?.id)
}
