//! The operator as a separate process, outside the cluster.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::nodes::Nodes;
use crate::sandbox::await_condition;

/// The operator's process.
pub(crate) struct Operator {
    program: PathBuf,
    namespaces: String,
    home: String,
    log: PathBuf,
    /// Version of the nodes of clusters that name none.
    node_version: Option<String>,
    /// Whether it moves existing clusters to that version.
    upgrades_clusters: bool,
    /// Kubeconfig of its API server; none: from the environment.
    kubeconfig: Option<PathBuf>,
    /// Port of its metrics.
    port: u16,
    child: Option<Child>,
    /// Stand-in for the nodes of all clusters.
    nodes: Nodes,
}

impl Operator {
    /// Manages these namespaces; its Lease is in the first.
    pub(crate) fn new(
        namespaces: &[String],
        kubeconfig: Option<PathBuf>,
        nodes: Nodes,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let beside = std::env::current_exe()?.with_file_name("lograft-operator");
        let program = std::env::var_os("LOGRAFT_OPERATOR").map_or(beside, PathBuf::from);
        ensure!(
            program.exists(),
            "{} not found: run `cargo build -p lograft-operator`, or set LOGRAFT_OPERATOR",
            program.display()
        );
        let home = namespaces.first().cloned().unwrap_or_default();
        Ok(Self {
            program,
            namespaces: namespaces.join(","),
            log: std::env::temp_dir().join(format!("{home}-operator.log")),
            home,
            node_version: None,
            upgrades_clusters: false,
            kubeconfig,
            port,
            child: None,
            nodes,
        })
    }

    /// Another release that watches this namespace; its own namespace is `home`.
    pub(crate) fn rival(&self, namespace: &str, home: &str, version: &str) -> anyhow::Result<Self> {
        Ok(Self {
            program: self.program.clone(),
            namespaces: namespace.to_owned(),
            log: std::env::temp_dir().join(format!("{home}-operator.log")),
            home: home.to_owned(),
            node_version: Some(version.to_owned()),
            upgrades_clusters: false,
            kubeconfig: self.kubeconfig.clone(),
            port: free_port()?,
            child: None,
            nodes: self.nodes.clone(),
        })
    }

    /// Sets the default version of the nodes for the next start; none: its own version.
    pub(crate) fn set_node_version(&mut self, version: Option<&str>, upgrades_clusters: bool) {
        self.node_version = version.map(str::to_owned);
        self.upgrades_clusters = upgrades_clusters;
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log);
        let child = Command::new(&self.program)
            .env("LOGRAFT_WATCH_NAMESPACES", &self.namespaces)
            .env("LOGRAFT_NAMESPACE", &self.home)
            .env("LOGRAFT_LISTEN", format!("127.0.0.1:{}", self.port))
            .arg("--dial")
            .arg(self.nodes.address().to_string())
            .envs(
                self.node_version
                    .iter()
                    .map(|v| ("LOGRAFT_NODE_VERSION", v)),
            )
            .env(
                "LOGRAFT_UPGRADE_CLUSTERS",
                self.upgrades_clusters.to_string(),
            )
            .envs(self.kubeconfig.iter().map(|path| ("KUBECONFIG", path)))
            .stdin(Stdio::null())
            .stderr(log.context("cannot open the operator's log")?)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.context("cannot start the operator")?);
        Ok(())
    }

    /// Kills the process without a grace period, like the loss of a host.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.context("cannot kill the operator")?;
        }
        Ok(())
    }

    /// Stops the process with SIGTERM, like kubelet; it must exit with success. One that has just
    /// been started gets the signal once it can take it: until then it ends by any signal, as each
    /// program does.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if self.child.is_none() {
            return Ok(());
        }
        await_condition("the operator to listen", || async {
            Ok(self.connect().await.ok().map(drop))
        })
        .await?;
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let id = child.id().context("the operator has already exited")?;
        let sent = Command::new("kill").arg(id.to_string()).status().await?;
        ensure!(sent.success(), "cannot send SIGTERM to the operator");
        let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
        let status = ended.context("the operator does not exit")??;
        ensure!(status.success(), "the operator exited with {status}");
        Ok(())
    }

    /// The namespace of its Lease.
    pub(crate) fn home(&self) -> &str {
        &self.home
    }

    /// Its metrics in the Prometheus text format.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        self.get("/metrics").await
    }

    /// The answer of its health port, with its head.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = self.connect().await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// A connection to its health port.
    pub(crate) async fn connect(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        stream.context("cannot connect to the operator's health port")
    }

    /// The stand-in for the nodes of clusters.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Watches one more namespace from its next start on.
    pub(crate) fn watch(&mut self, namespace: &str) {
        self.namespaces = [&self.namespaces, namespace].join(",");
    }

    /// Resident memory, bytes.
    pub(crate) fn memory_bytes(&self) -> anyhow::Result<u64> {
        self.memory_field("VmRSS:")
    }

    /// The most memory that it has had, bytes.
    pub(crate) fn peak_memory_bytes(&self) -> anyhow::Result<u64> {
        self.memory_field("VmHWM:")
    }

    fn memory_field(&self, name: &str) -> anyhow::Result<u64> {
        let id = self.child.as_ref().and_then(Child::id);
        let id = id.context("the operator is not running")?;
        let text = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no such field")?.parse::<u64>()? * 1024)
    }

    pub(crate) fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

fn free_port() -> anyhow::Result<u16> {
    let free = std::net::TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(free.local_addr()?.port())
}
