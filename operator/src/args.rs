//! Command line and environment of the operator.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use lograft_crds::limits::{
    CANARY_SOAK_DEFAULT_SECONDS, CANARY_SOAK_MAX_SECONDS, ROLLOUTS_DEFAULT_COUNT,
    ROLLOUTS_MAX_COUNT,
};
use lograft_operator_desired::Settings;
use lograft_operator_desired::cluster::build::BuildError;
use lograft_operator_desired::cluster::revision;
use lograft_operator_desired::fleet::Policy;
use tracing_subscriber::EnvFilter;

/// Manage LogClusters: create their objects, issue certificates, roll out changes.
#[derive(Clone, Debug, Parser)]
#[command(name = "lograft-operator", version)]
pub(crate) struct Args {
    /// Namespaces to watch, separated by commas; all namespaces if empty.
    #[arg(long, env = "LOGRAFT_WATCH_NAMESPACES", value_delimiter = ',')]
    pub(crate) watch_namespaces: Vec<String>,
    /// Image repository of the nodes, without a tag.
    #[arg(
        long,
        env = "LOGRAFT_NODE_IMAGE",
        default_value = "ghcr.io/lograft/lograft-node"
    )]
    pub(crate) node_image: String,
    /// Lograft version of new LogClusters without `spec.version`.
    #[arg(long, env = "LOGRAFT_NODE_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) node_version: String,
    /// Whether existing LogClusters without `spec.version` move to that version, if it is newer.
    #[arg(
        long,
        env = "LOGRAFT_UPGRADE_CLUSTERS",
        default_value_t = false,
        action = clap::ArgAction::Set
    )]
    pub(crate) upgrade_clusters: bool,
    /// Maximum number of LogClusters whose pods are replaced at the same time.
    #[arg(
        long,
        env = "LOGRAFT_MAX_CONCURRENT_ROLLOUTS",
        default_value_t = ROLLOUTS_DEFAULT_COUNT,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(ROLLOUTS_MAX_COUNT))
    )]
    pub(crate) max_concurrent_rollouts: u16,
    /// Time in seconds for which the first LogCluster with a change that comes with the operator
    /// has to stay healthy before others get it.
    #[arg(
        long,
        env = "LOGRAFT_CANARY_SOAK_SECONDS",
        default_value_t = CANARY_SOAK_DEFAULT_SECONDS,
        value_parser = clap::value_parser!(u32).range(..=i64::from(CANARY_SOAK_MAX_SECONDS))
    )]
    pub(crate) canary_soak_seconds: u32,
    /// Whether changes that come with the operator wait.
    #[arg(
        long,
        env = "LOGRAFT_PAUSE_ROLLOUTS",
        default_value_t = false,
        action = clap::ArgAction::Set
    )]
    pub(crate) pause_rollouts: bool,
    /// Namespace of the operator and of its Lease.
    #[arg(long, env = "LOGRAFT_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// Pod name of the operator, for its Lease and its events.
    #[arg(long, env = "LOGRAFT_POD_NAME", default_value = "lograft-operator")]
    pub(crate) pod_name: String,
    /// Name of the Lease for leader election.
    #[arg(long, env = "LOGRAFT_LEASE", default_value = "lograft-operator")]
    pub(crate) lease: String,
    /// Address to serve health and metrics on, plain HTTP.
    #[arg(long, env = "LOGRAFT_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Address to connect to instead of the DNS names of all nodes, for tests outside of a cluster.
    /// Their certificates are verified by these names all the same.
    #[arg(long)]
    pub(crate) dial: Option<SocketAddr>,
    /// Log filter, for example `info` or `lograft_operator=debug,info`.
    #[arg(long, env = "LOGRAFT_LOG", default_value = "info")]
    pub(crate) log: String,
    /// Log format.
    #[arg(long, env = "LOGRAFT_LOG_FORMAT", value_enum, default_value = "json")]
    pub(crate) log_format: LogFormat,
}

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}

impl Args {
    /// The settings that plans depend on. Fails if no template can be built with them.
    pub(crate) fn settings(&self) -> Result<Settings, BuildError> {
        let settings = Settings {
            image_repository: self.node_image.clone(),
            version: self.node_version.clone(),
            upgrade_clusters: self.upgrade_clusters,
            revision: String::new(),
            operator_namespace: self.namespace.clone(),
        };
        Ok(Settings {
            revision: revision(&settings, env!("CARGO_PKG_VERSION"))?,
            ..settings
        })
    }

    /// Pace of rollouts.
    pub(crate) fn rollout_policy(&self) -> Policy {
        Policy {
            concurrent_max_count: usize::from(self.max_concurrent_rollouts),
            soak_seconds: i64::from(self.canary_soak_seconds),
            is_paused: self.pause_rollouts,
        }
    }

    /// Name of the release among those that may watch the same namespaces.
    pub(crate) fn identity(&self) -> String {
        format!("{}/{}", self.namespace, self.lease)
    }

    /// The namespaces to watch, each once; empty for all.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let named = self.watch_namespaces.iter().map(|name| name.trim());
        let mut named: Vec<String> = named.filter(|n| !n.is_empty()).map(str::to_owned).collect();
        named.sort_unstable();
        named.dedup();
        named
    }
}

/// Starts logging to standard error.
pub(crate) fn init_log(args: &Args) {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        // Spans of the controller only say what triggered a reconcile; messages name the cluster.
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
        LogFormat::Text => lines.init(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    /// A variable that the chart sets but the operator does not read has no effect.
    #[test]
    fn the_chart_sets_exactly_the_variables_that_are_read() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../charts/lograft/templates/deployment.yaml"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let set: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- name: "))
            .filter(|name| name.starts_with("LOGRAFT_"))
            .collect();
        let command = Args::command();
        let read: BTreeSet<&str> = command
            .get_arguments()
            .filter_map(|arg| arg.get_env()?.to_str())
            .collect();
        let unread: Vec<_> = set.difference(&read).collect();
        assert!(unread.is_empty(), "set but not read: {unread:?}");
        // The port is fixed in the image.
        let unset: Vec<_> = read.difference(&set).copied().collect();
        assert_eq!(unset, ["LOGRAFT_LISTEN"]);
    }
}
