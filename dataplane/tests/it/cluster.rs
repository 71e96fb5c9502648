//! A cluster of nodes in this process, and the calls that the tests make.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lograft_core::FeatureLevel;
use lograft_core::limits::{SEGMENT_MIN_BYTES, TAIL_CACHE_MIN_BYTES};
use lograft_discovery::gossip::key_file_text;
use lograft_discovery::net::{BoxFuture, Resolver};
use lograft_node::clock::{Clock, SystemClock};
use lograft_node::config::{
    AdvertiseConfig, AuthorizationSettings, ConnectionSettings, DiscoverySettings, GossipSettings,
    HttpSettings, ListenConfig, LogFormat, LogSettings, NodeConfig, RaftSettings, RecoverySettings,
    RuntimeSettings, StorageSettings, TlsConfig, TopicDefaults,
};
use lograft_node::exchange::NodeExchange;
use lograft_node::health::Readiness;
use lograft_node::metrics::Metrics;
use lograft_node::net::{AddressBook, TcpNet};
use lograft_node::run::{Addresses, Node, NodeEnv, RunError};
use lograft_node::tls::Tls;
use lograft_node::transport::PeerPool;
use lograft_proto::admin::v1 as admin;
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use lograft_storage::{FaultFs, Fs, StorageError};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::links::Links;
use crate::pki::{Ca, Leaf};
use crate::process::Process;
use crate::user_channel::{self, client_tls, try_connect};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const CLUSTER_ID: &str = "0190b7a4-7c1e-4d55-9c52-6f2f6f3c0d11";

/// Tries until `attempt` gives something.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nodes of one cluster; those that are stopped keep their directories and addresses.
pub(crate) struct Cluster {
    pub(crate) ca: Ca,
    dir: TempDir,
    members: Vec<Member>,
    /// The newest feature level that the nodes started from now on know.
    pub(crate) level: FeatureLevel,
    /// The number of replicas that the nodes started from now on carry.
    pub(crate) replicas_max_count: Option<u32>,
    /// The limits of connections to the nodes that are added from now on.
    pub(crate) connections: ConnectionSettings,
    /// Whether the nodes that are added from now on gossip. Then they have no seeds but the gossip
    /// address of the first such node.
    pub(crate) gossip: bool,
    /// If set, the seed of the nodes that are added from now on is [`SEEDS_NAME`], which is looked
    /// up here.
    pub(crate) names: Option<Names>,
    /// How the nodes that are added from now on use the authorization rules.
    pub(crate) authorization: AuthorizationSettings,
    /// When the nodes that are added from now on count others as lost.
    pub(crate) recovery: RecoverySettings,
    /// Settings of HTTP of the nodes that are added from now on, which have an HTTP port then.
    pub(crate) http: Option<HttpSettings>,
    /// The zones of the nodes that are added from now on, by place.
    pub(crate) zones: Vec<String>,
    /// The network between the nodes, if its links can be cut.
    pub(crate) links: Option<Links>,
    /// The file system of the nodes that are added from now on, if not the real one.
    pub(crate) fs: Option<FaultFs>,
    pool: PeerPool,
    _book: watch::Sender<AddressBook>,
}

/// A host name that only [`Names`] knows.
pub(crate) const SEEDS_NAME: &str = "nodes.lograft.invalid:9401";

/// A name server that knows one name.
#[derive(Clone, Default)]
pub(crate) struct Names(pub(crate) Arc<Mutex<Vec<SocketAddr>>>);

impl Resolver for Names {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().clone()) })
    }
}

/// The system's clock, set off by so many milliseconds.
#[derive(Default)]
struct ShiftedClock(AtomicI64);

impl Clock for ShiftedClock {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + self.0.load(Ordering::Relaxed)
    }
}

