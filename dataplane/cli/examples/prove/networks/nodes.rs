//! The nodes of a cluster, each in its namespace.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::admin_wire::DescribeClusterReply;
use lograft_client::{Client, ClientConfig, NewTopic, NodeId};
use rustix::process::Signal;
use serde_yaml::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::net::{STRANGER, address, namespace};
use crate::cluster::{Cluster, client_config};
use crate::proc;

pub(super) const CLIENT_PORT: u16 = 9400;
pub(super) const PEER_PORT: u16 = 9401;
pub(super) const HEALTH_PORT: u16 = 9403;
pub(super) const GOSSIP_PORT: u16 = 9404;
const STEP_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const REPLY_TIMEOUT: Duration = Duration::from_secs(3);
/// A call that waits longer says no more than one that fails.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A node as a client of this node alone sees it.
#[derive(Clone)]
pub(super) struct NodeView {
    /// Number of its host, which is its id too.
    pub(super) host: u8,
    client: Client,
}

impl NodeView {
    /// Name, e.g. `node-1`.
    pub(super) fn name(&self) -> String {
        name(self.host)
    }

    /// The cluster as this node sees it.
    pub(super) async fn describe(&self) -> Result<DescribeClusterReply> {
        let admin = self.client.admin();
        let asked = timeout(CALL_TIMEOUT, admin.describe_cluster(false)).await;
        Ok(asked.with_context(|| format!("{} does not answer", self.name()))??)
    }

    /// Values of its metrics: the text of each line that starts with `prefix`, and its value.
    pub(super) async fn metrics(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let text = timeout(REPLY_TIMEOUT, get(self.host, "/metrics")).await??;
        let found = text.lines().filter(|line| line.starts_with(prefix));
        let split = found.filter_map(|line| line.rsplit_once(' '));
        let values = split.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
        Ok(values.collect())
    }

    /// The hosts that this node does not see alive by gossip.
    pub(super) fn unseen(&self, reply: &DescribeClusterReply, hosts: &[u8]) -> Vec<u8> {
        let is_alive = |host: &u8| {
            let name = name(*host);
            let mut found = reply.discovered.iter().filter(|member| member.name == name);
            found.any(|member| member.gossip.as_ref().is_some_and(|seen| seen.reachable))
        };
        let others = hosts.iter().filter(|host| **host != self.host);
        others.filter(|host| !is_alive(host)).copied().collect()
    }
}

fn name(host: u8) -> String {
    format!("node-{host}")
}

/// A node's process.
struct Node {
    name: String,
    log: PathBuf,
    process: Child,
}

impl Node {
    fn pid(&self) -> Result<u32> {
        let id = self.process.id();
        id.with_context(|| format!("{} has ended", self.name))
    }
}

