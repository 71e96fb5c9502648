//! From a context to a connected client.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use lograft_client::{Admin, Client, ClientConfig, ClientError, TlsFiles};
use lograft_core::limits::HEALTH_LOOK_INTERVAL;

use crate::contexts_file::Context;
use crate::output::Paint;

/// No connection to a context's cluster.
#[derive(Debug, thiserror::Error)]
#[error("reaching the cluster of context {context:?}")]
pub(crate) struct ReachError {
    pub(crate) context: String,
    pub(crate) source: ClientError,
}

/// What the client needs to know of a context.
pub(crate) fn client_config(context: &Context) -> ClientConfig {
    let tls = TlsFiles::new(&context.ca, &context.cert, &context.key);
    ClientConfig {
        endpoints_only: context.endpoints_only,
        ..ClientConfig::new(context.endpoints.iter().cloned(), tls)
    }
}

/// Connects to the context's cluster.
pub(crate) async fn connect(name: &str, context: &Context) -> Result<Client, ReachError> {
    let connected = Client::connect(client_config(context)).await;
    let client = connected.map_err(|source| ReachError {
        context: name.into(),
        source,
    })?;
    if may_be_forwarded(context)
        && let Ok(metadata) = client.metadata().await
        && let Some(node) = metadata.nodes.iter().find(|n| is_in_kubernetes(&n.address))
    {
        let paint = Paint::stderr();
        let text = format!(
            "{} is a name inside of Kubernetes: behind a port-forward, --endpoints-only keeps to \
             the endpoints given",
            node.address
        );
        // A note on the way of a command that may well succeed.
        drop(writeln!(
            io::stderr(),
            "{}",
            paint.faint(format!("note: {text}"))
        ));
    }
    Ok(client)
}

/// Whether the way may be a port-forward that nobody told of.
fn may_be_forwarded(context: &Context) -> bool {
    let is_here = |endpoint: &String| {
        let hosts = ["localhost:", "127.0.0.1:", "[::1]:"];
        hosts.iter().any(|host| endpoint.starts_with(host))
    };
    let is_ours = context.endpoints_only || context.dev_data_dir.is_some();
    !is_ours && context.endpoints.iter().all(is_here)
}

/// Whether only pods can look the name up.
fn is_in_kubernetes(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    [".svc", ".cluster.local"]
        .iter()
        .any(|suffix| host.ends_with(suffix))
}

/// Makes the context's first endpoint the first node of a cluster.
pub(crate) async fn bootstrap(context: &Context, cluster_id: &str) -> Result<(), ClientError> {
    let config = client_config(context);
    let endpoint = context.endpoints.first().cloned().unwrap_or_default();
    Admin::bootstrap(&config, &endpoint, cluster_id)
        .await
        .map(drop)
}

/// Waits until the cluster calls itself healthy.
pub(crate) async fn until_healthy(context: Context) -> Result<(), ClientError> {
    let admin = Client::connect(client_config(&context)).await?.admin();
    while !admin.describe_cluster(true).await?.healthy {
        tokio::time::sleep(HEALTH_LOOK_INTERVAL).await;
    }
    Ok(())
}

/// The nodes' ids by their names.
pub(crate) async fn node_ids(context: &Context) -> Result<BTreeMap<String, u64>, ClientError> {
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
    fn a_port_forward_is_guessed_only_where_it_may_be_one() {
        let at = |endpoint: &str, endpoints_only| Context {
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
        assert!(is_in_kubernetes("lograft-0.lograft-nodes.default.svc:9400"));
        assert!(!is_in_kubernetes("127.0.0.1:9410"));
    }
}
