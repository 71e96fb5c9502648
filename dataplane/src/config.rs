//! The configuration of a node: a YAML file, read at the start. `dataplane/docs/config.md`
//! documents every field with its default and bounds.

mod authorization;
mod connections;
mod discovery;
mod followed;
mod http;
mod recovery;
mod topics;
mod unknown_fields;
mod zone;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lograft_core::limits::{
    CLUSTER_REPLICAS_MAX_COUNT, DISK_RESERVE_DEFAULT_BYTES, NODE_NAME_MAX_BYTES, SEEDS_MAX_COUNT,
    SEGMENT_MAX_BYTES, SEGMENT_MIN_BYTES, TAIL_CACHE_DEFAULT_BYTES, TAIL_CACHE_MIN_BYTES,
    WORKER_THREADS_MAX_COUNT, WRITER_THREADS_DEFAULT_COUNT, WRITER_THREADS_MAX_COUNT,
};
use lograft_core::topic::is_name_char;
use lograft_raft::RaftTiming;
use serde::{Deserialize, Serialize};
use tracing::warn;

pub(crate) use authorization::CurrentAuthorization;
pub use authorization::{AuthorizationMode, AuthorizationSettings};
pub use connections::ConnectionSettings;
pub use discovery::{DiscoverySettings, EndpointSettings, GossipSettings};
pub(crate) use followed::FollowedFile;
pub use http::HttpSettings;
pub(crate) use recovery::CurrentRecovery;
pub use recovery::RecoverySettings;
pub use topics::TopicDefaults;
pub(crate) use topics::TopicDefaultsSource;
use unknown_fields::ListOnly;
pub(crate) use zone::Zone;

/// The variable of the environment that goes before the configuration's `zone`.
pub const ZONE_VARIABLE: &str = "LOGRAFT_ZONE";

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The file is no YAML, or a field is unknown, missing or of another type.
    #[error("cannot parse the configuration {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Names the field and the line.
        #[source]
        source: serde_yaml::Error,
    },
    /// A field is outside its bounds.
    #[error("configuration field {field} must be {bound}, got {found}")]
    Field {
        /// The field, with dots for nesting.
        field: &'static str,
        /// The value found.
        found: String,
        /// The values allowed.
        bound: String,
    },
}

/// A node's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's name, unique in the cluster: a pod's name, for example.
    pub name: String,
    /// Where the node keeps its logs and its identity.
    pub data_dir: PathBuf,
    /// The failure zone, empty if there are none.
    #[serde(default)]
    pub zone: String,
    /// The addresses to listen on.
    #[serde(default)]
    pub listen: ListenConfig,
    /// The addresses that others reach this node at, `host:port`.
    #[serde(default)]
    pub advertise: AdvertiseConfig,
    /// The node's certificate and the cluster's CA.
    pub tls: TlsConfig,
    /// Connections of clients.
    #[serde(default, skip_serializing_if = "ConnectionSettings::is_default")]
    pub connections: ConnectionSettings,
    /// HTTP requests of clients.
    #[serde(default, skip_serializing_if = "HttpSettings::is_default")]
    pub http: HttpSettings,
    /// Peer addresses, `host:port`, of nodes that may know a cluster to join.
    #[serde(default)]
    pub seeds: Vec<String>,
    /// How the node finds the others, beside the seeds.
    #[serde(default, skip_serializing_if = "DiscoverySettings::is_default")]
    pub discovery: DiscoverySettings,
    /// Threads.
    #[serde(default)]
    pub runtime: RuntimeSettings,
    /// Disk and caches.
    #[serde(default)]
    pub storage: StorageSettings,
    /// Raft's timing.
    #[serde(default)]
    pub raft: RaftSettings,
    /// Defaults for new topics.
    #[serde(default)]
    pub topics: TopicDefaults,
    /// Log lines.
    #[serde(default)]
    pub log: LogSettings,
    /// How the authorization rules are used.
    #[serde(default, skip_serializing_if = "AuthorizationSettings::is_default")]
    pub authorization: AuthorizationSettings,
    /// When nodes count as lost.
    #[serde(default, skip_serializing_if = "RecoverySettings::is_default")]
    pub recovery: RecoverySettings,
    /// Fields, with dots for nesting, that a node which does not know them ignores with a warning
    /// instead of refusing the configuration. Writers of a newer version list their fields here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_if_unknown: Vec<String>,
    /// Fields that were ignored because this version does not know them.
    #[serde(skip)]
    pub ignored: Vec<String>,
    /// The file that it was read from, if it was.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Whether the environment gives the zone: the file's does not count then.
    #[serde(skip)]
    pub is_zone_fixed: bool,
}

