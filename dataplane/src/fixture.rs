//! For tests: nodes in one process with one topic, each with its log service on a port of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lograft_core::limits::{
    FORWARDED_READ_WINDOW_BYTES, FORWARDED_READS_WINDOW_BYTES, REPLIES_MIN_BYTES,
};
use lograft_core::metadata::{Command, Metadata, Outcome};
use lograft_core::{
    BatchBuilder, Compression, FeatureLevel, GroupId, MemoryBudgets, NodeId, PartitionId,
    PartitionState, ProducerId, Reason, Term,
};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use lograft_proto::log::v1::log_service_server::{LogService, LogServiceServer};
use lograft_raft::{ElectionTurn, GroupConfig, RaftGroup, RaftTiming};
use lograft_storage::{GroupOptions, Identity, RealFs, Storage, StorageConfig, WriterDrive};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use crate::access::{Access, AccessParts};
use crate::api::grpc::log_service::LogApi;
use crate::api::grpc::status::to_wire;
use crate::api::held_reply::hold_replies;
use crate::clock::SystemClock;
use crate::closing::Closing;
use crate::control::test_metadata;
use crate::error::ApiError;
use crate::exchange::NodeExchange;
use crate::fatal::{FatalError, FatalSink};
use crate::identity::Caller;
use crate::metrics::Metrics;
use crate::serving::engine::{LogEngine, LogEngineParts};
use crate::serving::meta_group::{LeaderHints, MetaProposal, ProposeMeta, ProposeMetaError};
use crate::serving::replica::{PartitionKey, Replica, ReplicaMap};
use crate::serving::reply_memory::ReplyBudget;
use crate::state_machine::MetaView;
use crate::state_machine::PartitionMachine;
use crate::state_machine::SharedState;
use crate::test_net::Net;
use crate::transport::status::error_of;
use crate::transport::{ChannelClass, ChannelError, GrpcForward, LeaderChannels};

pub(crate) const TOPIC: &str = "orders";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const GROUP: GroupId = GroupId(1);
const TAIL_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Memory of a node for replies.
pub(crate) const REPLIES_BYTES: usize = REPLIES_MIN_BYTES;

/// One node.
pub(crate) struct TestNode {
    pub(crate) id: NodeId,
    pub(crate) replica: Option<Arc<Replica>>,
    pub(crate) client: LogServiceClient<Channel>,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    /// The node's copy of the metadata.
    pub(crate) meta: MetaView,
    /// Whether that copy is current.
    pub(crate) meta_is_current: Arc<AtomicBool>,
    pub(crate) engine: Arc<LogEngine>,
}

/// Nodes from 1 on; the first `replicas` of them hold the topic's only partition.
pub(crate) struct TestCluster {
    pub(crate) nodes: Vec<TestNode>,
    pub(crate) net: Net,
}

struct Peers(BTreeMap<NodeId, Channel>);

impl LeaderChannels for Peers {
    fn channel(&self, node: NodeId, _: ChannelClass) -> Result<Channel, ChannelError> {
        Ok(self.0[&node].clone())
    }
}

struct NoHints;

impl LeaderHints for NoHints {
    fn leader(&self, _: GroupId) -> Option<(NodeId, Term)> {
        None
    }
}

struct Meta {
    is_current: Arc<AtomicBool>,
}

impl ProposeMeta for Meta {
    fn propose(&self, proposal: MetaProposal) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>> {
        let Command::AllocateProducers { count } = proposal.command else {
            panic!("{proposal:?}")
        };
        std::future::ready(Ok(Outcome::Producers {
            first: ProducerId(1),
            count,
        }))
        .boxed()
    }

    fn check_current(&self) -> Result<(), ApiError> {
        if self.is_current.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(ApiError::new(Reason::NotReady, "its metadata may be old"))
        }
    }
}

struct NoFatal;

impl FatalSink for NoFatal {
    fn report(&self, error: FatalError) {
        panic!("{error}");
    }
}

async fn start_replica(storage: &Storage, node: NodeId, net: &Net) -> Arc<Replica> {
    let (log, _) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
    let state = SharedState::new(PartitionState::default());
    let machine = PartitionMachine::new(GROUP, state.clone(), Arc::new(NoFatal));
    let timing = RaftTiming {
        heartbeat: Duration::from_millis(60),
        election_min: Duration::from_millis(250),
        election_max: Duration::from_millis(400),
    };
    let config = GroupConfig {
        group: GROUP,
        node,
        epoch: lograft_core::RecoveryEpoch::ZERO,
        timing,
        turn: ElectionTurn::among(&[], node),
        start: lograft_raft::GroupStart::default(),
    };
    let raft = RaftGroup::start(config, log.clone(), Box::new(machine), net.from(node))
        .await
        .unwrap();
    net.attach(node, raft.clone());
    let key = PartitionKey {
        group: GROUP,
        topic: TOPIC.into(),
        partition: PartitionId(0),
    };
    Arc::new(Replica::new(key, raft, log, (state, None)))
}

