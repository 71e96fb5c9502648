//! Command lines of both versions, each call bounded in time.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// Bound of one command.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(2);

/// One of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Old,
    New,
}

impl Version {
    pub(super) const BOTH: [Self; 2] = [Self::Old, Self::New];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

/// The command line of one version, connected to some nodes.
#[derive(Clone, Debug)]
pub(super) struct Cli {
    pub(super) version: Version,
    pub(super) program: PathBuf,
    /// Directory with `ca.crt`, `tls.crt` and `tls.key`.
    pub(super) tls_dir: PathBuf,
    /// Client addresses.
    pub(super) endpoints: Vec<String>,
    /// Whether only these nodes are called: they forward to the others.
    pub(super) endpoints_only: bool,
}

impl Cli {
    /// A command with the connection's options.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--at", &self.endpoints.join(","), "--tls-dir"]);
        command.arg(&self.tls_dir);
        if self.endpoints_only {
            command.arg("--endpoints-only");
        }
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command and returns its standard output. Fails with its standard error.
    pub(super) async fn run(&self, args: &[&str]) -> Result<String> {
        let (is_success, out, error) = self.output(args).await?;
        ensure!(is_success, "{}: {error}{out}", self.label(args));
        Ok(out)
    }

    /// Runs a command that may be refused for this reason. Returns whether it succeeded.
    pub(super) async fn run_unless(&self, reason: &str, args: &[&str]) -> Result<bool> {
        let (is_success, out, error) = self.output(args).await?;
        let is_expected = is_success || error.contains(reason);
        ensure!(is_expected, "{}: {error}{out}", self.label(args));
        Ok(is_success)
    }

    /// Runs a command that must fail.
    pub(super) async fn run_refused(&self, args: &[&str]) -> Result<String> {
        let (is_success, _, error) = self.output(args).await?;
        ensure!(!is_success, "{} succeeded, but must fail", self.label(args));
        Ok(error)
    }

    /// Runs a command that prints JSON.
    pub(super) async fn json(&self, args: &[&str]) -> Result<Value> {
        let out = self.run(args).await?;
        serde_json::from_str(&out).with_context(|| format!("{}: no JSON", self.label(args)))
    }

    /// Waits until the cluster is healthy.
    pub(super) async fn wait_healthy(&self) -> Result<()> {
        let args = ["cluster", "status", "--wait", "90s"];
        self.run(&args).await.map(drop)
    }

    /// The status of the cluster, also if it is not healthy: the command fails then, and prints it.
    pub(super) async fn status(&self) -> Result<Value> {
        let args = ["cluster", "status", "--json"];
        let (_, out, error) = self.output(&args).await?;
        serde_json::from_str(&out).with_context(|| format!("{}: {error}", self.label(&args)))
    }

    /// Whether the help of a command has this text: whether this version has a feature.
    pub(super) async fn help_has(&self, args: &[&str], text: &str) -> Result<bool> {
        let (_, out, _) = self.output(&[args, &["--help"]].concat()).await?;
        Ok(out.contains(text))
    }

    async fn output(&self, args: &[&str]) -> Result<(bool, String, String)> {
        let run = self.command(args).output();
        let Ok(output) = timeout(COMMAND_TIMEOUT, run).await else {
            bail!(
                "{} did not end within {COMMAND_TIMEOUT:?}",
                self.label(args)
            );
        };
        let output = output?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        Ok((output.status.success(), out, error))
    }

    fn label(&self, args: &[&str]) -> String {
        let (version, at) = (self.version.name(), self.endpoints.join(","));
        format!("{version} lograft {} at {at}", args.join(" "))
    }
}

/// Creates the directory for `--tls-dir` from a context written by `lograft dev`.
pub(super) fn link_tls_dir(contexts: &Path, dir: &Path) -> Result<()> {
    let text = std::fs::read_to_string(contexts)?;
    let contexts: serde_yaml::Value = serde_yaml::from_str(&text)?;
    let context = &contexts["contexts"]["dev"];
    std::fs::create_dir_all(dir)?;
    for (field, name) in [("ca", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key")] {
        let target = context[field].as_str().context("incomplete context dev")?;
        std::os::unix::fs::symlink(target, dir.join(name))?;
    }
    Ok(())
}
