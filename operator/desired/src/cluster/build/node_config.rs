//! The configuration file of a node, documented in `dataplane/docs/config.md`. Field names are
//! those of the file; the tests of the node parse the golden files.

use serde::Serialize;

/// The configuration of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct NodeConfig {
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) advertise: Advertise,
    pub(super) tls: TlsFiles,
    pub(super) seeds: Vec<String>,
    /// Takes effect without a restart.
    pub(super) topics: TopicDefaults,
    /// Takes effect without a restart.
    pub(super) authorization: AuthorizationConfig,
    /// Takes effect without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recovery: Option<RecoveryConfig>,
    #[serde(flatten)]
    pub(super) restart: RestartConfig,
}

/// The part that all nodes of a cluster share and that takes effect by a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RestartConfig {
    pub(super) data_dir: String,
    pub(super) listen: Listen,
    pub(super) storage: StorageConfig,
    pub(super) log: LogConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) discovery: Option<DiscoveryConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http: Option<HttpConfig>,
}

/// Defaults for new topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct TopicDefaults {
    pub(super) partitions: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replication_factor: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retention_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retention_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batch_max_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) record_max_bytes: Option<u64>,
}

/// How the node uses the authorization rules of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AuthorizationConfig {
    pub(super) mode: &'static str,
    pub(super) super_users: Vec<String>,
}

/// When the node counts others as lost. Without it, it has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RecoveryConfig {
    pub(super) dead_node_after_ms: i64,
}

/// Addresses under which others reach the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Advertise {
    pub(super) client: String,
    pub(super) peer: String,
}

/// Paths of PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct TlsFiles {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) ca: String,
}

/// Addresses that the node listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Listen {
    pub(super) client: String,
    pub(super) peer: String,
    pub(super) health: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http: Option<String>,
}

/// HTTP requests of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct HttpConfig {
    pub(super) allowed_origins: Vec<String>,
}

/// Disk and caches. Settings that are not here have the default of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct StorageConfig {
    pub(super) segment_max_bytes: u64,
}

/// Log output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LogConfig {
    pub(super) level: String,
    pub(super) format: &'static str,
}

/// How the node finds the others, beside its seeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct DiscoveryConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gossip: Option<GossipConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoints: Option<EndpointsConfig>,
}

/// Gossip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct GossipConfig {
    pub(super) listen: String,
    pub(super) key_file: String,
    pub(super) seeds: Vec<String>,
}

/// The Service whose EndpointSlices are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct EndpointsConfig {
    pub(super) namespace: String,
    pub(super) service: String,
}
