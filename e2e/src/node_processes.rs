//! The nodes of a LogCluster as processes, without kubelet: each in a network namespace, with the
//! configuration and the certificates that the operator has made, and with a token of their
//! ServiceAccount. They reach the API server through a loopback address of their namespace.
//!
//! Programs: `lograft-node` and `lograft` beside this one, or `LOGRAFT_NODE` and `LOGRAFT_CLI`.

mod api_server;
mod client;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use serde_yaml::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::network::{self, Network, address, namespace, set_address};
use crate::node_log::logged;
use crate::sandbox::{Sandbox, await_condition};
use api_server::{ApiServer, forward};

/// Host number of the client; the node of the pod with ordinal n is on host n + 1.
const CLIENT: u8 = 100;
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const TOKEN_SECONDS: i64 = 3600;
/// Puts the directory `$0` where Kubernetes mounts the token, in a mount namespace of the process.
const WITH_TOKEN: &str = "mount -t tmpfs tmpfs /var/run \
    && mkdir -p /var/run/secrets/kubernetes.io \
    && ln -s \"$0\" /var/run/secrets/kubernetes.io/serviceaccount && exec \"$@\"";

/// Paths of the programs.
#[derive(Clone, Debug)]
struct Programs {
    node: PathBuf,
    cli: PathBuf,
}

impl Programs {
    fn find() -> anyhow::Result<Self> {
        let find = |variable: &str, name: &str| {
            let beside = std::env::current_exe()?.with_file_name(name);
            let program = std::env::var_os(variable).map_or(beside, PathBuf::from);
            ensure!(
                program.exists(),
                "{} not found: run `cargo build -p lograft-node -p lograft`, or set {variable}",
                program.display()
            );
            Ok(program)
        };
        Ok(Self {
            node: find("LOGRAFT_NODE", "lograft-node")?,
            cli: find("LOGRAFT_CLI", "lograft")?,
        })
    }
}

/// The missing requirement, if there is one.
pub(crate) fn lacks_processes() -> Option<String> {
    if std::env::var_os("KUBECONFIG").is_some() {
        return Some("needs an API server of its own: unset KUBECONFIG".to_owned());
    }
    let no_program = || Programs::find().err().map(|error| format!("{error:#}"));
    no_program().or_else(network::lacks_namespaces)
}

/// The nodes; they are stopped when it is dropped.
pub(crate) struct NodeProcesses {
    running: BTreeMap<u8, Child>,
    _forwards: JoinSet<()>,
    /// Port of the API server on the loopback address of each node's namespace.
    api_ports: Vec<u16>,
    /// Number of the address of each node.
    addresses: Vec<u8>,
    programs: Programs,
    namespace: String,
    folder: TempDir,
    /// Dropped last: it removes the namespaces.
    _network: Network,
}

impl NodeProcesses {
    /// Prepares the nodes of the LogCluster `events`, whose objects must exist.
    pub(crate) async fn create(
        sandbox: &Sandbox,
        count: u8,
        kubeconfig: &Path,
    ) -> anyhow::Result<Self> {
        let addresses: Vec<u8> = (1..=count).collect();
        let hosts = [&addresses[..], &[CLIENT]].concat();
        let network = Network::create(&hosts)?;
        let api = ApiServer::read(kubeconfig)?;
        let (mut forwards, mut api_ports) = (JoinSet::new(), Vec::new());
        for host in &addresses {
            let listener = network::listen(*host)?;
            api_ports.push(listener.local_addr()?.port());
            listener.set_nonblocking(true)?;
            forwards.spawn(forward(TcpListener::from_std(listener)?, api.address));
        }
        let folder = tempfile::tempdir().context("cannot create a directory")?;
        let nodes = Self {
            running: BTreeMap::new(),
            _forwards: forwards,
            api_ports,
            addresses,
            programs: Programs::find()?,
            namespace: sandbox.namespace.clone(),
            folder,
            _network: network,
        };
        nodes.write_files(sandbox, &api.ca).await?;
        nodes.write_hosts()?;
        Ok(nodes)
    }

    /// What kubelet would mount.
    async fn write_files(&self, sandbox: &Sandbox, ca: &Path) -> anyhow::Result<()> {
        for (secret, folder) in [("events-node-tls", "tls"), ("events-admin-tls", "admin")] {
            let data = sandbox.api::<Secret>().get(secret).await?.data;
            write_fields(&self.path(folder), data.unwrap_or_default())?;
        }
        let config = sandbox.api::<ConfigMap>().get("events-config").await?;
        for (name, text) in config.data.unwrap_or_default() {
            let pod = name.trim_end_matches(".yaml").to_owned();
            fs::write(self.path(&name), self.config(&pod, &text)?)?;
        }
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let accounts = sandbox.api::<ServiceAccount>();
        let params = PostParams::default();
        let reply = accounts
            .create_token_request("events-node", &params, &request)
            .await?;
        let token = reply.status.context("no token")?.token;
        let folder = self.path("token");
        fs::create_dir(&folder)?;
        fs::write(folder.join("token"), token)?;
        fs::write(folder.join("namespace"), &self.namespace)?;
        fs::copy(ca, folder.join("ca.crt"))?;
        Ok(())
    }