struct Member {
    clock: Arc<ShiftedClock>,
    config: NodeConfig,
    addresses: Addresses,
    node: Option<Node>,
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

impl Cluster {
    /// No node yet.
    pub(crate) fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(std::env::var("LOGRAFT_LOG").unwrap_or_else(|_| "off".to_owned()))
            .with_test_writer()
            .try_init();
        let ca = Ca::new();
        let dir = tempfile::tempdir().unwrap();
        let book = watch::Sender::new(AddressBook::new());
        let tls = Arc::new(Tls::load(certificates(&ca, &dir.path().join("tester"))).unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let pool = PeerPool::new(
            Arc::new(TcpNet),
            tls,
            metrics,
            NodeExchange::new(Arc::new(SystemClock), FeatureLevel::CURRENT, 0),
            book.subscribe(),
        );
        Self {
            ca,
            dir,
            members: Vec::new(),
            level: FeatureLevel::CURRENT,
            replicas_max_count: None,
            connections: ConnectionSettings::default(),
            gossip: false,
            names: None,
            authorization: AuthorizationSettings::default(),
            recovery: RecoverySettings::default(),
            http: None,
            zones: Vec::new(),
            links: None,
            fs: None,
            pool,
            _book: book,
        }
    }

    /// A cluster of so many nodes, all ready.
    pub(crate) async fn of(count: usize) -> Self {
        Self::new().with_nodes(count).await
    }

    /// The same whose nodes have HTTP ports.
    pub(crate) async fn with_http(count: usize) -> Self {
        let mut cluster = Self::new();
        cluster.http = Some(HttpSettings::default());
        cluster.with_nodes(count).await
    }

    /// Adds so many nodes, and waits until all are ready.
    pub(crate) async fn with_nodes(mut self, count: usize) -> Self {
        let cluster = &mut self;
        cluster.add().await;
        cluster.bootstrap(0).await.unwrap();
        for _ in 1..count {
            cluster.add().await;
        }
        for at in 0..count {
            cluster.ready(at).await;
        }
        self
    }

    /// Starts one more node, with all before it as seeds.
    pub(crate) async fn add(&mut self) -> usize {
        let at = self.members.len();
        let config = self.next_config();
        let clock = Arc::<ShiftedClock>::default();
        let env = self.env(at, &clock);
        let node = Node::start(config.clone(), env).await.unwrap();
        let addresses = node.addresses();
        if let Some(links) = &self.links {
            links.register(at, addresses.peer);
        }
        self.members.push(Member {
            config,
            addresses,
            clock,
            node: Some(node),
        });
        at
    }

    /// Starts one more node as a process, with this raft timing and environment.
    pub(crate) async fn add_process(
        &mut self,
        raft: RaftSettings,
        environment: &[(&str, &str)],
    ) -> Process {
        let config = NodeConfig {
            raft,
            log: LogSettings {
                format: LogFormat::Json,
                ..LogSettings::default()
            },
            ..self.next_config()
        };
        let file = self.file(&config.name);
        std::fs::write(&file, serde_yaml::to_string(&config).unwrap()).unwrap();
        let process = Process::start(&file, environment);
        let addresses = process.addresses().await;
        self.members.push(Member {
            config,
            addresses,
            clock: Arc::default(),
            node: None,
        });
        process
    }

    /// Starts the process of a node again, where it was.
    pub(crate) async fn restart_process(&mut self, at: usize) -> Process {
        let member = &mut self.members[at];
        let Addresses {
            client,
            peer,
            health,
            gossip: _,
            http,
        } = member.addresses;
        member.config.listen = ListenConfig {
            client,
            peer,
            health,
            http,
        };
        let config = member.config.clone();
        self.start_process(&config).await
    }

    /// Starts a second process of a node on another data directory and on ports of its own.
    pub(crate) async fn start_copy(&self, at: usize, data_dir: PathBuf) -> Process {
        let config = NodeConfig {
            data_dir,
            listen: ListenConfig {
                client: any_port(),
                peer: any_port(),
                health: any_port(),
                http: None,
            },
            seeds: self.seeds(),
            ..self.members[at].config.clone()
        };
        self.start_process(&config).await
    }

