//! Client of the nodes' admin service over mTLS. All waits are bounded.

mod access;
mod convert;
mod topics;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use lograft_crds::limits::{
    NODE_ANSWER_MAX_BYTES, NODE_ANSWER_MAX_SECONDS, NODE_CONNECT_MAX_SECONDS,
    NODE_PREPARE_MAX_SECONDS, NODES_ASKED_MAX_COUNT,
};
use lograft_crds::names::PORT_CLIENT;
use lograft_operator_desired::cluster::{
    Ask, ClusterView, FeatureLevel, NodeAnswer, ROOTS_FIELD, SeenNode,
};
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::admin::v1::{
    BootstrapRequest, DecommissionNodeRequest, DescribeClusterReply, DescribeClusterRequest,
    FinalizeLevelRequest, PrepareStopRequest, RecommissionNodeRequest,
};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_types::StatusExt as _;

use crate::error_text::error_text;

/// Error reason of a node that belongs to no cluster.
const NOT_BOOTSTRAPPED: &str = "NOT_BOOTSTRAPPED";
/// Domain of error reasons.
const DOMAIN: &str = "lograft.io";

/// Why a call to a node failed. Each may be retried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The operator's Secret has no certificate and key.
    #[error("cannot read the operator's certificate and key")]
    Identity,
    /// The certificate cannot be used for TLS.
    #[error("cannot use the operator's certificate")]
    Tls(#[source] rustls::Error),
    /// The connection failed.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host of the node.
        host: String,
        /// Cause.
        #[source]
        source: tonic::transport::Error,
    },
    /// The node rejected the call.
    #[error("{host} rejected the request: {}", .status.message())]
    Rejected {
        /// The node.
        host: String,
        /// Its status.
        status: Box<tonic::Status>,
    },
    /// The node did not answer in time.
    #[error("{host} did not answer within {seconds} s")]
    TimedOut {
        /// The node.
        host: String,
        /// The timeout.
        seconds: u64,
    },
    /// No node described the cluster, so there is none to send the request to.
    #[error("no node of the cluster answers")]
    NoMember,
    /// Nobody leads the metadata group, as far as the node knows. Others may be behind.
    #[error("{host} knows no leader of the metadata group")]
    NoLeader {
        /// The node.
        host: String,
    },
}

pub(crate) use access::AccessList;
pub(crate) use topics::TopicClient;

/// Client for the nodes of one cluster.
#[derive(Clone)]
pub(crate) struct AdminClient {
    tls: Arc<ClientConfig>,
    /// Address of all nodes, instead of their DNS names.
    dialed: Option<SocketAddr>,
}

/// Answers of the nodes.
#[derive(Default)]
pub(crate) struct NodeReports {
    /// By ordinal.
    pub(crate) answers: BTreeMap<i32, NodeAnswer>,
    /// The best description of the cluster.
    pub(crate) view: Option<ClusterView>,
    /// Host of the node that gave it.
    pub(crate) reporter: Option<String>,
}