    /// The operator's configuration of a pod, with the paths of this machine. It must have no other
    /// source than the endpoints.
    fn config(&self, pod: &str, text: &str) -> anyhow::Result<String> {
        let mut fields: Value = serde_yaml::from_str(text)?;
        let discovery = &fields["discovery"];
        let has_seeds = fields["seeds"].as_sequence().is_none_or(|s| !s.is_empty());
        let is_alone = !has_seeds && discovery["gossip"].is_null();
        ensure!(
            is_alone && discovery["endpoints"].is_mapping(),
            "other sources than the endpoints: {text}"
        );
        let path = |path: PathBuf| Value::from(path.to_string_lossy().into_owned());
        fields["data_dir"] = path(self.path(pod));
        let tls = self.path("tls");
        for (field, file) in [
            ("cert", format!("{pod}.crt")),
            ("key", format!("{pod}.key")),
            ("ca", "ca.crt".to_owned()),
        ] {
            fields["tls"][field] = path(tls.join(file));
        }
        Ok(serde_yaml::to_string(&fields)?)
    }

    /// The names of the pods, as clients in the cluster would look them up. The nodes do not have
    /// them.
    fn write_hosts(&self) -> anyhow::Result<()> {
        let line = |(ordinal, number): (u8, &u8)| {
            let (address, name) = (address(*number), self.host_name(ordinal));
            format!("{address} {name}\n")
        };
        let lines: String = (0..).zip(&self.addresses).map(line).collect();
        Ok(fs::write(self.path("hosts"), lines)?)
    }

    /// Starts the node of a pod.
    pub(crate) fn start(&mut self, ordinal: u8) -> anyhow::Result<()> {
        let pod = pod(ordinal);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(ordinal))?;
        let port = self.api_ports[usize::from(ordinal)];
        let child = in_namespace(ordinal + 1, WITH_TOKEN, &self.path("token"))
            .arg(&self.programs.node)
            .arg("--config")
            .arg(self.path(&format!("{pod}.yaml")))
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", port.to_string())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let child = child.with_context(|| format!("cannot start the node of {pod}"))?;
        self.running.insert(ordinal, child);
        Ok(())
    }

    /// Stops the node of a pod with SIGTERM, like kubelet; it must exit with success.
    pub(crate) async fn stop(&mut self, ordinal: u8) -> anyhow::Result<()> {
        let mut child = self.running.remove(&ordinal).context("not running")?;
        let id = child.id().context("the node has already exited")?;
        let sent = Command::new("kill").arg(id.to_string()).status().await?;
        ensure!(sent.success(), "cannot send SIGTERM to the node");
        let ended = timeout(STOP_TIMEOUT, child.wait()).await;
        let status = ended.context("the node does not exit")??;
        ensure!(status.success(), "the node exited with {status}");
        Ok(())
    }

    /// Gives a stopped node another address. Clients find it under its name; the other nodes are
    /// not told.
    pub(crate) fn change_address(&mut self, ordinal: u8, number: u8) -> anyhow::Result<()> {
        set_address(ordinal + 1, number)?;
        self.addresses[usize::from(ordinal)] = number;
        self.write_hosts()
    }

    /// The address of each pod, by its name.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let pods = (0..).zip(&self.addresses);
        pods.map(|(ordinal, number)| (pod(ordinal), address(*number).to_string()))
            .collect()
    }

    /// Waits until a node has logged a message, and returns when it did.
    pub(crate) async fn await_logged(
        &self,
        ordinal: u8,
        message: &str,
        about: Option<&str>,
        since: Timestamp,
    ) -> anyhow::Result<Timestamp> {
        let what = format!("{} to log: {message}", pod(ordinal));
        let look = || async { self.logged(ordinal, message, about, since) };
        let found = await_condition(&what, look).await;
        found.with_context(|| self.last_lines())
    }

    /// When a node has logged a message, if it has.
    pub(crate) fn logged(
        &self,
        ordinal: u8,
        message: &str,
        about: Option<&str>,
        since: Timestamp,
    ) -> anyhow::Result<Option<Timestamp>> {
        let text = fs::read_to_string(self.log(ordinal))?;
        Ok(logged(&text, message, about, since))
    }

    fn ordinals(&self) -> impl Iterator<Item = u8> {
        (0..).zip(&self.addresses).map(|(ordinal, _)| ordinal)
    }

    fn host_name(&self, ordinal: u8) -> String {
        format!("{}.events-nodes.{}.svc", pod(ordinal), self.namespace)
    }

    fn log(&self, ordinal: u8) -> PathBuf {
        self.path(&format!("{}.log", pod(ordinal)))
    }

    /// The token of the nodes.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.path("token").join("token"))?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The end of each node's log.
    pub(crate) fn last_lines(&self) -> String {
        let mut all = String::new();
        for ordinal in self.ordinals() {
            let text = fs::read_to_string(self.log(ordinal)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(5)..].join("\n");
            all += &["--- last log lines of ", &pod(ordinal), "\n", &last, "\n"].concat();
        }
        all
    }
}

fn pod(ordinal: u8) -> String {
    format!("events-{ordinal}")
}

/// A command in the namespace of a host, which `script` prepares with a path. `ip` gives it a mount
/// namespace that ends with it.
fn in_namespace(host: u8, script: &str, path: &Path) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &namespace(host), "sh", "-c", script])
        .arg(path)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn write_fields(folder: &Path, data: BTreeMap<String, ByteString>) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    for (name, bytes) in data {
        fs::write(folder.join(name), bytes.0)?;
    }
    Ok(())
}
