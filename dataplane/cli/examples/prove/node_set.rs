//! Node processes that can be stopped and started one by one, with changed configurations.
//!
//! `lograft dev` creates the cluster with its configurations and certificates and is stopped; then
//! each node runs here. A process that ends by itself is started again, as a kubelet does.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, NodeId};
use rustix::process::Signal;
use serde_yaml::Value;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cluster::{Cluster, connect};
use crate::proc;

const POLL_INTERVAL: Duration = Duration::from_millis(100);
const RESTART_INTERVAL: Duration = Duration::from_millis(500);
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// Limits of open files of a node's process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileLimits {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// A node and its process.
pub(crate) struct NodeProcess {
    /// Name, e.g. `node-1`.
    pub(crate) name: String,
    /// Node id in the cluster.
    pub(crate) id: NodeId,
    /// Its data directory.
    pub(crate) data_dir: PathBuf,
    /// Its log file.
    pub(crate) log: PathBuf,
    config: PathBuf,
    run: Option<Run>,
}

/// A node that is kept running.
struct Run {
    state: Arc<Mutex<RunState>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

#[derive(Debug, Default)]
struct RunState {
    pid: Option<u32>,
    /// How the process ended by itself, each time.
    ends: Vec<String>,
}

impl Run {
    fn lock(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The nodes of a cluster.
pub(crate) struct NodeSet {
    program: PathBuf,
    folder: PathBuf,
    limits: Option<FileLimits>,
    /// The nodes, by number.
    pub(crate) nodes: Vec<NodeProcess>,
}

impl NodeSet {
    /// Creates a cluster of three nodes, none of which runs afterwards. `configure` changes the
    /// configuration of each.
    pub(crate) fn create(
        program: &Path,
        folder: &Path,
        limits: Option<FileLimits>,
        configure: impl Fn(&mut Value),
    ) -> Result<Self> {
        let this = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            limits,
            nodes: Vec::new(),
        };
        this.with_nodes(3, configure)
    }

    /// The same with another number of nodes, configured as `lograft dev` does.
    pub(crate) fn of(program: &Path, folder: &Path, count: u32) -> Result<Self> {
        Self::configured(program, folder, count, |_| {})
    }

    /// The same with another number of nodes and without limits of open files.
    pub(crate) fn configured(
        program: &Path,
        folder: &Path,
        count: u32,
        configure: impl Fn(&mut Value),
    ) -> Result<Self> {
        let this = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            limits: None,
            nodes: Vec::new(),
        };
        this.with_nodes(count, configure)
    }

    fn with_nodes(self, count: u32, configure: impl Fn(&mut Value)) -> Result<Self> {
        let folder = &self.folder;
        Cluster::start(&self.program, folder, count)?.stop()?;
        let mut nodes = Vec::new();
        for number in 1..=u64::from(count) {
            let name = format!("node-{number}");
            let data = folder.join("data");
            let config = data.join(format!("{name}.yaml"));
            let mut fields: Value = serde_yaml::from_str(&fs::read_to_string(&config)?)?;
            configure(&mut fields);
            fs::write(&config, serde_yaml::to_string(&fields)?)?;
            nodes.push(NodeProcess {
                id: NodeId(number),
                data_dir: data.join(&name),
                log: folder.join(format!("{name}.log")),
                config,
                name,
                run: None,
            });
        }
        Ok(Self { nodes, ..self })
    }

    /// Starts a node.
    pub(crate) fn start(&mut self, at: usize) {
        let node = &self.nodes[at];
        let command = Launch {
            program: self.program.clone(),
            config: node.config.clone(),
            log: node.log.clone(),
            limits: self.limits,
        };
        let state = Arc::new(Mutex::new(RunState::default()));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(keep_running(command, Arc::clone(&state), stopped));
        self.nodes[at].run = Some(Run { state, stop, task });
    }

