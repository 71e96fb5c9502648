//! What the operator is told at its start, by flags or by the environment.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use lograft_operator_desired::Settings;
use tracing_subscriber::EnvFilter;

/// Looks after LogClusters.
#[derive(Clone, Debug, Parser)]
#[command(name = "lograft-operator", version)]
pub(crate) struct Args {
    /// Namespaces whose LogClusters it looks after; all if none is named.
    #[arg(long, env = "LOGRAFT_WATCH_NAMESPACES", value_delimiter = ',')]
    pub(crate) watch_namespaces: Vec<String>,
    /// Repository of the nodes' image, without a tag.
    #[arg(
        long,
        env = "LOGRAFT_NODE_IMAGE",
        default_value = "ghcr.io/lograft/lograft-node"
    )]
    pub(crate) node_image: String,
    /// Version that LogClusters run which name none.
    #[arg(long, env = "LOGRAFT_NODE_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) node_version: String,
    /// The operator's own namespace: its Lease is there.
    #[arg(long, env = "LOGRAFT_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// The operator's own name, told in its Lease and its events.
    #[arg(long, env = "LOGRAFT_POD_NAME", default_value = "lograft-operator")]
    pub(crate) pod_name: String,
    /// Name of the Lease that the leading operator holds.
    #[arg(long, env = "LOGRAFT_LEASE", default_value = "lograft-operator")]
    pub(crate) lease: String,
    /// Where health and metrics are served, plain HTTP.
    #[arg(long, env = "LOGRAFT_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Filter of the log's lines: `info`, or `lograft_operator=debug,info`.
    #[arg(long, env = "LOGRAFT_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How the log's lines look.
    #[arg(long, env = "LOGRAFT_LOG_FORMAT", value_enum, default_value = "json")]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For machines.
    Json,
    /// For people.
    Text,
}

impl Args {
    /// What plans depend on.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            image_repository: self.node_image.clone(),
            version: self.node_version.clone(),
            operator_namespace: self.namespace.clone(),
        }
    }

    /// The namespaces that are named.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let named = self.watch_namespaces.iter().map(|name| name.trim());
        let mut named: Vec<String> = named.filter(|n| !n.is_empty()).map(str::to_owned).collect();
        named.sort_unstable();
        named.dedup();
        named
    }
}

/// Log lines go to standard error.
pub(crate) fn start_log(args: &Args) {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        // What woke a reconcile is no news: the lines say which cluster they are about.
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

    /// A variable that the chart sets and nobody reads would be a value without effect.
    #[test]
    fn the_chart_sets_what_is_read_and_nothing_else() {
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
        // The port is the image's.
        let unset: Vec<_> = read.difference(&set).copied().collect();
        assert_eq!(unset, ["LOGRAFT_LISTEN"]);
    }
}
