//! A Lograft cluster under test: `lograft dev` and its nodes, real processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, ClientConfig, TlsFiles};
use rustix::process::Signal;
use serde::Deserialize;

use crate::proc;

const READY_WAIT: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which program, and where it may put data.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// The program under test [default: lograft beside this program's folder]
    #[arg(long, global = true)]
    lograft: Option<PathBuf>,
    /// Where data goes; a folder on a real disk, emptied before and removed after
    #[arg(long, global = true, default_value = "/var/tmp/lograft-prove")]
    pub(crate) work_dir: PathBuf,
}

impl Place {
    /// The program under test.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        let beside = || {
            let own = std::env::current_exe()?;
            let folder = own
                .parent()
                .and_then(Path::parent)
                .context("no parent folder")?;
            Ok::<_, anyhow::Error>(folder.join("lograft"))
        };
        let program = self.lograft.clone().map_or_else(beside, Ok)?;
        ensure!(
            program.exists(),
            "{} is not built: cargo build --release",
            program.display()
        );
        Ok(program)
    }

    /// An empty folder of this name.
    pub(crate) fn empty(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work_dir.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
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

/// One node's process.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Node {
    /// Its name, `node-1`.
    pub(crate) name: String,
    /// Its process.
    pub(crate) pid: u32,
    /// `host:port` for clients.
    pub(crate) client: String,
}

#[derive(Debug, Deserialize)]
struct RunFile {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Contexts {
    contexts: std::collections::BTreeMap<String, Reach>,
}

#[derive(Debug, Deserialize)]
struct Reach {
    endpoints: Vec<String>,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Cluster {
    /// Starts a cluster with `nodes` nodes in `folder`; returns once it says that it is healthy.
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
            .context("start lograft dev")?;
        let mut cluster = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            dev,
        };
        cluster.wait_healthy(READY_WAIT)?;
        Ok(cluster)
    }

    /// Runs a command of the CLI against the cluster; its standard output.
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

    /// A command of the CLI against the cluster, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("LOGRAFT_CONFIG", self.folder.join("contexts.yaml"));
        command
    }

    /// Waits until `lograft cluster status` says that all is well; how long that took.
    pub(crate) fn wait_healthy(&mut self, at_most: Duration) -> Result<Duration> {
        let begin = Instant::now();
        loop {
            let status = self.command(&["cluster", "status"]).output()?;
            if status.status.success() {
                return Ok(begin.elapsed());
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
                begin.elapsed() < at_most,
                "not healthy in {at_most:?}: {text}{error}"
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The nodes' processes as they are now.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>> {
        let path = self.folder.join("data/run.yaml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let run: RunFile = serde_yaml::from_str(&text)?;
        Ok(run.nodes)
    }

    /// The nodes' process ids.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        Ok(self.nodes()?.iter().map(|node| node.pid).collect())
    }

    /// Where a node keeps its records and raft state.
    pub(crate) fn node_folder(&self, name: &str) -> PathBuf {
        self.folder.join("data").join(name)
    }

    /// A new client.
    pub(crate) async fn client(&self) -> Result<Client> {
        let text = fs::read_to_string(self.folder.join("contexts.yaml"))?;
        let contexts: Contexts = serde_yaml::from_str(&text)?;
        let reach = contexts.contexts.get("dev").context("no context \"dev\"")?;
        let tls = TlsFiles::new(&reach.ca, &reach.cert, &reach.key);
        let config = ClientConfig::new(reach.endpoints.iter().cloned(), tls);
        Ok(Client::connect(config).await?)
    }

    /// Stops it as Ctrl-C would.
    pub(crate) fn stop(mut self) -> Result<()> {
        proc::signal(self.dev.id(), Signal::INT)?;
        self.dev.wait()?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Ok(None) = self.dev.try_wait() {
            // The nodes end with the process that started them.
            drop(self.dev.kill());
            drop(self.dev.wait());
        }
    }
}
