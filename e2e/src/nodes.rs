//! A stand-in for the nodes of clusters: the admin service over mTLS, with topics in memory. The
//! operator is started with its address in place of all nodes (`--dial`); the name of the node that
//! it asks for says which cluster and certificate are meant.

mod access;
mod rules;
mod service;
mod topics;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use lograft_client::admin_wire::access_service_server::AccessServiceServer;
use lograft_client::admin_wire::admin_service_server::AdminServiceServer;
use lograft_crds::LogCluster;
use lograft_crds::names::ClusterNames;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

pub(crate) use topics::{FakeCluster, Mood};

use crate::sandbox::{Sandbox, await_condition};

/// Bytes that a connection buffers.
const BUFFER_BYTES: usize = 64 * 1024;
/// Start of the DNS name of the node that [`Mood::FirstLost`] is about.
const FIRST_NODE: &str = "events-0.";

/// TLS settings and state of a cluster.
#[derive(Clone)]
struct Served {
    tls: Arc<ServerConfig>,
    cluster: Arc<FakeCluster>,
}

/// The clusters by the DNS name of each of their nodes.
type ServedNodes = Arc<Mutex<BTreeMap<String, Served>>>;

/// The stand-in.
#[derive(Clone)]
pub(crate) struct Nodes {
    address: SocketAddr,
    served: ServedNodes,
}

impl Nodes {
    /// Listens on a free port of loopback.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.context("cannot listen for the operator")?;
        let served = ServedNodes::default();
        let nodes = Self {
            address: listener.local_addr()?,
            served: Arc::clone(&served),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                tokio::spawn(async move { serve(stream, served).await });
            }
        });
        Ok(nodes)
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the LogCluster with this name, with the certificates that the operator has issued,
    /// and marks it as bootstrapped.
    pub(crate) async fn run(
        &self,
        sandbox: &Sandbox,
        name: &str,
    ) -> anyhow::Result<Arc<FakeCluster>> {
        let api = sandbox.api::<LogCluster>();
        let id = await_condition("a cluster ID and certificates", || async {
            let status = api.get(name).await?.status.unwrap_or_default();
            Ok(status.cluster_id.filter(|_| status.ca.is_some()))
        })
        .await?;
        let names = ClusterNames(name);
        let secret = sandbox.api::<Secret>().get(&names.node_tls()).await?;
        let cluster = Arc::new(FakeCluster::new(id));
        for ordinal in 0..3 {
            let served = Served {
                tls: Arc::new(tls(&secret, &names.pod(ordinal))?),
                cluster: Arc::clone(&cluster),
            };
            let host = names.pod_host(ordinal, &sandbox.namespace);
            lock(&self.served).insert(host, served);
        }
        let patch = Patch::Merge(json!({"status": {"bootstrapped": true}}));
        api.patch_status(name, &PatchParams::default(), &patch)
            .await
            .context("cannot mark the cluster as bootstrapped")?;
        Ok(cluster)
    }
}

/// The TLS settings of a node: only certificates of its cluster's CA are accepted.
fn tls(secret: &Secret, node: &str) -> anyhow::Result<ServerConfig> {
    let data = secret.data.as_ref().context("the Secret is empty")?;
    let field = |name: String| {
        let found = data.get(&name).map(|bytes| bytes.0.clone());
        found.with_context(|| format!("the Secret has no {name}"))
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&field("ca.crt".to_owned())?) {
        roots.add(root?)?;
    }
    ensure!(!roots.is_empty(), "the Secret has no root");
    let certificate = field(format!("{node}.crt"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let key = PrivateKeyDer::from_pem_slice(&field(format!("{node}.key"))?)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    let mut config = config.with_single_cert(chain?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Serves a connection. One to a node that is not served is closed.
async fn serve(stream: TcpStream, served: ServedNodes) {
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let Ok(start) = acceptor.await else {
        return;
    };
    let name = start.client_hello().server_name().map(str::to_owned);
    let name = name.unwrap_or_default();
    let node = lock(&served).get(&name).cloned();
    let is_lost = |mood: Mood| match mood {
        Mood::Silent => true,
        Mood::FirstLost => name.starts_with(FIRST_NODE),
        _ => false,
    };
    let Some(node) = node.filter(|node| !is_lost(node.cluster.mood())) else {
        return;
    };
    let Ok(mut stream) = start.into_stream(node.tls).await else {
        return;
    };
    let (inner, mut outer) = tokio::io::duplex(BUFFER_BYTES);
    let access = AccessServiceServer::from_arc(Arc::clone(&node.cluster));
    let service = AdminServiceServer::from_arc(node.cluster);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(inner));
    let router = tonic::transport::Server::builder()
        .add_service(service)
        .add_service(access);
    let serving = router.serve_with_incoming(incoming);
    // An error of either means that the operator has closed the connection.
    let copied = tokio::io::copy_bidirectional(&mut stream, &mut outer);
    let _ = tokio::join!(serving, copied);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