    /// Starts all nodes.
    pub(crate) fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|at| self.start(at));
    }

    /// Stops a node with SIGTERM and waits for its end. Returns how often it has ended by itself.
    pub(crate) async fn stop(&mut self, at: usize) -> Result<usize> {
        let run = self.nodes[at].run.take().context("the node is stopped")?;
        run.stop.send_replace(true);
        let ends = run.lock().ends.len();
        run.task.await??;
        Ok(ends)
    }

    /// Stops all nodes.
    pub(crate) async fn stop_all(&mut self) -> Result<()> {
        for at in 0..self.nodes.len() {
            if self.nodes[at].run.is_some() {
                self.stop(at).await?;
            }
        }
        Ok(())
    }

    /// How the process of a node has ended by itself since it was started, or since the last call.
    pub(crate) fn take_ends(&self, at: usize) -> Vec<String> {
        let run = self.nodes[at].run.as_ref();
        run.map(|run| std::mem::take(&mut run.lock().ends))
            .unwrap_or_default()
    }

    /// Whether a node was started and not stopped.
    pub(crate) fn is_started(&self, at: usize) -> bool {
        self.nodes[at].run.is_some()
    }

    /// Process id of a node that runs.
    pub(crate) fn pid(&self, at: usize) -> Result<u32> {
        let run = self.nodes[at].run.as_ref();
        let pid = run.and_then(|run| run.lock().pid);
        pid.with_context(|| format!("{} does not run", self.nodes[at].name))
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a CLI command and returns whether it succeeded, and its text.
    pub(crate) async fn cli(&self, args: &[&str]) -> Result<(bool, String)> {
        let (code, text) = self.cli_code(args).await?;
        Ok((code == Some(0), text))
    }

    /// Runs a CLI command and returns its exit code and its text.
    pub(crate) async fn cli_code(&self, args: &[&str]) -> Result<(Option<i32>, String)> {
        let contexts = self.folder.join("contexts.yaml");
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.env("LOGRAFT_CONFIG", contexts).output().await?;
        let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        Ok((output.status.code(), text.concat()))
    }

    /// Whether `lograft cluster status` says that the cluster is healthy, and its text.
    pub(crate) async fn status(&self) -> Result<(bool, String)> {
        self.cli(&["cluster", "status"]).await
    }

    /// Waits until the cluster is healthy, and returns how long that took.
    pub(crate) async fn wait_healthy(&self, timeout: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let (is_healthy, text) = self.status().await?;
            if is_healthy {
                return Ok(started.elapsed());
            }
            ensure!(
                started.elapsed() < timeout,
                "not healthy after {timeout:?}: {text}"
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Connects a client.
    pub(crate) async fn client(&self) -> Result<Client> {
        connect(&self.folder).await
    }
}

/// How to start a node.
struct Launch {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    limits: Option<FileLimits>,
}

impl Launch {
    fn spawn(&self) -> Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = match self.limits {
            None => Command::new(&self.program),
            Some(FileLimits { soft, hard }) => {
                let script =
                    format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(script).arg(&self.program);
                shell
            }
        };
        command
            .args(["node", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))
    }
}

/// Runs a node until it is stopped, and starts it again when it ends by itself.
async fn keep_running(
    launch: Launch,
    state: Arc<Mutex<RunState>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    while !*stopped.borrow() {
        let mut child = launch.spawn()?;
        lock().pid = child.id();
        // Without the guard of the channel, which must not be held across an await.
        let stop = async { drop(stopped.wait_for(|is_stopped| *is_stopped).await) };
        tokio::select! {
            status = child.wait() => {
                let mut state = lock();
                state.pid = None;
                state.ends.push(status?.to_string());
            }
            () = stop => return end(&mut child).await,
        }
        sleep(RESTART_INTERVAL).await;
    }
    Ok(())
}

/// Ends a process with SIGTERM.
async fn end(child: &mut Child) -> Result<()> {
    let Some(pid) = child.id() else { return Ok(()) };
    proc::signal(pid, Signal::TERM)?;
    match tokio::time::timeout(STOP_TIMEOUT, child.wait()).await {
        Ok(status) => {
            status?;
            Ok(())
        }
        Err(_) => bail!("process {pid} did not end within {STOP_TIMEOUT:?}"),
    }
}
