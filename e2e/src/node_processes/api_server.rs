//! The path of the nodes to the API server: a loopback address of their namespace, joined with that
//! of the server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kube::config::Kubeconfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections of a node to the API server at once; further ones are closed.
const CONNECTIONS: usize = 16;

/// Where the API server is, by a kubeconfig.
pub(super) struct ApiServer {
    pub(super) address: SocketAddr,
    pub(super) ca: PathBuf,
}

impl ApiServer {
    pub(super) fn read(kubeconfig: &Path) -> anyhow::Result<Self> {
        let config = Kubeconfig::read_from(kubeconfig)?;
        let named = config.clusters.into_iter().next();
        let cluster = named.and_then(|named| named.cluster);
        let cluster = cluster.context("no cluster in the kubeconfig")?;
        let url = cluster.server.context("no server in the kubeconfig")?;
        let address = url.trim_start_matches("https://").parse();
        Ok(Self {
            address: address.with_context(|| format!("{url} is not on this machine"))?,
            ca: cluster.certificate_authority.context("no CA")?.into(),
        })
    }
}

/// Joins each connection with one to the API server.
pub(super) async fn forward(listener: TcpListener, to: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut from, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS {
            connections.spawn(async move {
                let mut to = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    }
}
