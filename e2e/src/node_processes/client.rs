//! The client of the nodes: `lograft` in a namespace of its own, with the issued certificate. It
//! finds the nodes under the names of their pods, which the nodes themselves cannot look up.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lograft_client::{Admin, ClientConfig, TlsFiles};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{CLIENT, NodeProcesses, in_namespace};
use crate::load::{Soaked, WRITING};
use crate::network::{address, enter};
use crate::sandbox::await_condition;

const CLI_TIMEOUT: Duration = Duration::from_mins(1);
const CLIENT_PORT: u16 = 9400;
/// Puts the file `$0` where names are looked up, in a mount namespace of the process.
const WITH_HOSTS: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";

impl NodeProcesses {
    /// Bootstraps the cluster on the node of the first pod, as the operator does.
    pub(crate) async fn bootstrap(&self, cluster_id: &str) -> anyhow::Result<()> {
        let admin = self.path("admin");
        let [ca, cert, key] = ["ca.crt", "tls.crt", "tls.key"].map(|name| admin.join(name));
        let endpoint = format!("{}:{CLIENT_PORT}", address(self.addresses[0]));
        let config = ClientConfig {
            server_name: Some(self.host_name(0)),
            ..ClientConfig::new([&endpoint], TlsFiles::new(ca, cert, key))
        };
        let cluster_id = cluster_id.to_owned();
        let (done, result) = oneshot::channel();
        std::thread::spawn(move || {
            let work = || {
                enter(CLIENT)?;
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_all().build()?;
                runtime.block_on(Admin::bootstrap(&config, &endpoint, &cluster_id))?;
                Ok(())
            };
            drop(done.send(work()));
        });
        result.await.context("the thread of the client panicked")?
    }

    /// Runs `lograft` with these arguments against all nodes or `only` one. Returns its output.
    pub(crate) async fn run_cli(&self, only: Option<u8>, words: &[&str]) -> anyhow::Result<String> {
        let output = self.output(only, words).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "lograft {}: {}\n{}",
            words.join(" "),
            text(&output.stderr),
            self.last_lines()
        );
        Ok(text(&output.stdout))
    }

    /// The cluster as `lograft cluster status` shows it, healthy or not.
    pub(crate) async fn status(&self) -> anyhow::Result<serde_json::Value> {
        let output = self.output(None, &["cluster", "status", "--json"]).await?;
        let text = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).with_context(|| format!("no status: {text}"))
    }

    /// Starts `lograft bench soak` with these options, and waits until it writes.
    pub(crate) async fn load(&self, options: &[&str]) -> anyhow::Result<LoadProcess> {
        let path = self.path("load.txt");
        let output = File::create(&path)?;
        let words = [&["bench", "soak", "--json"], options].concat();
        let mut command = self.cli(None, &words);
        let child = command.stdout(output.try_clone()?).stderr(output).spawn();
        let child = child.context("cannot start the load")?;
        await_condition("the load to write", || async {
            let text = fs::read_to_string(&path)?;
            ensure!(!text.contains("error:"), "the load failed: {text}");
            Ok(text.contains(WRITING).then_some(()))
        })
        .await?;
        Ok(LoadProcess { child, path })
    }

    async fn output(&self, only: Option<u8>, words: &[&str]) -> anyhow::Result<Output> {
        let output = timeout(CLI_TIMEOUT, self.cli(only, words).output()).await;
        let output = output.with_context(|| format!("lograft {} does not end", words.join(" ")));
        Ok(output??)
    }

    fn cli(&self, only: Option<u8>, words: &[&str]) -> Command {
        let ordinals = only.map_or_else(|| self.ordinals().collect(), |ordinal| vec![ordinal]);
        let endpoints = ordinals.into_iter().map(|ordinal| self.host_name(ordinal));
        let endpoints: Vec<String> = endpoints
            .map(|name| format!("{name}:{CLIENT_PORT}"))
            .collect();
        let mut command = in_namespace(CLIENT, WITH_HOSTS, &self.path("hosts"));
        command
            .arg(&self.programs.cli)
            .args(words)
            .args(only.map(|_| "--endpoints-only"))
            .env("LOGRAFT_ENDPOINTS", endpoints.join(","))
            .env("LOGRAFT_TLS_DIR", self.path("admin"));
        command
    }
}

/// A running load.
pub(crate) struct LoadProcess {
    child: Child,
    path: PathBuf,
}

impl LoadProcess {
    /// Waits for its end. Fails unless every acknowledged record is in the log, once and in order.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Soaked> {
        let ended = timeout(CLI_TIMEOUT, self.child.wait()).await;
        let status = ended.context("the load does not end")??;
        let text = fs::read_to_string(&self.path)?;
        ensure!(status.success(), "the load failed: {text}");
        Soaked::parse(&text)
    }
}
