//! The node processes. `lograft dev` of the old version creates the cluster with its configurations
//! and certificates; then each node is run here, so that it can be restarted with either program.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, ClientConfig, NodeId, TlsFiles};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::cli::{Cli, Version, link_tls_dir};
use crate::proc;

/// Number of nodes: one more than the replication factor, so that one can be decommissioned.
const NODES_COUNT: usize = 4;
/// Bound of a start, of a stop and of the wait for health.
const STEP_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// Paths of the programs.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) old_node: PathBuf,
    pub(super) old_cli: PathBuf,
    pub(super) new_node: PathBuf,
    pub(super) new_cli: PathBuf,
}

impl Programs {
    fn node(&self, version: Version) -> &Path {
        match version {
            Version::Old => &self.old_node,
            Version::New => &self.new_node,
        }
    }

    fn cli(&self, version: Version) -> &Path {
        match version {
            Version::Old => &self.old_cli,
            Version::New => &self.new_cli,
        }
    }
}

/// A node and its process.
pub(super) struct Node {
    pub(super) name: String,
    config: PathBuf,
    pub(super) data_dir: PathBuf,
    /// Client address.
    pub(super) client: String,
    health: SocketAddr,
    log: PathBuf,
    process: Option<Child>,
    /// Version that it runs, or ran last.
    pub(super) version: Version,
}

impl Node {
    fn load(folder: &Path, name: &str) -> Result<Self> {
        let config = folder.join("data").join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(&config)
            .with_context(|| format!("cannot read {}", config.display()))?;
        let fields: serde_yaml::Value = serde_yaml::from_str(&text)?;
        let listen = |port: &str| fields["listen"][port].as_str().context("no address");
        Ok(Self {
            name: name.to_owned(),
            data_dir: fields["data_dir"].as_str().context("no data_dir")?.into(),
            client: listen("client")?.to_owned(),
            health: listen("health")?.parse()?,
            log: folder.join(format!("{name}.log")),
            config,
            process: None,
            version: Version::Old,
        })
    }

