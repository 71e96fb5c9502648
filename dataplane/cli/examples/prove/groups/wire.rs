//! Members without our library: plain gRPC calls over a few connections for many groups.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use lograft_client::Client;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::group_service_client::GroupServiceClient;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tower::service_fn;

use crate::cluster::client_files;

/// The topic that the groups read.
pub(super) const TOPIC: &str = "read";
/// Bound of a call, beside the time that it waits for a change.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Joins, paced: each one is a change of a group that is written to a majority.
const JOINS_PER_SECOND: u32 = 500;
const JOINS_MAX_COUNT: usize = 128;
const JOIN_ATTEMPTS_COUNT: usize = 20;
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Connections to all nodes.
#[derive(Clone)]
pub(super) struct Connections {
    nodes: BTreeMap<u64, Vec<GroupServiceClient<Channel>>>,
}

impl Connections {
    /// Connects to each node of the cluster in a folder, so many times.
    pub(super) async fn open(folder: &Path, client: &Client, count: usize) -> Result<Self> {
        let tls = Arc::new(tls_of(folder)?);
        let mut nodes = BTreeMap::new();
        for node in client.metadata().await?.nodes {
            let channels = (0..count.max(1)).map(|_| connect(&tls, &node.address));
            let clients = channels.map(GroupServiceClient::new);
            nodes.insert(node.id.get(), clients.collect());
        }
        Ok(Self { nodes })
    }

    /// A connection to a node, or to any if the node is not known.
    pub(super) fn to(&self, node: u64, turn: usize) -> Result<GroupServiceClient<Channel>> {
        let any = || self.nodes.values().nth(turn % self.nodes.len().max(1));
        let clients = self.nodes.get(&node).or_else(any).context("no nodes")?;
        Ok(clients[turn % clients.len()].clone())
    }
}

/// The TLS of a client of the cluster in a folder.
pub(super) fn tls_of(folder: &Path) -> Result<ClientConfig> {
    let [ca, cert, key] = client_files(folder)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Opens a connection to a node.
pub(super) async fn open(
    tls: Arc<ClientConfig>,
    address: String,
) -> std::io::Result<TlsStream<TcpStream>> {
    let io = TcpStream::connect(address).await?;
    io.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    TlsConnector::from(tls).connect(name, io).await
}

fn connect(tls: &Arc<ClientConfig>, address: &str) -> Channel {
    let (tls, address) = (Arc::clone(tls), address.to_owned());
    let open = service_fn(move |_: Uri| {
        let opening = open(Arc::clone(&tls), address.clone());
        async move { opening.await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://lograft").connect_with_connector_lazy(open)
}

/// A member that is to join.
#[derive(Clone, Debug)]
pub(super) struct NewMember {
    pub(super) group: String,
    pub(super) id: String,
    pub(super) session: Duration,
}

/// A member of a group.
#[derive(Clone)]
pub(super) struct WireMember {
    pub(super) group: String,
    pub(super) id: String,
    session: Duration,
    /// A connection to the coordinator of the group.
    pub(super) client: GroupServiceClient<Channel>,
    pub(super) reply: log::MemberReply,
}

impl WireMember {
    async fn join(connections: &Connections, new: NewMember, turn: usize) -> Result<Self> {
        let NewMember { group, id, session } = new;
        let request = log::JoinGroupRequest {
            group: group.clone(),
            member_id: id.clone(),
            client_id: "prove".to_owned(),
            topics: vec![TOPIC.to_owned()],
            session_timeout_ms: u32::try_from(session.as_millis())?,
            ..log::JoinGroupRequest::default()
        };
        let mut attempt = 0;
        let reply = loop {
            attempt += 1;
            let mut client = connections.to(0, turn + attempt)?;
            match bounded(client.join_group(request.clone()), CALL_TIMEOUT).await {
                Ok(reply) => break reply,
                Err(status) if attempt >= JOIN_ATTEMPTS_COUNT => {
                    return Err(status).with_context(|| format!("cannot join {group}"));
                }
                Err(_) => sleep(RETRY_INTERVAL).await,
            }
        };
        let mut member = Self {
            client: connections.to(reply.coordinator_node, turn)?,
            group,
            id,
            session,
            reply,
        };
        member.heartbeat(Duration::ZERO).await?;
        Ok(member)
    }

    /// Acknowledges the last reply and waits for a change.
    pub(super) async fn heartbeat(&mut self, wait: Duration) -> Result<(), Status> {
        let request = log::HeartbeatRequest {
            group: self.group.clone(),
            member_id: self.id.clone(),
            generation: self.reply.generation,
            max_wait_ms: u32::try_from(wait.as_millis()).unwrap_or(0),
            ..log::HeartbeatRequest::default()
        };
        let call = self.client.heartbeat(request);
        self.reply = bounded(call, wait + CALL_TIMEOUT).await?;
        Ok(())
    }

    /// Stays in the group, until the task is aborted.
    pub(super) async fn stay(mut self, counts: Arc<Heartbeats>) {
        // As `GroupConsumer` does.
        let wait = (self.session / 3).min(Duration::from_secs(10));
        loop {
            if self.heartbeat(wait).await.is_ok() {
                counts.answered.fetch_add(1, Ordering::Relaxed);
            } else {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

/// Heartbeats so far.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Joins and acknowledges the first assignments, at a steady rate. Fails if a member cannot join after
/// some attempts.
pub(super) async fn join_all(
    connections: &Connections,
    members: impl Iterator<Item = NewMember>,
) -> Result<Vec<WireMember>> {
    let mut ticks = interval(Duration::from_secs(1) / JOINS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut joining, mut joined) = (JoinSet::new(), Vec::new());
    for (turn, member) in members.enumerate() {
        ticks.tick().await;
        if joining.len() >= JOINS_MAX_COUNT
            && let Some(done) = joining.join_next().await
        {
            joined.push(done??);
        }
        let connections = connections.clone();
        joining.spawn(async move { WireMember::join(&connections, member, turn).await });
    }
    while let Some(done) = joining.join_next().await {
        joined.push(done??);
    }
    Ok(joined)
}

/// The reply of a call within a time.
pub(super) async fn bounded<R>(
    call: impl Future<Output = Result<tonic::Response<R>, Status>>,
    time: Duration,
) -> Result<R, Status> {
    let reply = timeout(time, call).await;
    let late = |_| Status::new(Code::DeadlineExceeded, format!("no reply within {time:?}"));
    reply.map_err(late)?.map(tonic::Response::into_inner)
}
