//! The operator as a process of its own, outside of the cluster.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};

/// The operator's process.
pub(crate) struct Operator {
    program: PathBuf,
    namespaces: String,
    home: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Operator {
    /// Looks after these namespaces; its Lease is in the first.
    pub(crate) fn new(namespaces: &[String]) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("lograft-operator");
        let program = std::env::var_os("LOGRAFT_OPERATOR").map_or(beside, PathBuf::from);
        ensure!(
            program.exists(),
            "{} is not there: run `cargo build -p lograft-operator`, or set LOGRAFT_OPERATOR",
            program.display()
        );
        let home = namespaces.first().cloned().unwrap_or_default();
        Ok(Self {
            program,
            namespaces: namespaces.join(","),
            log: std::env::temp_dir().join(format!("{home}-operator.log")),
            home,
            child: None,
        })
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log);
        let child = Command::new(&self.program)
            .env("LOGRAFT_WATCH_NAMESPACES", &self.namespaces)
            .env("LOGRAFT_NAMESPACE", &self.home)
            .env("LOGRAFT_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stderr(log.context("opening the operator's log")?)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.context("starting the operator")?);
        Ok(())
    }

    /// As a node's loss does it: no time to say anything.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.context("killing the operator")?;
        }
        Ok(())
    }

    /// As kubelet does it; the operator has to end well.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let id = child.id().context("the operator has ended before")?;
        let told = Command::new("kill").arg(id.to_string()).status().await?;
        ensure!(told.success(), "telling the operator to stop");
        let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
        let status = ended.context("the operator does not stop")??;
        ensure!(status.success(), "the operator ended with {status}");
        Ok(())
    }

    /// The namespace of its Lease.
    pub(crate) fn home(&self) -> &str {
        &self.home
    }

    pub(crate) fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}