    async fn start_process(&self, config: &NodeConfig) -> Process {
        let name = config.data_dir.parent().and_then(Path::file_name).unwrap();
        let file = self.file(&name.to_string_lossy());
        std::fs::write(&file, serde_yaml::to_string(config).unwrap()).unwrap();
        let process = Process::start(&file, &[]);
        process.addresses().await;
        process
    }

    /// Of the configuration of a node that runs as a process.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.yaml"))
    }

    fn next_config(&self) -> NodeConfig {
        let name = format!("n{}", self.members.len());
        NodeConfig {
            data_dir: self.dir.path().join(&name).join("data"),
            zone: self
                .zones
                .get(self.members.len())
                .cloned()
                .unwrap_or_default(),
            listen: ListenConfig {
                client: any_port(),
                peer: any_port(),
                health: any_port(),
                http: self.http.as_ref().map(|_| any_port()),
            },
            http: self.http.clone().unwrap_or_default(),
            advertise: AdvertiseConfig::default(),
            tls: certificates(&self.ca, &self.dir.path().join(&name)),
            connections: self.connections.clone(),
            seeds: self.seeds(),
            discovery: self.discovery(),
            runtime: RuntimeSettings {
                replicas_max_count: self.replicas_max_count,
                ..RuntimeSettings::default()
            },
            storage: StorageSettings {
                reserve_bytes: 1,
                // Small, so that retention has something to give up.
                segment_max_bytes: SEGMENT_MIN_BYTES,
                tail_cache_max_bytes: TAIL_CACHE_MIN_BYTES,
                ..StorageSettings::default()
            },
            raft: RaftSettings::default(),
            topics: TopicDefaults::default(),
            authorization: self.authorization.clone(),
            recovery: self.recovery.clone(),
            ignore_if_unknown: Vec::new(),
            ignored: Vec::new(),
            file: None,
            is_zone_fixed: false,
            log: LogSettings::default(),
            name,
        }
    }

    fn seeds(&self) -> Vec<String> {
        if self.names.is_some() {
            return vec![SEEDS_NAME.to_owned()];
        }
        let others = self.members.iter().filter(|_| !self.gossip);
        others
            .map(|member| member.addresses.peer.to_string())
            .collect()
    }

    fn discovery(&self) -> DiscoverySettings {
        let gossip = self.gossip.then(|| {
            if !self.gossip_keys().exists() {
                std::fs::write(self.gossip_keys(), key_file_text(&[7; 32])).unwrap();
            }
            let first = self
                .members
                .iter()
                .find_map(|member| member.addresses.gossip);
            GossipSettings {
                listen: any_port(),
                key_file: self.gossip_keys(),
                seeds: first.iter().map(ToString::to_string).collect(),
            }
        });
        DiscoverySettings {
            gossip,
            ..DiscoverySettings::default()
        }
    }

    /// The key file of all nodes.
    pub(crate) fn gossip_keys(&self) -> PathBuf {
        self.dir.path().join("gossip.keys")
    }

    fn env(&self, at: usize, clock: &Arc<ShiftedClock>) -> NodeEnv {
        let real = NodeEnv::real();
        NodeEnv {
            net: self.links.as_ref().map_or(real.net, |links| links.of(at)),
            level: self.level,
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            fs: self
                .fs
                .clone()
                .map_or(real.fs, |disk| Arc::new(disk) as Arc<dyn Fs>),
            end_process: Arc::new(|| ()),
            resolver: self
                .names
                .clone()
                .map_or(real.resolver, |names| Arc::new(names) as Arc<dyn Resolver>),
            ..real
        }
    }

    /// Sets the clock of a node by so many milliseconds off the right time.
    pub(crate) fn shift_clock(&self, at: usize, ms: i64) {
        self.members[at].clock.0.store(ms, Ordering::Relaxed);
    }