async fn get(host: u8, path: &str) -> Result<String> {
    let mut io = TcpStream::connect((address(host), HEALTH_PORT)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    io.read_to_end(&mut reply).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// Which cluster a case needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Number of nodes.
    pub(super) count: u8,
    /// `raft.heartbeat_ms` of the nodes; their default without it.
    pub(super) heartbeat_ms: Option<u64>,
}

/// The nodes of a cluster, and a client of all.
pub(super) struct Nodes {
    /// One view per node, by host.
    pub(super) views: Vec<NodeView>,
    pub(super) client: Client,
    folder: PathBuf,
    all: Vec<Node>,
}

impl Nodes {
    /// Creates a cluster with its certificates by `lograft dev`, on the loopback device of this
    /// thread's namespace, and starts its nodes at their addresses.
    pub(super) async fn create(program: &Path, folder: &Path, shape: Shape) -> Result<Self> {
        let count = shape.count;
        let dev = || Cluster::start(program, folder, count.into())?.stop();
        tokio::task::block_in_place(dev)?;
        let node_program = program.with_file_name("lograft-node");
        ensure!(
            node_program.exists(),
            "{} not found: run cargo build --release",
            node_program.display()
        );
        let mut nodes = Vec::new();
        for host in 1..=count {
            nodes.push(start(&node_program, folder, host, shape)?);
        }
        let addresses = (1..=count).map(client_address).collect();
        let client = connect(folder, addresses, false).await?;
        let mut views = Vec::new();
        for host in 1..=count {
            let client = connect(folder, vec![client_address(host)], true).await?;
            views.push(NodeView { host, client });
        }
        let mut cluster = Self {
            views,
            client,
            folder: folder.to_owned(),
            all: nodes,
        };
        cluster.wait_healthy().await?;
        cluster.gossip_agrees(STEP_TIMEOUT).await?;
        Ok(cluster)
    }

    /// All hosts of nodes.
    pub(super) fn hosts(&self) -> Vec<u8> {
        self.views.iter().map(|view| view.host).collect()
    }

    /// The file of a node's gossip keys.
    pub(super) fn keys(&self, host: u8) -> PathBuf {
        keys(&self.folder, host)
    }

    /// A client that calls one node alone.
    pub(super) fn client_of(&self, host: u8) -> Result<Client> {
        let view = self.views.iter().find(|view| view.host == host);
        Ok(view.context("no such node")?.client.clone())
    }

    /// Process ids of the nodes.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        self.all.iter().map(Node::pid).collect()
    }

    /// Fails if a node has ended.
    pub(super) fn check_running(&mut self) -> Result<()> {
        for node in &mut self.all {
            if let Some(status) = node.process.try_wait()? {
                bail!("{} ended: {status}; see {}", node.name, node.log.display());
            }
        }
        Ok(())
    }

    /// Waits until no problem degrades the cluster.
    pub(super) async fn wait_healthy(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.check_running()?;
            let said = match self.client.admin().describe_cluster(true).await {
                Ok(reply) if reply.healthy => return Ok(()),
                Ok(reply) => format!("{:?}", reply.problems),
                Err(error) => error.to_string(),
            };
            ensure!(
                started.elapsed() < STEP_TIMEOUT,
                "not healthy after {STEP_TIMEOUT:?}: {said}"
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Creates a topic with one partition on all nodes.
    pub(super) async fn create_topic(&self, name: &str) -> Result<()> {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: 1,
            replication_factor: u32::try_from(self.all.len())?,
            ..NewTopic::default()
        };
        self.client.admin().create_topic(topic).await?;
        Ok(())
    }

    /// The host of a topic's leader.
    pub(super) async fn leader(&self, topic: &str) -> Result<u8> {
        let described = self.client.admin().describe_topic(topic).await?;
        let leader = described.partitions.first().and_then(|p| p.leader_node);
        Ok(u8::try_from(leader.context("no leader")?)?)
    }

    /// Transfers the leadership of the metadata and of a topic's partition to a host.
    pub(super) async fn lead(&self, host: u8, topics: &[&str]) -> Result<()> {
        let (admin, to) = (self.client.admin(), NodeId(host.into()));
        let described = admin.describe_cluster(true).await?;
        if described.meta_leader_node != Some(host.into()) {
            admin.transfer_meta_leadership(to).await?;
        }
        for topic in topics {
            if self.leader(topic).await? != host {
                let partition = crate::ledger::PARTITION;
                admin.transfer_leadership(topic, partition, to).await?;
            }
        }
        Ok(())
    }

    /// Waits until each node sees all others alive by gossip, and returns how long that took.
    pub(super) async fn gossip_agrees(&self, bound: Duration) -> Result<Duration> {
        let started = Instant::now();
        let hosts = self.hosts();
        loop {
            let mut missing = Vec::new();
            for view in &self.views {
                match view.describe().await {
                    Ok(reply) => {
                        let unseen = view.unseen(&reply, &hosts);
                        missing.extend(unseen.iter().map(|host| (view.host, *host)));
                    }
                    Err(_) => missing.push((view.host, view.host)),
                }
            }
            let took = started.elapsed();
            if missing.is_empty() {
                return Ok(took);
            }
            ensure!(
                took < bound,
                "gossip does not agree after {bound:?}: (by, of) {missing:?}"
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Stops the nodes. Fails if one had ended, or has logged a panic.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.check_running()?;
        for node in &self.all {
            proc::signal(node.pid()?, Signal::TERM)?;
        }
        for node in &mut self.all {
            let ended = timeout(STEP_TIMEOUT, node.process.wait()).await;
            ended.with_context(|| format!("{} does not end", node.name))??;
            let text = fs::read_to_string(&node.log)?;
            ensure!(!text.contains("panicked at"), "{} panicked", node.name);
        }
        fs::remove_dir_all(&self.folder)?;
        Ok(())
    }
}

/// Connects a client, once the nodes serve.
async fn connect(folder: &Path, endpoints: Vec<String>, endpoints_only: bool) -> Result<Client> {
    let config = ClientConfig {
        endpoints,
        endpoints_only,
        // The certificates of `lograft dev` have no other host name.
        server_name: Some("localhost".to_owned()),
        ..client_config(folder)?
    };
    let started = Instant::now();
    loop {
        match Client::connect(config.clone()).await {
            Ok(client) => return Ok(client),
            Err(error) if started.elapsed() > STEP_TIMEOUT => return Err(error.into()),
            Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}

fn keys(folder: &Path, host: u8) -> PathBuf {
    folder.join("data").join(format!("{}.keys", name(host)))
}

fn client_address(host: u8) -> String {
    format!("{}:{CLIENT_PORT}", address(host))
}

/// Gives a node's configuration its addresses, and starts the node.
fn start(program: &Path, folder: &Path, host: u8, shape: Shape) -> Result<Node> {
    let name = name(host);
    let config = folder.join("data").join(format!("{name}.yaml"));
    let keys = keys(folder, host);
    let mut fields: Value = serde_yaml::from_str(&fs::read_to_string(&config)?)?;
    let gossip = &fields["discovery"]["gossip"];
    let shared = gossip["key_file"].as_str().context("no gossip key")?;
    fs::copy(shared, &keys)?;
    let at = |host: u8, port: u16| Value::from(SocketAddr::from((address(host), port)).to_string());
    for (kind, port) in [("client", CLIENT_PORT), ("peer", PEER_PORT)] {
        fields["listen"][kind] = at(host, port);
        fields["advertise"][kind] = at(host, port);
    }
    fields["listen"]["health"] = at(host, HEALTH_PORT);
    let others = || (1..=shape.count).filter(|other| *other != host);
    fields["seeds"] = others().map(|other| at(other, PEER_PORT)).collect();
    // Datagrams to the stranger are those that it sends again.
    let gossip_seeds = others().chain([STRANGER]);
    let gossip = &mut fields["discovery"]["gossip"];
    gossip["listen"] = at(host, GOSSIP_PORT);
    gossip["seeds"] = gossip_seeds.map(|other| at(other, GOSSIP_PORT)).collect();
    gossip["key_file"] = Value::from(keys.to_str().context("path")?);
    if let Some(heartbeat_ms) = shape.heartbeat_ms {
        let raft = &mut fields["raft"];
        raft["heartbeat_ms"] = Value::from(heartbeat_ms);
        raft["election_min_ms"] = Value::from(3 * heartbeat_ms);
        raft["election_max_ms"] = Value::from(4 * heartbeat_ms);
    }
    fs::write(&config, serde_yaml::to_string(&fields)?)?;
    let log = folder.join(format!("{name}.log"));
    let output = OpenOptions::new().create(true).append(true).open(&log)?;
    let process = Command::new("ip")
        .args(["netns", "exec", &namespace(host)])
        .arg(program)
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true)
        .spawn()
        .context("cannot run ip")?;
    Ok(Node { name, log, process })
}