/// The addresses to listen on; port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// Clients: gRPC over mTLS.
    pub client: SocketAddr,
    /// Peers: gRPC over mTLS, nodes only.
    pub peer: SocketAddr,
    /// Health and metrics: plain HTTP, no data and no control.
    pub health: SocketAddr,
    /// Clients: HTTP and JSON over mTLS. Without an address the port is not opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            client: SocketAddr::from(([0, 0, 0, 0], 9400)),
            peer: SocketAddr::from(([0, 0, 0, 0], 9401)),
            health: SocketAddr::from(([0, 0, 0, 0], 9403)),
            http: None,
        }
    }
}

/// The addresses that others reach this node at; without one, the address listened on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdvertiseConfig {
    /// For clients, `host:port`.
    pub client: Option<String>,
    /// For peers, `host:port`.
    pub peer: Option<String>,
}

/// Files in PEM; read again when they change, without a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The node's certificate chain; its URI SAN is the node's SPIFFE identity.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The certificates of the cluster's CA, one or more.
    pub ca: PathBuf,
}

/// Threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeSettings {
    /// Threads for all work but disk writes; without a number, one for each core that the process
    /// may use. More than its share of the cores only costs wakeups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_threads_count: Option<usize>,
    /// Replicas that new topics may place on this node; without a number, as many as its cores
    /// carry. The limit of open files bounds it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas_max_count: Option<u32>,
}

/// Disk and caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSettings {
    /// Largest segment file, bytes.
    pub segment_max_bytes: u64,
    /// Threads that write and sync.
    pub writer_threads_count: usize,
    /// Memory for the newest entries of all partitions, bytes.
    pub tail_cache_max_bytes: usize,
    /// Free space below which writes are refused, bytes.
    pub reserve_bytes: u64,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            segment_max_bytes: SEGMENT_MAX_BYTES,
            writer_threads_count: WRITER_THREADS_DEFAULT_COUNT,
            tail_cache_max_bytes: TAIL_CACHE_DEFAULT_BYTES,
            reserve_bytes: DISK_RESERVE_DEFAULT_BYTES,
        }
    }
}

/// Raft's timing. A follower that hears nothing from its leader for an election timeout, randomized
/// between the two bounds, starts an election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaftSettings {
    /// Interval of a leader's heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// Lower bound of the randomized election timeout, milliseconds.
    pub election_min_ms: u64,
    /// Upper bound of the randomized election timeout, milliseconds.
    pub election_max_ms: u64,
}