    /// Takes a node out, to run it.
    pub(crate) fn take(&mut self, at: usize) -> Node {
        self.members[at].node.take().unwrap()
    }

    /// The fault that ends a node.
    pub(crate) async fn fault(&self, at: usize) -> String {
        let fault = self.members[at].node.as_ref().unwrap().fault();
        let fault = tokio::time::timeout(PATIENCE, fault).await.unwrap();
        lograft_node::error_chain(&fault)
    }

    /// Stops a node in order.
    pub(crate) async fn stop(&mut self, at: usize) {
        self.members[at].node.take().unwrap().stop().await;
    }

    /// Starts a stopped node again, where it was.
    pub(crate) async fn restart(&mut self, at: usize) {
        let Addresses {
            client,
            peer,
            health,
            gossip,
            http,
        } = self.members[at].addresses;
        self.gossip_at(at, gossip.unwrap_or_else(any_port));
        let listen = ListenConfig {
            client,
            peer,
            health,
            http,
        };
        self.restart_at(at, listen).await;
    }

    /// Starts a stopped node again, on other ports. Nobody is told.
    pub(crate) async fn restart_elsewhere(&mut self, at: usize) {
        let (client, peer, health) = (any_port(), any_port(), any_port());
        self.gossip_at(at, any_port());
        let listen = ListenConfig {
            client,
            peer,
            health,
            http: self.members[at].addresses.http.map(|_| any_port()),
        };
        self.restart_at(at, listen).await;
    }

    fn gossip_at(&mut self, at: usize, listen: SocketAddr) {
        if let Some(settings) = &mut self.members[at].config.discovery.gossip {
            settings.listen = listen;
        }
    }

    async fn restart_at(&mut self, at: usize, listen: ListenConfig) {
        let level = self.level;
        let clock = Arc::clone(&self.members[at].clock);
        let net = self.links.as_ref().map(|links| links.of(at));
        let env = || {
            let real = NodeEnv::real();
            NodeEnv {
                level,
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                net: net.clone().unwrap_or(real.net),
                ..real
            }
        };
        let member = &mut self.members[at];
        member.config.listen = listen;
        // The last tasks of the stopped node may hold its data directory for a moment.
        let node = eventually("the node to start again", async || {
            match Node::start(member.config.clone(), env()).await {
                Ok(node) => Some(node),
                Err(RunError::Storage(StorageError::InUse { .. })) => None,
                Err(error) => panic!("{}", lograft_node::error_chain(&error)),
            }
        })
        .await;
        member.addresses = node.addresses();
        member.node = Some(node);
    }

    /// Sets the seeds that a node has at its next start.
    pub(crate) fn set_seeds(&mut self, at: usize, seeds: &[usize]) {
        let address = |seed: &usize| self.members[*seed].addresses.peer.to_string();
        self.members[at].config.seeds = seeds.iter().map(address).collect();
    }

    pub(crate) fn data_dir(&self, at: usize) -> PathBuf {
        self.members[at].config.data_dir.clone()
    }

    /// What a node waits for; nothing once it is ready.
    pub(crate) fn waits_for(&self, at: usize) -> Option<String> {
        match &*self.members[at].node.as_ref().unwrap().readiness().borrow() {
            Readiness::Ready => None,
            Readiness::Waiting(text) => Some(text.clone()),
        }
    }

    pub(crate) fn addresses(&self, at: usize) -> Addresses {
        self.members[at].addresses
    }

    /// Waits until a node says that it is ready.
    pub(crate) async fn ready(&self, at: usize) {
        let mut readiness = self.members[at].node.as_ref().unwrap().readiness();
        let ready = readiness.wait_for(|now| *now == Readiness::Ready);
        let waited = tokio::time::timeout(PATIENCE, ready).await.map(drop);
        assert!(
            waited.is_ok(),
            "node {at} is not ready: {:?}",
            *readiness.borrow()
        );
    }

    pub(crate) fn channel(&self, at: usize) -> Channel {
        self.pool
            .channel_to(&self.members[at].addresses.client.to_string().into())
            .unwrap()
    }

