//! Nodes on small file systems of their own: a disk that freezes under load, and disks that fill.
//! Needs root: each file system is an ext4 image on a loop device.

mod loop_disk;

use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::{Client, NewTopic, ProducerConfig, Reason, RecordParts};

use crate::cluster::{Cluster, Node, ProveArgs};
use crate::ledger::{Ledger, Load, PARTITION, verify};
use crate::proc::Memory;
use loop_disk::LoopDisk;

const TOPIC: &str = "disks";
const OTHER_TOPIC: &str = "other";
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_mins(3);
const MIB: u64 = 1024 * 1024;

/// Options of the disk-freeze command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Freeze {
    /// Time of full load before the disk freezes, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    load_ms: u64,
    /// Maximum resident memory of the frozen node, in MiB.
    #[arg(long, default_value_t = 400)]
    rss_max_mib: u64,
    /// Maximum time until writes go on elsewhere, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    resume_max_ms: u64,
}

/// Options of the disk-full command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Full {
    /// Size of the first small disk, in MiB. The second one is twice as large.
    #[arg(long, default_value_t = 1024)]
    disk_mib: u64,
}

fn topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: 1,
        replication_factor: 3,
        ..NewTopic::default()
    }
}

async fn leader(cluster: &Cluster, client: &Client) -> Result<Node> {
    let metadata = client.metadata().await?;
    let topics = &metadata.topics;
    let topic = topics.iter().find(|topic| *topic.name == *TOPIC);
    let topic = topic.context("topic not found")?;
    let partition = topic.partitions.iter().find(|p| p.partition == PARTITION);
    let leader = partition
        .and_then(|p| p.leader)
        .context("partition has no leader")?;
    let node = metadata.nodes.iter().find(|node| node.id == leader);
    let address = &node.context("leader is not a known node")?.address;
    let nodes = cluster.nodes()?;
    let found = nodes.into_iter().find(|node| node.client == **address);
    found.context("leader has no process")
}

