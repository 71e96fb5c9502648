//! The Lograft cluster under test: `lograft dev` and its node processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, ClientConfig, TlsFiles};
use rustix::process::Signal;
use serde::Deserialize;

use crate::proc;

const READY_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Options of all commands: the program under test and its data folder.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProveArgs {
    /// Program under test [default: lograft in the parent of this program's folder]
    #[arg(long, global = true)]
    lograft: Option<PathBuf>,
    /// Data folder on a real disk; its content is deleted before and after each run
    #[arg(long, global = true, default_value = "/var/tmp/lograft-prove")]
    pub(crate) work_dir: PathBuf,
}

impl ProveArgs {
    /// Path of the program under test.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        let default = || {
            let own = std::env::current_exe()?;
            let folder = own
                .parent()
                .and_then(Path::parent)
                .context("no parent folder")?;
            Ok::<_, anyhow::Error>(folder.join("lograft"))
        };
        let program = self.lograft.clone().map_or_else(default, Ok)?;
        ensure!(
            program.exists(),
            "{} not found: run cargo build --release",
            program.display()
        );
        Ok(program)
    }

    /// Creates an empty folder with this name.
    pub(crate) fn empty_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work_dir.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }
}

/// A running `lograft dev`.
#[derive(Debug)]
pub(crate) struct Cluster {
    program: PathBuf,
    folder: PathBuf,
    dev: Child,
}

/// The process of a node.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Node {
    /// Name, e.g. `node-1`.
    pub(crate) name: String,
    /// Process id.
    pub(crate) pid: u32,
    /// Client address `host:port`.
    pub(crate) client: String,
}

#[derive(Debug, Deserialize)]
struct RunFile {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Contexts {
    contexts: std::collections::BTreeMap<String, DevContext>,
}

#[derive(Debug, Deserialize)]
struct DevContext {
    endpoints: Vec<String>,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Cluster {
    /// Starts a cluster with `nodes` nodes in `folder` and waits until it is healthy.
    pub(crate) fn start(program: &Path, folder: &Path, nodes: u32) -> Result<Self> {
        let log = File::create(folder.join("dev.log"))?;
        let nodes = nodes.to_string();
        let dev = Command::new(program)
            .args(["dev", "--base-port", "0", "--nodes", &nodes, "--data-dir"])
            .arg(folder.join("data"))
            .env("LOGRAFT_CONFIG", folder.join("contexts.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start lograft dev")?;
        let mut cluster = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            dev,
        };
        cluster.wait_healthy(READY_TIMEOUT)?;
        Ok(cluster)
    }

    /// Runs a CLI command against the cluster and returns its standard output.
    pub(crate) fn cli(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "lograft {}: {error}",
            args.join(" ")
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A CLI command against the cluster.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("LOGRAFT_CONFIG", self.folder.join("contexts.yaml"));
        command
    }

    /// Waits until `lograft cluster status` reports a healthy cluster and returns the time that
    /// took.
    pub(crate) fn wait_healthy(&mut self, timeout: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let status = self.command(&["cluster", "status"]).output()?;
            if status.status.success() {
                return Ok(started.elapsed());
            }
            if let Some(end) = self.dev.try_wait()? {
                bail!(
                    "lograft dev ended: {end}; see {}",
                    self.folder.join("dev.log").display()
                );
            }
            let text = String::from_utf8_lossy(&status.stdout).into_owned();
            let error = String::from_utf8_lossy(&status.stderr).into_owned();
            ensure!(
                started.elapsed() < timeout,
                "not healthy after {timeout:?}: {text}{error}"
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The running node processes.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>> {
        let path = self.folder.join("data/run.yaml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let run: RunFile = serde_yaml::from_str(&text)?;
        Ok(run.nodes)
    }

    /// Process ids of the nodes.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        Ok(self.nodes()?.iter().map(|node| node.pid).collect())
    }

    /// Data folder of a node: records and raft state.
    pub(crate) fn node_folder(&self, name: &str) -> PathBuf {
        self.folder.join("data").join(name)
    }

    /// Connects a new client.
    pub(crate) async fn client(&self) -> Result<Client> {
        connect(&self.folder).await
    }

    /// Stops the cluster with SIGINT.
    pub(crate) fn stop(mut self) -> Result<()> {
        proc::signal(self.dev.id(), Signal::INT)?;
        self.dev.wait()?;
        Ok(())
    }
}

/// Connects a new client to the cluster in a folder.
pub(crate) async fn connect(folder: &Path) -> Result<Client> {
    Ok(Client::connect(client_config(folder)?).await?)
}

/// Connects a new client to one node of the cluster in a folder. The node forwards to the others.
pub(crate) async fn connect_to(folder: &Path, at: usize) -> Result<Client> {
    let config = client_config(folder)?;
    let endpoints = config.endpoints.get(at).cloned();
    let config = ClientConfig {
        endpoints: vec![endpoints.context("no such node")?],
        endpoints_only: true,
        ..config
    };
    Ok(Client::connect(config).await?)
}

/// Configuration of a client of the cluster in a folder.
pub(crate) fn client_config(folder: &Path) -> Result<ClientConfig> {
    let context = dev_context(folder)?;
    let tls = TlsFiles::new(&context.ca, &context.cert, &context.key);
    Ok(ClientConfig::new(context.endpoints, tls))
}

/// The certificate of the CA, and the certificate and the key of a client of the cluster in a
/// folder.
pub(crate) fn client_files(folder: &Path) -> Result<[PathBuf; 3]> {
    let context = dev_context(folder)?;
    Ok([context.ca, context.cert, context.key])
}

fn dev_context(folder: &Path) -> Result<DevContext> {
    let text = fs::read_to_string(folder.join("contexts.yaml"))?;
    let mut contexts: Contexts = serde_yaml::from_str(&text)?;
    let context = contexts.contexts.remove("dev");
    context.context("context dev not found")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Ok(None) = self.dev.try_wait() {
            // The nodes stop when `lograft dev` ends.
            drop(self.dev.kill());
            drop(self.dev.wait());
        }
    }
}