    pub(crate) fn admin(&self, at: usize) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel(at))
    }

    pub(crate) fn log(&self, at: usize) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel(at)).max_decoding_message_size(64 << 20)
    }

    /// The answer of a node's health port, with its head.
    pub(crate) async fn get(&self, at: usize, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let to = self.members[at].addresses.health;
        let mut io = tokio::net::TcpStream::connect(to).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Connects to a port with a certificate of the cluster's CA for this principal.
    pub(crate) async fn connect_as(&self, principal: &str, to: SocketAddr) -> std::io::Result<()> {
        let leaf = self.ca.issue(&[crate::pki::uri(principal)]);
        try_connect(client_tls(&self.ca, Some(&leaf)), to).await
    }

    /// A TLS connection to a port with a certificate of the cluster's CA for this principal.
    pub(crate) async fn open_as(&self, principal: &str, to: SocketAddr) -> TlsStream<TcpStream> {
        let leaf = self.ca.issue(&[crate::pki::uri(principal)]);
        let tls = client_tls(&self.ca, Some(&leaf));
        user_channel::open(tls, to).await.unwrap()
    }

    /// A channel to a port with a certificate of the cluster's CA for this principal.
    pub(crate) fn channel_of(&self, principal: &str, to: SocketAddr) -> Channel {
        self.channel_with(&self.ca.issue(&[crate::pki::uri(principal)]), to)
    }

    /// A channel to a port with this certificate.
    pub(crate) fn channel_with(&self, leaf: &Leaf, to: SocketAddr) -> Channel {
        user_channel::channel(client_tls(&self.ca, Some(leaf)), to)
    }

    /// Gives a stopped node another name, with a certificate of that name.
    pub(crate) fn rename(&mut self, at: usize, name: &str) {
        let config = &mut self.members[at].config;
        config.tls = certificates(&self.ca, &self.dir.path().join(name));
        name.clone_into(&mut config.name);
    }

    pub(crate) async fn bootstrap(&self, at: usize) -> Result<admin::BootstrapReply, Status> {
        let request = admin::BootstrapRequest {
            cluster_id: CLUSTER_ID.to_owned(),
        };
        Ok(self.admin(at).bootstrap(request).await?.into_inner())
    }

    pub(crate) async fn create_topic(&self, at: usize, name: &str, partitions: u32, rf: u32) {
        let request = admin::CreateTopicRequest {
            name: name.to_owned(),
            partitions,
            replication_factor: rf,
            retention: None,
            timeout_ms: 30_000,
            ..admin::CreateTopicRequest::default()
        };
        let reply = self
            .admin(at)
            .create_topic(request)
            .await
            .unwrap()
            .into_inner();
        assert!(reply.ready, "{reply:?}");
    }

    pub(crate) async fn topics(&self, at: usize) -> Vec<admin::TopicSummary> {
        let request = admin::ListTopicsRequest::default();
        let reply = self.admin(at).list_topics(request).await.unwrap();
        reply.into_inner().topics
    }

    /// Produces until it is acknowledged, and gives the offset.
    pub(crate) async fn produce(&self, at: usize, partition: u32, value: &str) -> u64 {
        eventually("a produce to go through", async || {
            self.try_produce(at, partition, value)
                .await
                .ok()
                .map(|reply| reply.base_offset)
        })
        .await
    }

    pub(crate) async fn try_produce(
        &self,
        at: usize,
        partition: u32,
        value: &str,
    ) -> Result<log::ProduceReply, Status> {
        let request = log::ProduceRequest {
            partition,
            ..record_for("t", value)
        };
        Ok(self.log(at).produce(request).await?.into_inner())
    }

    /// Every value of a partition, from its beginning.
    pub(crate) async fn read_all(&self, at: usize, partition: u32) -> Vec<String> {
        eventually("a read to go through", async || {
            self.try_read(at, partition).await.ok()
        })
        .await
    }

    /// Every value of a partition, from its beginning; `None` if the read fails.
    pub(crate) async fn try_read_all(&self, at: usize, partition: u32) -> Option<Vec<String>> {
        self.try_read(at, partition).await.ok()
    }

    /// Whether no fault has ended the node so far.
    pub(crate) async fn is_running(&self, at: usize) -> bool {
        let fault = self.members[at].node.as_ref().unwrap().fault();
        let soon = std::time::Duration::from_millis(100);
        tokio::time::timeout(soon, fault).await.is_err()
    }

    /// Follows a partition for ever.
    pub(crate) async fn follow(&self, at: usize) -> tonic::Streaming<log::FetchReply> {
        self.follow_with(self.channel(at)).await
    }

    /// The same over another channel.
    pub(crate) async fn follow_with(&self, to: Channel) -> tonic::Streaming<log::FetchReply> {
        let mut log = LogServiceClient::new(to).max_decoding_message_size(64 << 20);
        log.consume(follow_request("t")).await.unwrap().into_inner()
    }

    async fn try_read(&self, at: usize, partition: u32) -> Result<Vec<String>, Status> {
        let request = log::ConsumeRequest {
            partition,
            format: log::FetchFormat::Records.into(),
            follow: false,
            ..follow_request("t")
        };
        let mut replies = self.log(at).consume(request).await?.into_inner();
        let mut values = Vec::new();
        while let Some(reply) = replies.message().await? {
            for record in reply.records {
                let value = record
                    .record
                    .and_then(|record| record.value)
                    .unwrap_or_default();
                values.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
        Ok(values)
    }

    pub(crate) async fn describe(&self, at: usize) -> admin::DescribeClusterReply {
        eventually("a description", async || {
            let request = admin::DescribeClusterRequest::default();
            self.admin(at)
                .describe_cluster(request)
                .await
                .ok()
                .map(tonic::Response::into_inner)
        })
        .await
    }

    /// The id of the node at a place, once that node knows itself to be there.
    pub(crate) async fn id_of(&self, at: usize) -> u64 {
        let address = self.addresses(at).client.to_string();
        let is_it = |n: &admin::NodeDescription| {
            n.client_address == address && n.state() != admin::NodeState::Removed
        };
        eventually("a node to know where it is", async || {
            let nodes = self.describe(at).await.nodes;
            nodes.iter().find(|n| is_it(n)).map(|n| n.node_id)
        })
        .await
    }

    /// Waits until a node describes the cluster as healthy, with so many nodes.
    pub(crate) async fn healthy(&self, at: usize, nodes: usize) {
        eventually("the cluster to be healthy", async || {
            let reply = self.describe(at).await;
            (reply.healthy && reply.nodes.len() == nodes).then_some(())
        })
        .await;
    }
}

/// Asks for the records of the first partition of a topic from its beginning, and for those to
/// come.
pub(crate) fn follow_request(topic: &str) -> log::ConsumeRequest {
    log::ConsumeRequest {
        topic: topic.to_owned(),
        position: Some(earliest()),
        follow: true,
        ..log::ConsumeRequest::default()
    }
}

pub(crate) fn earliest() -> log::Position {
    let at = Some(log::position::At::Earliest(true));
    log::Position { at }
}

/// Asks to append one record to the first partition of a topic.
pub(crate) fn record_for(topic: &str, value: &str) -> log::ProduceRequest {
    let record = log::Record {
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..log::Record::default()
    };
    log::ProduceRequest {
        topic: topic.to_owned(),
        records: vec![record],
        timeout_ms: 5000,
        ..log::ProduceRequest::default()
    }
}

fn certificates(ca: &Ca, dir: &Path) -> TlsConfig {
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    ca.write(dir, &format!("node/{name}"));
    TlsConfig {
        cert: dir.join("tls.crt"),
        key: dir.join("tls.key"),
        ca: dir.join("ca.crt"),
    }
}