/// Starts a node; with a `net`, it holds a replica that talks over it.
async fn start_node(
    id: NodeId,
    listener: TcpListener,
    (metadata, tail_cache_max_bytes): (&Metadata, usize),
    peers: &Arc<Peers>,
    net: Option<&Net>,
) -> TestNode {
    let dir = tempfile::tempdir().unwrap();
    let config = StorageConfig {
        writers: WriterDrive::Threads(1),
        reserve_bytes: 0,
        tail_cache_max_bytes,
        ..StorageConfig::new(dir.path())
    };
    // The directory lives as long as the storage: the tasks that hold it outlive the test's
    // `TestNode`, and a write into a removed directory is fatal.
    let fatal =
        Arc::new(move |error| panic!("storage in {} failed: {error}", dir.path().display()));
    let storage = Storage::open(Arc::new(RealFs), config, fatal).unwrap();
    let cluster_id = metadata.cluster_id().unwrap();
    let identity = Identity {
        cluster_id,
        node_id: id,
    };
    storage.write_identity(&identity).unwrap();
    let replicas = ReplicaMap::default();
    let mut replica = None;
    if let Some(net) = net {
        let opened = start_replica(&storage, id, net).await;
        replicas.insert(&opened);
        replica = Some(opened);
    }
    let metrics = Arc::new(Metrics::new().unwrap());
    let meta = MetaView::new(metadata.clone());
    let is_current = Arc::new(AtomicBool::new(true));
    let access = Access::new(AccessParts {
        view: meta.clone(),
        settings: Arc::default(),
        rules_age: Arc::new(|| Some(Duration::ZERO)),
        metrics: Arc::clone(&metrics),
    });
    let budgets = MemoryBudgets {
        replies_bytes: REPLIES_BYTES,
        ..MemoryBudgets::within(None, tail_cache_max_bytes)
    };
    let engine = LogEngine::new(LogEngineParts {
        node: id,
        replicas,
        meta: meta.clone(),
        meta_handle: Arc::new(Meta {
            is_current: Arc::clone(&is_current),
        }),
        hints: Arc::new(NoHints),
        forward: Arc::new(GrpcForward::new(peers.clone(), &metrics)),
        storage,
        exchange: NodeExchange::new(Arc::new(SystemClock), FeatureLevel::CURRENT, 0),
        replies: ReplyBudget::new(budgets.replies_bytes, &metrics.replies_held_bytes),
        budgets,
        clock: Arc::new(SystemClock),
        metrics: Arc::clone(&metrics),
    });
    let api = LogApi::new(Arc::new(engine), access);
    let engine = api.engine();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(api, listener));
    TestNode {
        id,
        replica,
        client: LogServiceClient::new(peers.0[&id].clone()),
        address,
        metrics,
        meta,
        meta_is_current: is_current,
        engine,
    }
}

/// A node without a replica. It forwards to node 1, which holds the partition and is `leader`.
pub(crate) async fn node_behind<S: LogService>(leader: Option<S>) -> TestNode {
    let mut metadata = test_metadata::cluster(2);
    test_metadata::create(&mut metadata, TOPIC, &[&[1]]);
    let (first, channel_1) = listen().await;
    let (second, channel_2) = listen().await;
    let channels = BTreeMap::from([(NodeId(1), channel_1), (NodeId(2), channel_2)]);
    // A server with another service than the log's knows none of its calls.
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .add_service(health)
        .add_optional_service(leader.map(LogServiceServer::new))
        .serve_with_incoming(TcpListenerStream::new(first));
    tokio::spawn(server);
    start_node(
        NodeId(2),
        second,
        (&metadata, TAIL_CACHE_BYTES),
        &Arc::new(Peers(channels)),
        None,
    )
    .await
}

/// A free port, and a channel to it.
async fn listen() -> (TcpListener, Channel) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let channel = Endpoint::from_shared(address)
        .unwrap()
        .initial_stream_window_size(FORWARDED_READ_WINDOW_BYTES)
        .initial_connection_window_size(FORWARDED_READS_WINDOW_BYTES)
        .connect_lazy();
    (listener, channel)
}

impl TestCluster {
    /// `nodes` nodes, of which `replicas` hold the partition, with a leader that is ready.
    pub(crate) async fn new(nodes: u8, replicas: u8) -> Self {
        Self::with_cache(nodes, replicas, TAIL_CACHE_BYTES).await
    }

