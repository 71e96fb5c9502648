//! From a context to a connected client.

use std::collections::BTreeMap;

use lograft_client::{Admin, Client, ClientConfig, ClientError, TlsFiles};
use lograft_core::limits::HEALTH_LOOK_INTERVAL;

use crate::context::Context;

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
    Client::connect(client_config(context))
        .await
        .map_err(|source| ReachError {
            context: name.into(),
            source,
        })
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