impl AdminClient {
    /// A client with the operator's certificate in this Secret. It fails if certificate, key or
    /// roots cannot be used. With `dialed` it connects to that address, whatever the host is.
    pub(crate) fn new(secret: &Secret, dialed: Option<SocketAddr>) -> Result<Self, NodeError> {
        let field = |name: &str| {
            let data = secret.data.as_ref().and_then(|data| data.get(name));
            data.map(|text| text.0.as_slice())
                .ok_or(NodeError::Identity)
        };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(field(ROOTS_FIELD)?) {
            let root = root.map_err(|_| NodeError::Identity)?;
            roots.add(root).map_err(NodeError::Tls)?;
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(field("tls.crt")?).collect();
        let key = PrivateKeyDer::from_pem_slice(field("tls.key")?);
        let (Ok(chain), Ok(key)) = (chain, key) else {
            return Err(NodeError::Identity);
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(NodeError::Tls)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(NodeError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session skips the certificate of the node.
        config.resumption = Resumption::disabled();
        Ok(Self {
            tls: Arc::new(config),
            dialed,
        })
    }

    /// Asks the node of every pod, a bounded number at a time. The description of the metadata
    /// group's leader is the best: a follower's may be stale. Without it, that of the node that
    /// reaches most others counts.
    pub(crate) async fn ask_all(&self, hosts: BTreeMap<i32, String>) -> NodeReports {
        let asked = hosts.into_iter().map(|(at, host)| async move {
            let reply = self.describe(&host).await;
            (at, host, reply)
        });
        let mut asked = futures_util::stream::iter(asked).buffer_unordered(NODES_ASKED_MAX_COUNT);
        let mut reports = NodeReports::default();
        let mut best: Option<((bool, usize), String, DescribeClusterReply)> = None;
        let mut seen: BTreeMap<String, Vec<SeenNode>> = BTreeMap::new();
        while let Some((at, host, reply)) = asked.next().await {
            let answer = match reply {
                Ok(reply) => {
                    // No node sees itself, so what all of them see is put together.
                    for (name, node) in convert::seen(&reply) {
                        seen.entry(name).or_default().push(node);
                    }
                    let answer = NodeAnswer::Member {
                        cluster_id: reply.cluster_id.clone(),
                        node_id: reply.answered_by,
                    };
                    let reached = reply.nodes.iter().filter(|node| node.reachable).count();
                    let leads = reply.meta_leader_node == Some(reply.answered_by);
                    let rank = (leads, reached);
                    if best.as_ref().is_none_or(|(other, ..)| *other < rank) {
                        best = Some((rank, host, reply));
                    }
                    answer
                }
                Err(error) if is_empty(&error) => NodeAnswer::Empty,
                Err(error) => NodeAnswer::Silent(error_text(&error)),
            };
            reports.answers.insert(at, answer);
        }
        if let Some((_, host, reply)) = best {
            let seen = seen.into_iter();
            let seen = seen.map(|(name, views)| (name, SeenNode::merged(&views)));
            let view = convert::view(&reply);
            reports.view = Some(ClusterView {
                seen: seen.collect(),
                ..view
            });
            reports.reporter = Some(host);
        }
        reports
    }

    async fn describe(&self, host: &str) -> Result<DescribeClusterReply, NodeError> {
        let request = DescribeClusterRequest {
            omit_healthy_partitions: true,
            ..DescribeClusterRequest::default()
        };
        let call = async {
            let mut client = self.client(host).await?;
            let reply = client.describe_cluster(request).await;
            reply.map_err(|status| rejected(host, status))
        };
        Ok(bounded(host, NODE_ANSWER_MAX_SECONDS, call)
            .await?
            .into_inner())
    }

    /// Sends a request of a plan to the node at `host`. Each is idempotent.
    pub(crate) async fn carry_out(&self, ask: &Ask, host: &str) -> Result<(), NodeError> {
        bounded(host, NODE_ANSWER_MAX_SECONDS, async {
            let client = self.client(host).await?;
            let done = send(client, ask).await;
            done.map_err(|status| rejected(host, status))
        })
        .await
    }

    /// Prepares a node for its stop: it transfers its leaderships. Returns why it is not prepared
    /// yet, or none if it may be stopped.
    ///
    /// Once the stop `is_due`, remaining leaderships do not count: stopping a leader costs an
    /// election. Majorities always count: without one a partition accepts no writes.
    pub(crate) async fn prepare_stop(
        &self,
        node_id: u64,
        is_due: bool,
        member: Option<&str>,
    ) -> Result<Option<String>, NodeError> {
        let host = member.ok_or(NodeError::NoMember)?;
        let call = async {
            let mut client = self.client(host).await?;
            let reply = client.prepare_stop(PrepareStopRequest { node_id }).await;
            reply.map_err(|status| rejected(host, status))
        };
        let reply = bounded(host, NODE_PREPARE_MAX_SECONDS, call).await?;
        let reply = reply.into_inner();
        if reply.ready || (is_due && reply.keeps_majorities) {
            return Ok(None);
        }
        let first = reply.waits_for.into_iter().next();
        Ok(first.or_else(|| Some("no reason given".to_owned())))
    }

    async fn client(&self, host: &str) -> Result<AdminServiceClient<Channel>, NodeError> {
        let client = AdminServiceClient::new(self.channel(host).await?);
        Ok(client.max_decoding_message_size(NODE_ANSWER_MAX_BYTES))
    }

    async fn channel(&self, host: &str) -> Result<Channel, NodeError> {
        let failed = |source| NodeError::Connect {
            host: host.to_owned(),
            source,
        };
        // The connector does TLS, so for tonic the connection is a plain one.
        let endpoint = Endpoint::from_shared(format!("http://{host}:{PORT_CLIENT}"));
        let endpoint = endpoint.map_err(failed)?;
        let endpoint = endpoint.connect_timeout(Duration::from_secs(NODE_CONNECT_MAX_SECONDS));
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let dialed = self.dialed;
        let connect = tower::service_fn(move |uri: Uri| dial(tls.clone(), uri, dialed));
        endpoint
            .connect_with_connector(connect)
            .await
            .map_err(failed)
    }
}

async fn send(mut client: AdminServiceClient<Channel>, ask: &Ask) -> Result<(), tonic::Status> {
    match ask {
        Ask::Bootstrap {
            cluster_id,
            ordinal: _,
        } => {
            let cluster_id = cluster_id.clone();
            client.bootstrap(BootstrapRequest { cluster_id }).await?;
        }
        Ask::Decommission { node_id } => {
            let node_id = *node_id;
            client
                .decommission_node(DecommissionNodeRequest { node_id })
                .await?;
        }
        Ask::Recommission { node_id } => {
            let node_id = *node_id;
            client
                .recommission_node(RecommissionNodeRequest { node_id })
                .await?;
        }
        Ask::FinalizeLevel {
            level: FeatureLevel(level),
        } => {
            let level = Some(*level);
            client
                .finalize_level(FinalizeLevelRequest { level })
                .await?;
        }
    }
    Ok(())
}

async fn dial(
    tls: TlsConnector,
    uri: Uri,
    dialed: Option<SocketAddr>,
) -> io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default().to_owned();
    let port = uri.port_u16().unwrap_or_default();
    let stream = match dialed {
        Some(address) => TcpStream::connect(address).await?,
        None => TcpStream::connect((host.as_str(), port)).await?,
    };
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(TokioIo::new(tls.connect(name, stream).await?))
}

async fn bounded<T>(
    host: &str,
    seconds: u64,
    call: impl Future<Output = Result<T, NodeError>>,
) -> Result<T, NodeError> {
    let timed_out = |_| NodeError::TimedOut {
        host: host.to_owned(),
        seconds,
    };
    tokio::time::timeout(Duration::from_secs(seconds), call)
        .await
        .map_err(timed_out)?
}

fn rejected(host: &str, status: tonic::Status) -> NodeError {
    NodeError::Rejected {
        host: host.to_owned(),
        status: Box::new(status),
    }
}

/// Whether the node belongs to no cluster.
fn is_empty(error: &NodeError) -> bool {
    let NodeError::Rejected { status, .. } = error else {
        return false;
    };
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.domain == DOMAIN && info.reason == NOT_BOOTSTRAPPED)
}