    /// The same with a tail cache of this size.
    pub(crate) async fn with_cache(nodes: u8, replicas: u8, cache_bytes: usize) -> Self {
        let net = Net::default();
        let mut metadata = test_metadata::cluster(nodes);
        let ids: Vec<u64> = (1..=u64::from(replicas)).collect();
        test_metadata::create(&mut metadata, TOPIC, &[&ids]);
        let mut listeners = Vec::new();
        let mut channels = BTreeMap::new();
        for n in 1..=u64::from(nodes) {
            let (listener, channel) = listen().await;
            channels.insert(NodeId(n), channel);
            listeners.push(listener);
        }
        let peers = Arc::new(Peers(channels));
        let mut started = Vec::new();
        for (id, listener) in (1..).map(NodeId).zip(listeners) {
            let has_replica = id.get() <= u64::from(replicas);
            let net = Some(&net).filter(|_| has_replica);
            let setup = (&metadata, cache_bytes);
            started.push(start_node(id, listener, setup, &peers, net).await);
        }
        let voters: BTreeSet<NodeId> = ids.into_iter().map(NodeId).collect();
        started[0]
            .replica
            .as_ref()
            .unwrap()
            .raft
            .initialize(voters)
            .await
            .unwrap();
        let cluster = Self {
            nodes: started,
            net,
        };
        cluster.leader().await;
        cluster
    }

    /// The place in `nodes` of the leader, once one is ready.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_but(None).await
    }

    /// The same, but for one node that is cut off.
    pub(crate) async fn leader_but(&self, cut_off: Option<usize>) -> usize {
        let find = || {
            let all = self
                .nodes
                .iter()
                .enumerate()
                .filter(|(n, _)| Some(*n) != cut_off);
            let is_ready = |node: &TestNode| {
                node.replica
                    .as_ref()
                    .is_some_and(|r| r.raft.watch().borrow().ready)
            };
            all.filter(|(_, node)| is_ready(node))
                .map(|(n, _)| n)
                .next()
        };
        eventually("a leader is ready", || find().is_some()).await;
        find().unwrap()
    }

    /// A replica's node that does not lead.
    pub(crate) async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.nodes.len())
            .find(|n| *n != leader && self.nodes[*n].replica.is_some())
            .unwrap()
    }
}

/// Serves without TLS. A caller is a node unless it sends the header `user`.
async fn serve(api: LogApi, listener: TcpListener) {
    let as_caller = move |mut request: tonic::Request<()>| {
        // Only other nodes of the fixture send no header.
        let role = if request.metadata().contains_key("user") {
            "user/u"
        } else {
            "node/n"
        };
        let identity = format!("spiffe://lograft.io/ns/n/cluster/c/{role}")
            .parse()
            .unwrap();
        request.extensions_mut().insert(Caller {
            identity: Arc::new(identity),
            closing: Closing::default(),
        });
        Ok(request)
    };
    let service = tower::ServiceBuilder::new()
        .layer(tonic::service::InterceptorLayer::new(as_caller))
        .service(api.server());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let routes = hold_replies(Routes::new(service).into_axum_router());
    Server::builder()
        .add_routes(routes.into())
        .serve_with_incoming(incoming)
        .await
        .unwrap();
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The error in a status of a node, as the error field of a reply.
pub(crate) fn wire_error(status: &tonic::Status) -> proto::Error {
    to_wire(&error_of(status).unwrap())
}

/// An encoded batch of `count` records with values that start with `seed`.
pub(crate) fn encoded(seed: u64, count: u32) -> proto::EncodedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for n in 0..count {
        let value = format!("{seed}-{n}");
        builder
            .push_parts(1000, None, Some(value.as_bytes()), [])
            .unwrap();
    }
    finished(builder)
}

/// A batch as a client sends it.
pub(crate) fn finished(builder: BatchBuilder) -> proto::EncodedBatch {
    let batch = builder.finish().unwrap();
    proto::EncodedBatch {
        data: batch.bytes,
        crc32c: batch.crc32c,
        record_count: batch.record_count,
    }
}

/// A request to write an encoded batch.
pub(crate) fn produce(seed: u64, count: u32) -> proto::ProduceRequest {
    proto::ProduceRequest {
        topic: TOPIC.into(),
        batch: Some(encoded(seed, count)),
        request_id: seed,
        ..Default::default()
    }
}

/// The same of an idempotent producer.
pub(crate) fn stamped(producer_id: u64, base_sequence: u64, count: u32) -> proto::ProduceRequest {
    let producer = proto::ProducerStamp {
        producer_id,
        producer_epoch: 0,
        base_sequence,
    };
    proto::ProduceRequest {
        producer: Some(producer),
        ..produce(base_sequence, count)
    }
}

/// A plain record.
pub(crate) fn plain(value: &str) -> proto::Record {
    proto::Record {
        value: Some(value.to_owned().into()),
        ..Default::default()
    }
}
