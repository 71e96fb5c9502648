//! A node's configuration file, `dataplane/docs/config.md`. The field names are the file's; the
//! node's own tests parse what the golden files hold.

use serde::Serialize;

/// A node's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NodeConfig {
    pub(crate) name: String,
    pub(crate) zone: String,
    pub(crate) advertise: Advertise,
    pub(crate) tls: TlsFiles,
    pub(crate) seeds: Vec<String>,
    /// Taken up without a restart.
    pub(crate) topics: TopicDefaults,
    #[serde(flatten)]
    pub(crate) shared: SharedConfig,
}

/// What all nodes of a cluster have alike, and take up by a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SharedConfig {
    pub(crate) data_dir: String,
    pub(crate) listen: Listen,
    pub(crate) storage: StorageConfig,
    pub(crate) log: LogConfig,
}

/// What topics take that say nothing themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TopicDefaults {
    pub(crate) partitions: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replication_factor: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retention_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retention_ms: Option<i64>,
}

/// Addresses that others reach the node at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advertise {
    pub(crate) client: String,
    pub(crate) peer: String,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TlsFiles {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) ca: String,
}

/// Addresses that the node listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Listen {
    pub(crate) client: String,
    pub(crate) peer: String,
    pub(crate) health: String,
}

/// Disk and caches; what is not here has the node's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StorageConfig {
    pub(crate) segment_max_bytes: u64,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LogConfig {
    pub(crate) level: String,
    pub(crate) format: &'static str,
}
