//! Talking to nodes: the admin service over mTLS, all waits bounded.

mod convert;

use std::collections::BTreeMap;
use std::io;
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
use lograft_operator_desired::{Answer, Ask, View};
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::admin::v1::{
    BootstrapRequest, DecommissionNodeRequest, DescribeClusterReply, DescribeClusterRequest,
    PrepareStopRequest, RecommissionNodeRequest,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_types::StatusExt as _;

use crate::error_text::sentence;

/// Reason of a node that belongs to no cluster, and the domain of reasons.
const NOT_BOOTSTRAPPED: &str = "NOT_BOOTSTRAPPED";
const DOMAIN: &str = "lograft.io";

/// Why a node was not asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The operator's own Secret cannot be used.
    #[error("the operator's certificate cannot be used")]
    Identity,
    /// It cannot be used for TLS.
    #[error("using the operator's certificate")]
    Tls(#[source] rustls::Error),
    /// No connection.
    #[error("connecting to {host}")]
    Connect {
        /// The node.
        host: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
    /// The node refused.
    #[error("{host} refused: {}", .status.message())]
    Refused {
        /// The node.
        host: String,
        /// What it said.
        status: Box<tonic::Status>,
    },
    /// No answer in time.
    #[error("{host} did not answer within {seconds} s")]
    TimedOut {
        /// The node.
        host: String,
        /// How long it had.
        seconds: u64,
    },
    /// No node of the cluster answers.
    #[error("no node of the cluster answers")]
    Nobody,
}

/// The operator's way to a cluster's nodes.
#[derive(Clone)]
pub(crate) struct Nodes {
    tls: Arc<ClientConfig>,
}

/// What the nodes said.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) answers: BTreeMap<i32, Answer>,
    pub(crate) view: Option<View>,
    /// Host of the node whose view it is.
    pub(crate) reporter: Option<String>,
}

impl Nodes {
    /// With the operator's certificate for the cluster.
    pub(crate) fn new(secret: &Secret) -> Result<Self, NodeError> {
        let field = |name: &str| {
            let data = secret.data.as_ref().and_then(|data| data.get(name));
            data.map(|text| text.0.as_slice())
                .ok_or(NodeError::Identity)
        };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(field("ca.crt")?) {
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
        Ok(Self {
            tls: Arc::new(config),
        })
    }

    /// Asks every pod what it is, all at once within a bound, and takes the best view of the
    /// cluster: that of the meta group's leader, else of who reaches most.
    pub(crate) async fn ask_all(&self, hosts: BTreeMap<i32, String>) -> Told {
        let asked = hosts.into_iter().map(|(at, host)| async move {
            let reply = self.describe(&host).await;
            (at, host, reply)
        });
        let mut asked = futures_util::stream::iter(asked).buffer_unordered(NODES_ASKED_MAX_COUNT);
        let mut told = Told::default();
        let mut best: Option<((bool, usize), String, DescribeClusterReply)> = None;
        while let Some((at, host, reply)) = asked.next().await {
            let answer = match reply {
                Ok(reply) => {
                    let answer = Answer::Member {
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
                Err(error) if is_empty(&error) => Answer::Empty,
                Err(error) => Answer::Silent(sentence(&error)),
            };
            told.answers.insert(at, answer);
        }
        if let Some((_, host, reply)) = best {
            told.view = Some(convert::view(&reply));
            told.reporter = Some(host);
        }
        told
    }

    async fn describe(&self, host: &str) -> Result<DescribeClusterReply, NodeError> {
        let request = DescribeClusterRequest {
            omit_healthy_partitions: true,
        };
        let call = async {
            let mut client = self.client(host).await?;
            let reply = client.describe_cluster(request).await;
            reply.map_err(|status| refused(host, status))
        };
        Ok(bounded(host, NODE_ANSWER_MAX_SECONDS, call)
            .await?
            .into_inner())
    }

    /// Asks for what a plan wants; `first` is the host of the first pod, `member` that of a node
    /// of the cluster.
    pub(crate) async fn carry_out(
        &self,
        ask: &Ask,
        first: &str,
        member: Option<&str>,
    ) -> Result<(), NodeError> {
        let host = match ask {
            Ask::Bootstrap { .. } => first,
            Ask::Decommission { .. } | Ask::Recommission { .. } => {
                member.ok_or(NodeError::Nobody)?
            }
        };
        bounded(host, NODE_ANSWER_MAX_SECONDS, async {
            let client = self.client(host).await?;
            let done = send(client, ask).await;
            done.map_err(|status| refused(host, status))
        })
        .await
    }

    /// Makes a node ready for its stop; what it still waits for, or nothing. Of what it leads
    /// nothing is said once it `is_due`: that costs a pause, no majority.
    pub(crate) async fn prepare_stop(
        &self,
        node_id: u64,
        is_due: bool,
        member: Option<&str>,
    ) -> Result<Option<String>, NodeError> {
        let host = member.ok_or(NodeError::Nobody)?;
        let call = async {
            let mut client = self.client(host).await?;
            let reply = client.prepare_stop(PrepareStopRequest { node_id }).await;
            reply.map_err(|status| refused(host, status))
        };
        let reply = bounded(host, NODE_PREPARE_MAX_SECONDS, call).await?;
        let reply = reply.into_inner();
        if reply.ready || (is_due && reply.keeps_majorities) {
            return Ok(None);
        }
        let first = reply.waits_for.into_iter().next();
        Ok(first.or_else(|| Some("something that it does not say".to_owned())))
    }

    async fn client(&self, host: &str) -> Result<AdminServiceClient<Channel>, NodeError> {
        let failed = |source| NodeError::Connect {
            host: host.to_owned(),
            source,
        };
        // The connector does TLS: tonic is to speak plainly over what it gives.
        let endpoint = Endpoint::from_shared(format!("http://{host}:{PORT_CLIENT}"));
        let endpoint = endpoint.map_err(failed)?;
        let endpoint = endpoint.connect_timeout(Duration::from_secs(NODE_CONNECT_MAX_SECONDS));
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let connect = tower::service_fn(move |uri: Uri| dial(tls.clone(), uri));
        let channel = endpoint
            .connect_with_connector(connect)
            .await
            .map_err(failed)?;
        let client = AdminServiceClient::new(channel);
        Ok(client.max_decoding_message_size(NODE_ANSWER_MAX_BYTES))
    }
}

async fn send(mut client: AdminServiceClient<Channel>, ask: &Ask) -> Result<(), tonic::Status> {
    match ask {
        Ask::Bootstrap { cluster_id } => {
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
    }
    Ok(())
}

async fn dial(
    tls: TlsConnector,
    uri: Uri,
) -> io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default().to_owned();
    let port = uri.port_u16().unwrap_or_default();
    let stream = TcpStream::connect((host.as_str(), port)).await?;
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

fn refused(host: &str, status: tonic::Status) -> NodeError {
    NodeError::Refused {
        host: host.to_owned(),
        status: Box::new(status),
    }
}

/// Whether the node says that it belongs to no cluster.
fn is_empty(error: &NodeError) -> bool {
    let NodeError::Refused { status, .. } = error else {
        return false;
    };
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.domain == DOMAIN && info.reason == NOT_BOOTSTRAPPED)
}
