//! Connections to the cluster of a context.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use lograft_client::admin_wire::DescribeClusterReply;
use lograft_client::{Admin, Client, ClientConfig, ClientError, TlsFiles};
use lograft_core::limits::HEALTH_POLL_INTERVAL;

use crate::call_error::{exit_for, hint_for};
use crate::contexts_file::ClusterContext;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::Paint;

/// The cluster of a context is not reachable.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to the cluster of context {context}")]
pub(crate) struct ConnectError {
    context: String,
    source: ClientError,
}

impl CommandError for ConnectError {
    fn exit(&self) -> Exit {
        exit_for(&self.source)
    }

    fn hint(&self) -> Option<String> {
        hint_for(&self.source)
    }
}

/// Client configuration for a context.
fn client_config(context: &ClusterContext) -> ClientConfig {
    let tls = TlsFiles::new(&context.ca, &context.cert, &context.key);
    ClientConfig {
        endpoints_only: context.endpoints_only,
        ..ClientConfig::new(context.endpoints.iter().cloned(), tls)
    }
}

/// Connects to the context's cluster.
pub(crate) async fn connect(name: &str, context: &ClusterContext) -> Result<Client, ConnectError> {
    connect_in(name, context, None).await
}

/// The same as a client in a zone; none for that of the environment.
pub(crate) async fn connect_in(
    name: &str,
    context: &ClusterContext,
    zone: Option<&str>,
) -> Result<Client, ConnectError> {
    let mut config = client_config(context);
    if let Some(zone) = zone {
        zone.clone_into(&mut config.zone);
    }
    let connected = Client::connect(config).await;
    let client = connected.map_err(|source| ConnectError {
        context: name.into(),
        source,
    })?;
    if may_be_forwarded(context)
        && let Ok(metadata) = client.metadata().await
        && let Some(node) = metadata
            .nodes
            .iter()
            .find(|n| is_kubernetes_name(&n.address))
    {
        let paint = Paint::stderr();
        let text = format!(
            "{} resolves only inside Kubernetes; use --endpoints-only if you connect through a \
             port-forward",
            node.address
        );
        // Not an error: the command may still succeed.
        drop(writeln!(
            io::stderr(),
            "{}",
            paint.faint(format!("note: {text}"))
        ));
    }
    Ok(client)
}

/// Whether the context may be a port-forward without `endpoints_only`.
fn may_be_forwarded(context: &ClusterContext) -> bool {
    let is_local = |endpoint: &String| {
        let hosts = ["localhost:", "127.0.0.1:", "[::1]:"];
        hosts.iter().any(|host| endpoint.starts_with(host))
    };
    let is_excluded = context.endpoints_only || context.dev_data_dir.is_some();
    !is_excluded && context.endpoints.iter().all(is_local)
}

/// Whether the name is a cluster-internal DNS name, which resolves only in pods.
fn is_kubernetes_name(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    [".svc", ".cluster.local"]
        .iter()
        .any(|suffix| host.ends_with(suffix))
}

/// Bootstraps a cluster on the first endpoint of the context. Must be called once per cluster.
pub(crate) async fn bootstrap(
    context: &ClusterContext,
    cluster_id: &str,
) -> Result<(), ClientError> {
    let config = client_config(context);
    let endpoint = context.endpoints.first().cloned().unwrap_or_default();
    Admin::bootstrap(&config, &endpoint, cluster_id)
        .await
        .map(drop)
}

/// Waits until the cluster reports that it is healthy. Returns its description, without healthy
/// partitions.
pub(crate) async fn wait_until_healthy(
    context: ClusterContext,
) -> Result<DescribeClusterReply, ClientError> {
    let admin = Client::connect(client_config(&context)).await?.admin();
    loop {
        let cluster = admin.describe_cluster(true).await?;
        if cluster.healthy {
            return Ok(cluster);
        }
        tokio::time::sleep(HEALTH_POLL_INTERVAL).await;
    }
}

/// Whether all nodes know a newer feature level than the finalized one.
pub(crate) fn is_upgrade_not_finalized(cluster: &DescribeClusterReply) -> bool {
    let mut problems = cluster.problems.iter();
    problems.any(|problem| problem.kind == "UPGRADE_NOT_FINALIZED")
}

/// Finalizes the newest feature level that all nodes know. Returns it if that changed anything.
pub(crate) async fn finalize_level(context: &ClusterContext) -> Result<Option<u32>, ClientError> {
    let admin = Client::connect(client_config(context)).await?.admin();
    let reply = admin.finalize_level(None).await?;
    Ok(reply.changed.then_some(reply.finalized_level))
}

/// Node ids by node name.
pub(crate) async fn node_ids(
    context: &ClusterContext,
) -> Result<BTreeMap<String, u64>, ClientError> {
    let client = Client::connect(client_config(context)).await?;
    let nodes = client.metadata().await?.nodes;
    Ok(nodes
        .into_iter()
        .map(|node| (node.name, node.id.get()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_forward_is_suspected_only_for_local_endpoints() {
        let at = |endpoint: &str, endpoints_only| ClusterContext {
            endpoints: vec![endpoint.into()],
            endpoints_only,
            ca: "ca".into(),
            cert: "cert".into(),
            key: "key".into(),
            dev_data_dir: None,
        };
        assert!(may_be_forwarded(&at("localhost:9400", false)));
        assert!(!may_be_forwarded(&at("localhost:9400", true)));
        assert!(!may_be_forwarded(&at("lograft-client:9400", false)));
        assert!(is_kubernetes_name(
            "lograft-0.lograft-nodes.default.svc:9400"
        ));
        assert!(!is_kubernetes_name("127.0.0.1:9410"));
    }
}
