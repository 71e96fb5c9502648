//! A whole node: start, run, orderly shutdown.
//!
//! Start: TLS files, storage (which locks the data directory), ports bound, control, ports served.
//! Stop: not ready, leaderships transferred, client port closed after its calls have ended,
//! replicas stopped and their logs flushed, peer port closed.

mod discovery;
mod disk;
mod port;
mod ports;
mod sampler;
mod services;
mod stop;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::FeatureLevel;
use lograft_core::capacity::{Capacity, HostLimits};
use lograft_core::limits::{
    STOP_CONNECTIONS_MAX, STOP_MAX, STOP_RUNTIME_MAX, STOP_TRANSFER_AGAIN_MAX, STOP_TRANSFER_MAX,
};
use lograft_core::metadata::Metadata;
use lograft_discovery::DiscoveryReader;
use lograft_discovery::net::{DatagramNet, Resolver, SystemNet};
use lograft_storage::{Fs, RealFs, Storage, StorageError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tonic_health::server::HealthReporter;
use tracing::{error, info};

use crate::clock::{Clock, SystemClock};
use crate::config::{ConfigError, NodeConfig, TopicDefaultsSource};
use crate::control::{Control, ControlLoops, ControlParts, NodeInfo};
use crate::error_text::error_chain;
use crate::exchange::NodeExchange;
use crate::fatal::{FatalCell, FatalError};
use crate::health::{self, Health, Readiness};
use crate::host::{self, TooFewFiles};
use crate::identity::PeerIdentity;
use crate::incarnation::IncarnationError;
use crate::metrics::disk::MeteredFs;
use crate::metrics::{Metrics, MetricsError};
use crate::net::{AddressBook, Net, TcpNet};
use crate::state_machine::MetaView;
use crate::tls::{Tls, TlsError};
use crate::transport::{PeerPool, RaftPeers};
use crate::watchdog::Watchdog;
use discovery::Discovery;
use disk::{DiskHistory, OpenDisk};
use port::ServedPort;
use ports::Ports;
use sampler::NodeSampler;
use services::Services;

pub use discovery::DiscoveryError;
pub use ports::Addresses;

/// Exit code for a failure at the start.
pub const EXIT_FAILED: u8 = 1;
/// Exit code for a configuration or usage that cannot work.
pub const EXIT_CONFIG: u8 = 2;
/// Exit code for a fault while running, after which only a restart helps: a disk that fails, say.
pub const EXIT_FATAL: u8 = 3;

/// Why a node did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The host's limits are too low.
    #[error(transparent)]
    TooFewFiles(#[from] TooFewFiles),
    /// The TLS files cannot be used.
    #[error("cannot load the TLS files")]
    Tls(#[from] TlsError),
    /// Peers reach the node by the name in its certificate.
    #[error(
        "configuration field name must be that of the node's certificate {identity}, got {name}"
    )]
    Name {
        /// The configured name.
        name: String,
        /// The identity in the certificate.
        identity: Arc<PeerIdentity>,
    },
    /// The history of the data directory cannot be read or continued.
    #[error("cannot raise the incarnation of the node")]
    Incarnation(#[from] IncarnationError),
    /// Discovery cannot start.
    #[error("cannot start discovery")]
    Discovery(#[from] DiscoveryError),
    /// The data directory cannot be used.
    #[error("cannot open the data directory")]
    Storage(#[source] StorageError),
    /// A port cannot be listened on.
    #[error("cannot listen for {what} on {address}")]
    Listen {
        /// The purpose of the port.
        what: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// gRPC reflection cannot be set up.
    #[error("cannot build the gRPC reflection service")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The runtime cannot be set up.
    #[error("cannot start the async runtime")]
    Runtime(#[source] io::Error),
    /// A thread that opened files has panicked.
    #[error("startup task panicked or was cancelled")]
    Task(#[source] tokio::task::JoinError),
    /// A second shutdown signal arrived during the shutdown.
    #[error("second shutdown signal: exiting before leadership transfer finished")]
    CutShort,
    /// It did not stop in time.
    #[error("shutdown took longer than {longest:?}: exiting before it finished")]
    StopTimeout {
        /// The bound, `limits::STOP_MAX`.
        longest: Duration,
    },
    /// The node cannot go on.
    #[error("fatal error: the node must be restarted")]
    Fatal(#[source] FatalError),
}

impl RunError {
    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::TooFewFiles(_) | Self::Name { .. } => EXIT_CONFIG,
            Self::Fatal(_) => EXIT_FATAL,
            _ => EXIT_FAILED,
        }
    }
}

/// The environment of a node; a simulator provides its own.
pub struct NodeEnv {
    /// Listens and connects.
    pub net: Arc<dyn Net>,
    /// Sends and receives datagrams.
    pub datagrams: Arc<dyn DatagramNet>,
    /// Looks up host names.
    pub resolver: Arc<dyn Resolver>,
    /// Files and random numbers.
    pub fs: Arc<dyn Fs>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The newest feature level that the node knows; tests of upgrades set an older one.
    pub level: FeatureLevel,
    /// The limits of the host.
    pub host: HostLimits,
    /// Ends the process: called if a disk that hangs keeps the node from ending by itself.
    pub end_process: Arc<dyn Fn() + Send + Sync>,
}

impl NodeEnv {
    /// TCP, the file system, the system's clock, the level of this program, the host's limits.
    pub fn real() -> Self {
        Self {
            net: Arc::new(TcpNet),
            datagrams: Arc::new(SystemNet),
            resolver: Arc::new(SystemNet),
            fs: Arc::new(RealFs),
            clock: Arc::new(SystemClock),
            level: FeatureLevel::CURRENT,
            host: host::limits(),
            end_process: Arc::new(|| std::process::exit(i32::from(EXIT_FATAL))),
        }
    }
}

impl NodeEnv {
    fn peer_pool(
        &self,
        capacity: Capacity,
        tls: &Arc<Tls>,
        metrics: &Arc<Metrics>,
        addresses: watch::Receiver<AddressBook>,
    ) -> PeerPool {
        let (clock, replicas_max_count) = (Arc::clone(&self.clock), capacity.replicas_max_count);
        let exchange = NodeExchange::new(clock, self.level, replicas_max_count);
        let (net, tls) = (Arc::clone(&self.net), Arc::clone(tls));
        PeerPool::new(net, tls, Arc::clone(metrics), exchange, addresses)
    }
}

/// A node at work.
pub struct Node {
    addresses: Addresses,
    control: Control,
    fatal: Arc<FatalCell>,
    readiness: watch::Sender<Readiness>,
    client_port: ServedPort,
    peer_port: ServedPort,
    /// Publishes control's readiness; stopped first.
    telling: AbortHandle,
    /// Publishes the readiness to clients by the gRPC health service.
    reporter: HealthReporter,
    storage: Storage,
    /// Ends with the node: control, health, the look at the TLS files.
    tasks: JoinSet<()>,
    _watchdog: Watchdog,
}

impl Node {
    /// Builds a node and lets it run. It may not be ready yet, nor belong to a cluster.
    pub async fn start(config: NodeConfig, mut env: NodeEnv) -> Result<Self, RunError> {
        config.check()?;
        config.log_ignored();
        let capacity = capacity(&config, env.host)?;
        let tls = load_tls(&config)?;
        let metrics = Arc::new(Metrics::new()?);
        env.fs = Arc::new(MeteredFs::new(env.fs, &metrics));
        let fatal = Arc::new(FatalCell::default());
        let Ports {
            client,
            peer,
            health,
            gossip,
            addresses,
        } = Ports::bind(&env, &config, capacity).await?;
        let OpenDisk {
            storage,
            budgets,
            watchdog,
        } = OpenDisk::open(&config, &env, &fatal).await?;
        let info = node_info(&config, addresses);
        let (book, addresses_known) = watch::channel(AddressBook::new());
        let pool = env.peer_pool(capacity, &tls, &metrics, addresses_known);
        let history = DiskHistory::open(&config, &env, &storage, pool.exchange()).await?;
        let own = (&info, history.incarnation.number);
        let discovery = Discovery::new(&config, &env, &tls, own, gossip).await?;
        let resources = ControlResources {
            pool: pool.clone(),
            storage: storage.clone(),
            tls: Arc::clone(&tls),
            fatal: Arc::clone(&fatal),
            discovery: discovery.reader(),
            history,
        };
        let (control, loops) = resources.control((&config, info), env, book);
        let mut tasks = JoinSet::new();
        discovery.spawn(&mut tasks, &control);
        metrics.set_sampler(Arc::new(NodeSampler::new(&control, &tls)));
        let services = Services::new(services::ServiceParts {
            control: control.clone(),
            storage: storage.clone(),
            budgets,
            pool,
            metrics: Arc::clone(&metrics),
        });
        let readiness = watch::Sender::new(Readiness::Waiting("the node is starting".to_owned()));
        tasks.spawn(loops.run());
        tasks.spawn(disk::watch_room(storage.clone()));
        tasks.spawn(Arc::clone(&tls).watch_files());
        let told = Health::new(&readiness, &metrics);
        tasks.spawn(health::serve(health, Arc::new(told)));
        let telling = tasks.spawn(services.follow(readiness.clone()));
        let client_port = client.serve(Arc::clone(&tls), &metrics, services.client_port()?);
        let peer_port = peer.serve(tls, &metrics, services.peer_port());
        addresses.log();
        Ok(Self {
            addresses,
            control,
            fatal,
            readiness,
            client_port,
            peer_port,
            telling,
            reporter: services.reporter(),
            storage,
            tasks,
            _watchdog: watchdog,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whether it can serve, as it changes.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Waits for a fault that the node cannot live on after.
    pub async fn fault(&self) -> FatalError {
        self.fatal.wait().await
    }

    /// Runs until a shutdown signal or a fatal error, as [`run`] does.
    pub async fn run(self, mut told_to_stop: impl AsyncFnMut()) -> Result<(), RunError> {
        let fault = tokio::select! {
            () = told_to_stop() => None,
            fault = self.fault() => Some(fault),
        };
        match fault {
            Some(fault @ FatalError::DiskHung { .. }) => {
                self.close_ports().await;
                Err(RunError::Fatal(fault))
            }
            // Its memory may be wrong: no hand-over, no answer, the disk is recovered at the start.
            Some(fault) => Err(RunError::Fatal(fault)),
            None => {
                let fatal = Arc::clone(&self.fatal);
                tokio::select! {
                    ended = stop::within(STOP_MAX, self.stop(), told_to_stop()) => ended,
                    fault = fatal.wait() => Err(RunError::Fatal(fault)),
                }
            }
        }
    }

    /// Closes all ports and their connections, without waiting for their calls.
    async fn close_ports(self) {
        let Self {
            control,
            client_port,
            peer_port,
            mut tasks,
            ..
        } = self;
        control
            .readiness
            .set(Readiness::Waiting("its disk hangs".to_owned()));
        // The health port is among them.
        tasks.abort_all();
        tokio::join!(
            client_port.stop(Duration::ZERO),
            peer_port.stop(Duration::ZERO)
        );
    }

    /// Stops in order, within seconds.
    pub async fn stop(self) {
        let Self {
            control,
            readiness,
            client_port,
            peer_port,
            telling,
            reporter,
            storage,
            mut tasks,
            ..
        } = self;
        info!("node is stopping");
        telling.abort();
        let stops = Readiness::Waiting("the node is stopping".to_owned());
        services::tell(&reporter, &stops).await;
        readiness.send_replace(stops);
        control.transfers.transfer_all(STOP_TRANSFER_MAX).await;
        client_port.stop(STOP_CONNECTIONS_MAX).await;
        // Meanwhile an election may have made this node a leader again.
        control
            .transfers
            .transfer_all(STOP_TRANSFER_AGAIN_MAX)
            .await;
        tasks.abort_all();
        stop::shut_down(&control.replicas).await;
        stop::flush(&control.replicas, storage).await;
        peer_port.stop(Duration::ZERO).await;
        info!("node stopped");
    }
}

/// The parts of a node that control is built from.
struct ControlResources {
    pool: PeerPool,
    storage: Storage,
    tls: Arc<Tls>,
    fatal: Arc<FatalCell>,
    discovery: DiscoveryReader,
    history: DiskHistory,
}

impl ControlResources {
    fn control(
        self,
        (config, info): (&NodeConfig, NodeInfo),
        env: NodeEnv,
        book: watch::Sender<AddressBook>,
    ) -> (Control, ControlLoops) {
        let Self {
            pool,
            storage,
            tls,
            fatal,
            discovery,
            history,
        } = self;
        let NodeEnv {
            net: _,
            datagrams: _,
            resolver: _,
            fs,
            clock,
            level,
            host: _,
            end_process: _,
        } = env;
        let peers = Arc::new(pool.clone());
        let exchange = pool.exchange().clone();
        let parts = ControlParts {
            exchange,
            incarnations: history.files,
            marks: history.marks,
            info,
            discovery,
            topic_defaults: TopicDefaultsSource::new(config),
            seeds: config
                .seeds
                .iter()
                .map(|seed| Arc::from(seed.as_str()))
                .collect(),
            data_dir: config.data_dir.clone(),
            fs,
            storage,
            transport: Arc::new(move |member| Arc::new(RaftPeers::new(pool.clone(), member))),
            peers,
            clock,
            timing: config.raft.timing(),
            addresses: book,
            certificates: Arc::new(move || tls.loaded()),
            fatal,
            level,
        };
        Control::new(parts, MetaView::new(Metadata::default()))
    }
}

/// Loads the certificate, which must be that of this node: its peers look for it by name, whatever
/// its address.
fn load_tls(config: &NodeConfig) -> Result<Arc<Tls>, RunError> {
    let tls = Tls::load(config.tls.clone())?;
    let identity = tls.identity();
    if !identity.is_node_named(&config.name) {
        let name = config.name.clone();
        return Err(RunError::Name { name, identity });
    }
    Ok(Arc::new(tls))
}

fn capacity(config: &NodeConfig, host: HostLimits) -> Result<Capacity, TooFewFiles> {
    host::check(host)?;
    let cores = config.runtime.worker_threads_count.unwrap_or(host.cores);
    let capacity = Capacity::of(
        HostLimits { cores, ..host },
        config.runtime.replicas_max_count,
    );
    let HostLimits { open_files, .. } = host;
    info!(
        open_files,
        replicas_max = capacity.replicas_max_count,
        client_connections_max = capacity.client_connections_max_count,
        peer_connections_max = capacity.peer_connections_max_count,
        "capacity of the node"
    );
    Ok(capacity)
}

fn node_info(config: &NodeConfig, addresses: Addresses) -> NodeInfo {
    let or = |given: &Option<String>, bound: SocketAddr| {
        given.clone().unwrap_or_else(|| bound.to_string())
    };
    NodeInfo {
        name: config.name.clone(),
        zone: config.zone.clone(),
        client_address: or(&config.advertise.client, addresses.client),
        peer_address: or(&config.advertise.peer, addresses.peer),
    }
}

/// Runs a node until a shutdown signal or a fatal error. A second signal, or a shutdown that takes
/// too long, ends it at once. That loses nothing: acknowledged records are on disk at all times.
pub async fn run(config: NodeConfig, told_to_stop: impl AsyncFnMut()) -> Result<(), RunError> {
    let node = Node::start(config, NodeEnv::real()).await?;
    node.run(told_to_stop).await
}

/// Runs a node as this whole process, until SIGTERM or SIGINT.
pub fn main(config: NodeConfig) -> ExitCode {
    // Another provider installed before is an error of the program's author; rustls says so.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(count) = config.runtime.worker_threads_count {
        builder.worker_threads(count);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return ended(&RunError::Runtime(source)),
    };
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        run(config, async || signals.next().await).await
    });
    match result {
        Ok(()) => {
            runtime.shutdown_timeout(STOP_RUNTIME_MAX);
            ExitCode::SUCCESS
        }
        // Its connections to other nodes end with their tasks. The process may stay for as long as
        // the disk hangs, and its open sockets with it.
        Err(error @ RunError::Fatal(FatalError::DiskHung { .. })) => {
            runtime.shutdown_timeout(STOP_RUNTIME_MAX);
            ended(&error)
        }
        Err(error) => {
            runtime.shutdown_background();
            ended(&error)
        }
    }
}

fn ended(error: &RunError) -> ExitCode {
    error!(error = %error_chain(error), "node failed");
    ExitCode::from(error.exit_code())
}

/// SIGTERM and SIGINT, one after the other.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let listen = |kind| signal(kind).map_err(RunError::Runtime);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