    fn spawn(&mut self, program: &Path, version: Version, log: &Path) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let process = Command::new(program)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.process = Some(process);
        self.version = version;
        Ok(())
    }

    /// Fails if the node has ended although nobody stopped it.
    fn check_running(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if let Some(status) = process.try_wait()? {
            let (name, log) = (&self.name, self.log.display());
            bail!(
                "{name} ({}) ended by itself: {status}; see {log}",
                self.version.name()
            );
        }
        Ok(())
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.check_running()?;
            let reply = timeout(REPLY_TIMEOUT, readiness(self.health)).await;
            let reply = reply.ok().and_then(Result::ok).unwrap_or_default();
            if reply.split(' ').nth(1) == Some("200") {
                return Ok(());
            }
            ensure!(
                started.elapsed() < STEP_TIMEOUT,
                "{} ({}) is not ready after {STEP_TIMEOUT:?}: {reply}",
                self.name,
                self.version.name()
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits for the end of the process.
    async fn wait_end(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the node is not running")?;
        let ended = timeout(STEP_TIMEOUT, process.wait()).await;
        Ok(ended.with_context(|| format!("{} did not end in {STEP_TIMEOUT:?}", self.name))??)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.process.as_ref().and_then(Child::id);
        proc::signal(pid.context("the node is not running")?, signal)
    }
}

/// The reply of `/readyz`.
async fn readiness(health: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(health).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {health}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.take(4096).read_to_end(&mut reply).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// The cluster: its nodes, and a client of this tree.
pub(super) struct Cluster {
    pub(super) folder: PathBuf,
    programs: Programs,
    pub(super) nodes: Vec<Node>,
    pub(super) client: Client,
}

impl Cluster {
    /// Creates a cluster with the old version and starts its nodes.
    pub(super) async fn create(folder: &Path, programs: &Programs) -> Result<Self> {
        create_by_dev(folder, &programs.old_cli).await?;
        link_tls_dir(&folder.join("contexts.yaml"), &folder.join("tls"))?;
        let nodes = (1..=NODES_COUNT).map(|number| Node::load(folder, &format!("node-{number}")));
        let mut nodes = nodes.collect::<Result<Vec<_>>>()?;
        for node in &mut nodes {
            let log = node.log.clone();
            node.spawn(&programs.old_node, Version::Old, &log)?;
        }
        for node in &mut nodes {
            node.wait_ready().await?;
        }
        let endpoints = nodes.iter().map(|node| node.client.clone());
        let config = ClientConfig::new(endpoints, tls_files(folder));
        let client = Client::connect(config).await?;
        let mut cluster = Self {
            folder: folder.to_owned(),
            programs: programs.clone(),
            nodes,
            client,
        };
        cluster.wait_healthy().await?;
        Ok(cluster)
    }

    /// A command line that calls all nodes.
    pub(super) fn cli(&self, version: Version) -> Cli {
        Cli {
            version,
            program: self.programs.cli(version).to_owned(),
            tls_dir: self.folder.join("tls"),
            endpoints: self.nodes.iter().map(|node| node.client.clone()).collect(),
            endpoints_only: false,
        }
    }

    /// A command line that calls one node only.
    pub(super) fn cli_at(&self, version: Version, at: usize) -> Cli {
        Cli {
            endpoints: vec![self.nodes[at].client.clone()],
            endpoints_only: true,
            ..self.cli(version)
        }
    }

    /// A client of this tree that calls one node only.
    pub(super) async fn client_at(&self, at: usize) -> Result<Client> {
        let endpoints = [self.nodes[at].client.clone()];
        let config = ClientConfig {
            endpoints_only: true,
            ..ClientConfig::new(endpoints, tls_files(&self.folder))
        };
        Ok(Client::connect(config).await?)
    }

    /// Fails if a node has ended by itself.
    pub(super) fn check_running(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::check_running)
    }

    /// Waits until the cluster reports that it is healthy.
    pub(super) async fn wait_healthy(&mut self) -> Result<()> {
        let waited = self.cli(Version::New).wait_healthy().await;
        self.check_running()?;
        waited
    }

    /// The status as JSON of the new version.
    pub(super) async fn status(&self) -> Result<Value> {
        self.cli(Version::New).status().await
    }

    /// ID of a node.
    pub(super) async fn node_id(&self, at: usize) -> Result<u64> {
        let status = self.status().await?;
        let nodes = status["nodes"].as_array().context("no nodes in status")?;
        let name = self.nodes[at].name.as_str();
        let is_own = |node: &&Value| node["name"] == name && node["state"] != "removed";
        let own = nodes.iter().filter(is_own);
        let id = own.filter_map(|node| node["node_id"].as_u64()).max();
        id.with_context(|| format!("{name} is not in status"))
    }

    /// Starts a stopped node and waits until it is ready and the cluster healthy.
    pub(super) async fn start(&mut self, at: usize, version: Version) -> Result<()> {
        let program = self.programs.node(version).to_owned();
        let node = &mut self.nodes[at];
        let log = node.log.clone();
        node.spawn(&program, version, &log)?;
        node.wait_ready().await?;
        self.wait_healthy().await
    }

    /// Stops a node in order: its leaderships are transferred first.
    pub(super) async fn stop(&mut self, at: usize) -> Result<()> {
        let id = NodeId(self.node_id(at).await?);
        let started = Instant::now();
        loop {
            let reply = self.client.admin().prepare_stop(id).await?;
            if reply.ready {
                break;
            }
            let name = &self.nodes[at].name;
            ensure!(
                started.elapsed() < STEP_TIMEOUT,
                "{name} is not prepared for its stop: {:?}",
                reply.waits_for
            );
            sleep(POLL_INTERVAL).await;
        }
        self.terminate(at).await
    }

    /// Stops a node with SIGTERM. Fails if it does not exit with 0.
    pub(super) async fn terminate(&mut self, at: usize) -> Result<()> {
        self.check_running()?;
        let node = &mut self.nodes[at];
        node.signal(Signal::TERM)?;
        let status = node.wait_end().await?;
        ensure!(status.success(), "{} stopped with {status}", node.name);
        Ok(())
    }

    /// Replaces the program of a node.
    pub(super) async fn roll(&mut self, at: usize, version: Version) -> Result<()> {
        self.stop(at).await?;
        self.start(at, version).await
    }

    /// Kills a node with SIGKILL and starts it again.
    pub(super) async fn kill(&mut self, at: usize) -> Result<()> {
        self.check_running()?;
        let node = &mut self.nodes[at];
        node.signal(Signal::KILL)?;
        node.wait_end().await?;
        let version = node.version;
        self.start(at, version).await
    }

    /// Starts a stopped node with a program that must refuse to run, and returns what it said.
    pub(super) async fn start_refused(&mut self, at: usize, version: Version) -> Result<String> {
        let program = self.programs.node(version).to_owned();
        let log = self.folder.join("refused.log");
        let node = &mut self.nodes[at];
        node.spawn(&program, version, &log)?;
        let status = node.wait_end().await?;
        ensure!(!status.success(), "{} ended with {status}", node.name);
        let text = std::fs::read_to_string(&log)?;
        ensure!(!text.contains("panicked"), "it panicked: {text}");
        let mut lines = text.lines().map(str::trim).rev();
        let last = lines.find(|line| !line.is_empty()).unwrap_or_default();
        Ok(format!("{status}: {last}"))
    }

    /// Looks for panics and fatal errors in the logs of the nodes, and stops them.
    pub(super) async fn finish(mut self) -> Result<()> {
        self.check_running()?;
        for node in &self.nodes {
            let text = std::fs::read_to_string(&node.log)?;
            let is_bad = |line: &&str| {
                // The last is the text of versions before 0.2.0.
                let words = ["panicked at", "node failed", "fatal error", "cannot go on"];
                words.iter().any(|word| line.contains(word))
            };
            if let Some(line) = text.lines().find(is_bad) {
                bail!("log of {}: {line}", node.name);
            }
        }
        for node in &mut self.nodes {
            node.signal(Signal::TERM)?;
        }
        for node in &mut self.nodes {
            node.wait_end().await?;
        }
        Ok(())
    }
}

fn tls_files(folder: &Path) -> TlsFiles {
    let tls = folder.join("tls");
    TlsFiles::new(tls.join("ca.crt"), tls.join("tls.crt"), tls.join("tls.key"))
}

/// Runs `lograft dev` until the cluster is healthy, and stops it.
async fn create_by_dev(folder: &Path, program: &Path) -> Result<()> {
    let log = File::create(folder.join("dev.log"))?;
    let contexts = folder.join("contexts.yaml");
    let command = |args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env("LOGRAFT_CONFIG", &contexts);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    };
    let count = NODES_COUNT.to_string();
    let mut dev = command(&["dev", "--base-port", "0", "--nodes", &count, "--data-dir"])
        .arg(folder.join("data"))
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let started = Instant::now();
    while !command(&["cluster", "status"])
        .output()
        .await?
        .status
        .success()
    {
        let log = folder.join("dev.log");
        let ended = dev.try_wait()?;
        ensure!(ended.is_none(), "lograft dev ended: see {}", log.display());
        ensure!(
            started.elapsed() < STEP_TIMEOUT,
            "not healthy: see {}",
            log.display()
        );
        sleep(POLL_INTERVAL).await;
    }
    proc::signal(dev.id().context("lograft dev ended")?, Signal::INT)?;
    timeout(STEP_TIMEOUT, dev.wait())
        .await
        .context("lograft dev did not end")??;
    Ok(())
}
