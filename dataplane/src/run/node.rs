//! A node: its start, its run, its stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::capacity::{Capacity, HostLimits};
use lograft_core::limits::{
    STOP_CONNECTIONS_MAX, STOP_MAX, STOP_TRANSFER_AGAIN_MAX, STOP_TRANSFER_MAX,
};
use lograft_storage::Storage;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tonic_health::server::HealthReporter;
use tracing::info;

use super::client_ports::ClientPorts;
use super::control_resources::ControlResources;
use super::discovery::Discovery;
use super::disk::{DiskHistory, OpenDisk};
use super::error::RunError;
use super::node_env::NodeEnv;
use super::port::ServedPort;
use super::ports::{Addresses, Ports};
use super::sampler::NodeSampler;
use super::services::Services;
use super::{disk, services, stop};
use crate::access::{Access, AccessParts};
use crate::config::{CurrentAuthorization, FollowedFile, NodeConfig, Zone};
use crate::control::{Control, NodeInfo};
use crate::fatal::{FatalCell, FatalError};
use crate::health::{Health, Readiness};
use crate::host::TooFewFiles;
use crate::listen::ClientTrust;
use crate::metrics::Metrics;
use crate::metrics::disk::MeteredFs;
use crate::net::AddressBook;
use crate::tls::Tls;
use crate::watchdog::Watchdog;
use crate::{health, host};

/// A node at work.
pub struct Node {
    addresses: Addresses,
    control: Control,
    fatal: Arc<FatalCell>,
    readiness: watch::Sender<Readiness>,
    client_ports: ClientPorts,
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
        let (capacity, tls) = check(&config, env.host)?;
        let metrics = Arc::new(Metrics::new()?);
        env.fs = Arc::new(MeteredFs::new(env.fs, &metrics));
        let fatal = Arc::new(FatalCell::default());
        let Ports {
            clients,
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
        let (followed, followed_file) = FollowedFile::new(&config);
        let info = node_info(&config, addresses, followed.zone);
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
            recovery: followed.recovery,
        };
        let (control, loops) = resources.control((&config, info), env, book);
        let mut tasks = JoinSet::new();
        tasks.spawn(followed_file.watch());
        discovery.spawn(&mut tasks, &control);
        metrics.set_sampler(Arc::new(NodeSampler::new(&control, &tls)));
        let services = Services::new(services::ServiceParts {
            access: access(&control, followed.authorization, &metrics),
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
        let told = Arc::new(Health::new(&readiness, &metrics));
        tasks.spawn(health::serve(health, told));
        let telling = tasks.spawn(services.follow(readiness.clone()));
        let trust = trust(tls, &control);
        let client_ports = clients.serve(&trust, &metrics, (&services, &config.http))?;
        addresses.log();
        Ok(Self {
            addresses,
            control,
            fatal,
            readiness,
            client_ports,
            peer_port: peer.serve(trust, &metrics, services.peer_port()),
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

    /// Runs until a shutdown signal or a fatal error, as [`super::run`] does.
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
            client_ports,
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
            client_ports.stop(Duration::ZERO),
            peer_port.stop(Duration::ZERO)
        );
    }

    /// Stops in order, within seconds.
    pub async fn stop(self) {
        let Self {
            control,
            readiness,
            client_ports,
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
        client_ports.stop(STOP_CONNECTIONS_MAX).await;
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

/// Checks the configuration, and what the host and the files have for it.
fn check(config: &NodeConfig, host: HostLimits) -> Result<(Capacity, Arc<Tls>), RunError> {
    config.check()?;
    config.log_ignored();
    Ok((capacity(config, host)?, load_tls(config)?))
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
    let capacity = match config.listen.http {
        Some(_) => capacity.with_http(),
        None => capacity,
    };
    let HostLimits { open_files, .. } = host;
    info!(
        open_files,
        replicas_max = capacity.replicas_max_count,
        client_connections_max = capacity.client_connections_max_count,
        http_connections_max = capacity.http_connections_max_count,
        peer_connections_max = capacity.peer_connections_max_count,
        "capacity of the node"
    );
    Ok(capacity)
}

/// Authorization by the metadata that control keeps up to date.
fn access(control: &Control, settings: CurrentAuthorization, metrics: &Arc<Metrics>) -> Access {
    let proposer = Arc::clone(&control.proposer);
    Access::new(AccessParts {
        view: control.view.clone(),
        settings,
        rules_age: Arc::new(move || proposer.metadata_age()),
        metrics: Arc::clone(metrics),
    })
}

/// By what the certificates of clients are judged while they are connected.
fn trust(tls: Arc<Tls>, control: &Control) -> ClientTrust {
    ClientTrust {
        tls,
        revocations: control.view.watch_revocations(),
        // Each port answers in its own protocol.
        answer_revoked: None,
    }
}

/// Name and addresses of the node.
fn node_info(config: &NodeConfig, addresses: Addresses, zone: Zone) -> NodeInfo {
    let or = |given: &Option<String>, bound: SocketAddr| {
        given.clone().unwrap_or_else(|| bound.to_string())
    };
    NodeInfo {
        name: config.name.clone(),
        zone,
        client_address: or(&config.advertise.client, addresses.client),
        peer_address: or(&config.advertise.peer, addresses.peer),
    }
}