/// Waits until `condition` holds, and returns how long that took.
async fn wait(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let started = Instant::now();
    while !condition()? {
        ensure!(
            started.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(started.elapsed())
}

fn is_open(address: &str) -> bool {
    let found = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next());
    let timeout = Duration::from_millis(500);
    found.is_some_and(|address| std::net::TcpStream::connect_timeout(&address, timeout).is_ok())
}

/// A node with a frozen disk, until its ports are closed.
struct Observed {
    /// The most resident memory.
    most_bytes: u64,
    /// Time until another leader acknowledged a write.
    resumed: Duration,
    /// Time until its client port was closed.
    closed: Duration,
}

async fn observe(victim: &Node, ledger: &Ledger, epoch: u64) -> Result<Observed> {
    let started = Instant::now();
    let (mut most_bytes, mut resumed) = (0, None);
    while is_open(&victim.client) {
        let took = started.elapsed();
        ensure!(took < PATIENCE, "the ports of the frozen node stay open");
        if let Ok(memory) = Memory::of(victim.pid) {
            most_bytes = most_bytes.max(memory.resident_bytes);
        }
        if let (now, Some(since)) = ledger.epoch()
            && now > epoch
        {
            resumed.get_or_insert(since.saturating_duration_since(started));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(Observed {
        most_bytes,
        resumed: resumed.context("writes did not go on before the ports closed")?,
        closed: started.elapsed(),
    })
}

impl Freeze {
    /// Freezes the leader's disk under load. Fails if its memory or the pause are above their
    /// bounds, if its ports stay open, or if a record is lost.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let folder = args.empty_folder("disk-freeze")?;
        let disks = (1..=3)
            .map(|id| LoopDisk::mount(&folder, &format!("node-{id}"), 6 * 1024 * MIB))
            .collect::<Result<Vec<_>>>()?;
        let mut cluster = Cluster::start(&args.program()?, &folder, 3)?;
        let client = cluster.client().await?;
        client.admin().create_topic(topic(TOPIC)).await?;
        let load = Load::start(client.clone(), TOPIC, 1024, 0);
        let ledger = load.ledger.clone();
        wait("a first acknowledgement", || Ok(ledger.records() > 0)).await?;
        tokio::time::sleep(Duration::from_millis(self.load_ms)).await;
        let victim = leader(&cluster, &client).await?;
        let disk = disks.iter().find(|disk| disk.name == victim.name);
        let disk = disk.context("disk of the leader not found")?;
        let (records, (epoch, _)) = (ledger.records(), ledger.epoch());
        let before = Memory::of(victim.pid)?.resident_bytes;
        println!(
            "{} leads, {records} records acknowledged, freezing its disk",
            victim.name
        );
        let frozen = disk.freeze()?;
        let Observed {
            most_bytes,
            resumed,
            closed,
        } = observe(&victim, &ledger, epoch).await?;
        println!(
            "| resident before | most while frozen | writes went on after | ports closed after |"
        );
        println!("|---|---|---|---|");
        println!(
            "| {} MiB | {} MiB | {:.2} s | {:.2} s |",
            before / MIB,
            most_bytes / MIB,
            resumed.as_secs_f64(),
            closed.as_secs_f64()
        );
        drop(frozen);
        let healthy = tokio::task::block_in_place(|| cluster.wait_healthy(PATIENCE))?;
        println!(
            "healthy {:.1} s after the disk was thawed",
            healthy.as_secs_f64()
        );
        load.finish().await?;
        ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed());
        let verdict = verify(&client, TOPIC, 0, 0, &ledger).await?;
        println!(
            "{} records read, {} acknowledged, none lost",
            verdict.read, verdict.acked
        );
        cluster.stop()?;
        let is_bounded = most_bytes <= self.rss_max_mib * MIB;
        ensure!(is_bounded, "{} MiB resident", most_bytes / MIB);
        ensure!(
            resumed <= Duration::from_millis(self.resume_max_ms),
            "writes went on only after {resumed:?}"
        );
        Ok(())
    }
}

impl Full {
    /// Fills the disk of one node under load, then that of a second one, and deletes the topic.
    /// Fails if a node ends, if one full disk stops the writes, if two do not, or if the cluster
    /// does not heal.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let folder = args.empty_folder("disk-full")?;
        let size = self.disk_mib * MIB;
        let _third = LoopDisk::mount(&folder, "node-3", size)?;
        let _second = LoopDisk::mount(&folder, "node-2", 2 * size)?;
        let mut cluster = Cluster::start(&args.program()?, &folder, 3)?;
        let client = cluster.client().await?;
        client.admin().create_topic(topic(TOPIC)).await?;
        client.admin().create_topic(topic(OTHER_TOPIC)).await?;
        let pids = cluster.pids()?;
        let load = Load::start(client.clone(), TOPIC, 1024, 0);
        let ledger = load.ledger.clone();
        let started = Instant::now();
        let status = || -> Result<String> {
            let output = cluster.command(&["cluster", "status"]).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let is_low = |text: &str, node: u32| {
            let name = format!("(node-{node})");
            let mut lines = text.lines();
            lines.any(|line| line.contains(&name) && line.contains("its disk"))
        };
        wait("node 3 has a low disk", || Ok(is_low(&status()?, 3))).await?;
        let (low_at, low_records) = (started.elapsed(), ledger.records());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let records = ledger.records();
        println!(
            "node-3 low after {:.1} s; {} MiB acknowledged before, {} MiB in the 10 s after it",
            low_at.as_secs_f64(),
            low_records * 1024 / MIB,
            (records - low_records) * 1024 / MIB
        );
        ensure!(records > low_records, "one full disk stopped the writes");
        ensure!(cluster.pids()? == pids, "a node ended");
        wait("node 2 has a low disk", || Ok(is_low(&status()?, 2))).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let stopped = ledger.records();
        tokio::time::sleep(Duration::from_secs(5)).await;
        ensure!(
            ledger.records() == stopped,
            "two low disks of three do not stop the writes"
        );
        ensure!(cluster.pids()? == pids, "a node ended");
        let refused = refused_produce(&client, &["node-2", "node-3"]).await?;
        println!(
            "node-2 low as well; {} MiB acknowledged; a produce is refused: {refused:#}",
            stopped * 1024 / MIB,
        );
        println!("{}", status()?);
        load.abandon();
        let written = heal(&mut cluster, &client).await?;
        ensure!(cluster.pids()? == pids, "a node ended");
        verify(&client, OTHER_TOPIC, 0, 0, &written).await?;
        cluster.stop()
    }
}

/// Produces to a topic whose replicas are on these nodes with low disks. Fails unless the record is
/// refused with an error that names them; returns the error.
async fn refused_produce(client: &Client, low: &[&str]) -> Result<anyhow::Error> {
    let config = ProducerConfig {
        delivery_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(2),
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).await?;
    let topic = producer.topic(OTHER_TOPIC).await?;
    let record = RecordParts {
        value: Some(b"refused"),
        ..RecordParts::default()
    };
    let sent = topic.send_many([record], Some(PARTITION)).await?;
    let delivery = sent.into_iter().next().context("nothing was sent")?;
    let Err(error) = delivery.await else {
        anyhow::bail!("two low disks of three do not refuse a record");
    };
    let reason = error.reason();
    ensure!(
        reason == Some(Reason::DiskFull),
        "refused by {reason:?}: {error}"
    );
    let metadata = client.metadata().await?;
    let is_low = |name: &str| low.contains(&name);
    let expected = metadata.nodes.iter().filter(|node| is_low(&node.name));
    let expected: Vec<String> = expected.map(|node| node.id.to_string()).collect();
    let mut named: Vec<&str> = error
        .metadata("nodes")
        .unwrap_or_default()
        .split(',')
        .collect();
    named.sort_unstable();
    ensure!(
        named == expected,
        "it names the nodes {named:?}, not {expected:?}"
    );
    Ok(error.into())
}

/// Deletes the topic that fills the disks, and waits until the cluster has healed. Returns the
/// records written to another topic.
async fn heal(cluster: &mut Cluster, client: &Client) -> Result<Ledger> {
    client.admin().delete_topic(TOPIC).await?;
    let deleted = Instant::now();
    let seconds = || deleted.elapsed().as_secs_f64();
    let load = Load::start(client.clone(), OTHER_TOPIC, 1024, 0);
    let written = load.ledger.clone();
    wait("writes go on", || Ok(written.records() > 0)).await?;
    println!(
        "writes went on {:.1} s after the topic was deleted",
        seconds()
    );
    load.finish().await?;
    tokio::task::block_in_place(|| cluster.wait_healthy(PATIENCE))?;
    println!("healthy {:.1} s after the topic was deleted", seconds());
    Ok(written)
}