impl Default for RaftSettings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 200,
            election_min_ms: 600,
            election_max_ms: 800,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// Log lines on stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A filter as of tracing's `EnvFilter`; the environment's `LOGRAFT_LOG` goes before it.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl NodeConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let config = Self::parse(&text, path)?;
        Ok(Self {
            file: Some(path.to_owned()),
            ..config
        })
    }

    /// Checks a file's text; `path` is for the error alone.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let refused = |source| ConfigError::Parse {
            path: path.to_owned(),
            source,
        };
        let list: ListOnly = serde_yaml::from_str(text).map_err(refused)?;
        unknown_fields::check_list(&list.ignore_if_unknown)?;
        let read = unknown_fields::read(text, &list.ignore_if_unknown);
        let (config, ignored): (Self, _) = read.map_err(refused)?;
        config.check()?;
        Ok(Self { ignored, ..config })
    }

    /// Applies the environment, which takes precedence over the file: a pod learns its zone only
    /// after it is scheduled.
    pub fn with_environment(
        mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        if let Some(zone) = variable(ZONE_VARIABLE).filter(|zone| !zone.is_empty()) {
            check_zone(ZONE_VARIABLE, &zone)?;
            self.zone = zone;
            self.is_zone_fixed = true;
        }
        Ok(self)
    }

    /// Logs a warning for each field that was ignored.
    pub(crate) fn log_ignored(&self) {
        for field in &self.ignored {
            warn!(field = %field, "ignored unknown configuration field of a newer version");
        }
    }

    /// Checks every bound; a configuration made in code goes through here too.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("name", self.name.len(), 1, NODE_NAME_MAX_BYTES, "bytes")?;
        if let Some(c) = self.name.chars().find(|c| !is_name_char(*c)) {
            return Err(field("name", &format!("{:?}", self.name), name_bound(c)));
        }
        if self.data_dir.as_os_str().is_empty() {
            return Err(field("data_dir", &"empty", "a directory".to_owned()));
        }
        check_zone("zone", &self.zone)?;
        self.check_addresses()?;
        if let Some(count) = self.runtime.worker_threads_count {
            let name = "runtime.worker_threads_count";
            within(name, count, 1, WORKER_THREADS_MAX_COUNT, "threads")?;
        }
        if let Some(count) = self.runtime.replicas_max_count {
            let (name, count) = ("runtime.replicas_max_count", count as usize);
            within(name, count, 1, CLUSTER_REPLICAS_MAX_COUNT, "replicas")?;
        }
        unknown_fields::check_list(&self.ignore_if_unknown)?;
        self.connections.check()?;
        self.http.check()?;
        self.discovery.check()?;
        self.authorization.check()?;
        self.recovery.check()?;
        self.storage.check()?;
        self.topics.check()?;
        self.raft.check()
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        within("seeds", self.seeds.len(), 0, SEEDS_MAX_COUNT, "addresses")?;
        for seed in &self.seeds {
            check_address("seeds", seed)?;
        }
        let advertised = [
            (
                "advertise.client",
                &self.advertise.client,
                self.listen.client,
            ),
            ("advertise.peer", &self.advertise.peer, self.listen.peer),
        ];
        for (name, given, listened) in advertised {
            match given {
                Some(address) => check_address(name, address)?,
                None if listened.ip().is_unspecified() => {
                    let bound = format!("set, because others cannot connect to {listened}");
                    return Err(field(name, &"missing", bound));
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl StorageSettings {
    fn check(&self) -> Result<(), ConfigError> {
        let segment = self.segment_max_bytes;
        within(
            "storage.segment_max_bytes",
            segment,
            SEGMENT_MIN_BYTES,
            SEGMENT_MAX_BYTES,
            "bytes",
        )?;
        within(
            "storage.writer_threads_count",
            self.writer_threads_count,
            1,
            WRITER_THREADS_MAX_COUNT,
            "threads",
        )?;
        let cache = self.tail_cache_max_bytes;
        within(
            "storage.tail_cache_max_bytes",
            cache,
            TAIL_CACHE_MIN_BYTES,
            usize::MAX,
            "bytes",
        )
    }
}

impl RaftSettings {
    /// As raft takes it.
    pub const fn timing(&self) -> RaftTiming {
        RaftTiming {
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            election_min: Duration::from_millis(self.election_min_ms),
            election_max: Duration::from_millis(self.election_max_ms),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        within("raft.heartbeat_ms", self.heartbeat_ms, 10, 10_000, "ms")?;
        let least = 5 * self.heartbeat_ms / 2;
        if self.election_min_ms < least {
            let bound = format!("at least {least} ms, 2.5 times raft.heartbeat_ms");
            return Err(field("raft.election_min_ms", &self.election_min_ms, bound));
        }
        if self.election_max_ms <= self.election_min_ms || self.election_max_ms > 60_000 {
            let bound = format!(
                "above raft.election_min_ms ({}) and at most 60000 ms",
                self.election_min_ms
            );
            return Err(field("raft.election_max_ms", &self.election_max_ms, bound));
        }
        Ok(())
    }
}

fn check_zone(name: &'static str, zone: &str) -> Result<(), ConfigError> {
    within(name, zone.len(), 0, NODE_NAME_MAX_BYTES, "bytes")?;
    if zone.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let bound = "printable ASCII without spaces".to_owned();
    Err(field(name, &format!("{zone:?}"), bound))
}

fn name_bound(c: char) -> String {
    format!("made of letters, digits, '-', '_' and '.', without {c:?}")
}

fn field(name: &'static str, found: &dyn std::fmt::Display, bound: String) -> ConfigError {
    ConfigError::Field {
        field: name,
        found: found.to_string(),
        bound,
    }
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
    name: &'static str,
    found: N,
    min: N,
    max: N,
    unit: &str,
) -> Result<(), ConfigError> {
    if found < min {
        return Err(field(
            name,
            &format!("{found} {unit}"),
            format!("at least {min} {unit}"),
        ));
    }
    if found > max {
        return Err(field(
            name,
            &format!("{found} {unit}"),
            format!("at most {max} {unit}"),
        ));
    }
    Ok(())
}

/// `host:port` with a port above 0; the host is a name, an IPv4 address or `[IPv6]`.
fn check_address(name: &'static str, address: &str) -> Result<(), ConfigError> {
    let bound = || "host:port with a port from 1 to 65535".to_owned();
    let refused = || field(name, &format!("{address:?}"), bound());
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let port: u16 = port.parse().map_err(|_| refused())?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || port == 0 || bare_v6 || host.contains(['/', ' ']) {
        return Err(refused());
    }
    Ok(())
}

#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod tests;
