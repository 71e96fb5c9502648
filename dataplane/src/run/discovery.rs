//! The wiring of discovery: gossip, endpoints and seeds into the membership view.

mod key_file;
mod own_state;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lograft_core::FeatureLevel;
use lograft_discovery::endpoints::{EndpointWatch, Endpoints, EndpointsError};
use lograft_discovery::facts::FactsTooLarge;
use lograft_discovery::gossip::{
    Gossip, GossipInputs, GossipKeyError, GossipLoop, GossipNode, GossipSeed, OwnState,
};
use lograft_discovery::net::DatagramSocket;
use lograft_discovery::seeds::SeedLookup;
use lograft_discovery::{DiscoveryReader, MembershipLoop, NodeFacts, Source};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::node_env::NodeEnv;
use crate::config::{EndpointSettings, GossipSettings, NodeConfig, Zone};
use crate::control::{Control, NodeInfo};
use crate::tls::Tls;
use key_file::KeyFile;
use own_state::OwnStateLoop;

/// Why discovery does not start.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The key file cannot be read.
    #[error("cannot read the gossip key file {path}")]
    ReadKeys {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The key file's content is no key.
    #[error("cannot use the gossip key file {path}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: GossipKeyError,
    },
    /// The node's zone and addresses are too long for a datagram.
    #[error("cannot gossip the state of this node")]
    Facts(#[from] FactsTooLarge),
    /// The EndpointSlices cannot be watched.
    #[error("cannot watch the endpoints of Service {namespace}/{service}")]
    Endpoints {
        /// Namespace of the Service.
        namespace: String,
        /// Name of the Service.
        service: String,
        /// The cause.
        #[source]
        source: EndpointsError,
    },
    /// A thread that read files has panicked.
    #[error("startup task panicked or was cancelled")]
    Task(#[source] tokio::task::JoinError),
}

/// The sources of a node, before it has a control.
pub(super) struct Discovery {
    membership: MembershipLoop,
    reader: DiscoveryReader,
    lookups: Vec<SeedLookup>,
    endpoints: Option<EndpointWatch>,
    gossip: Option<RunningGossip>,
}

struct RunningGossip {
    gossip: Gossip,
    run: GossipLoop,
    own: watch::Sender<OwnState>,
    keys: KeyFile,
    zone: Zone,
}

impl Discovery {
    /// Reads the keys. `number` is that of the node's incarnation.
    pub(super) async fn new(
        config: &NodeConfig,
        env: &NodeEnv,
        tls: &Arc<Tls>,
        (info, number): (&NodeInfo, u64),
        socket: Option<Box<dyn DatagramSocket>>,
    ) -> Result<Self, DiscoveryError> {
        let lookup = |addresses: &[String]| {
            let addresses = addresses.iter().map(|address| address.as_str().into());
            SeedLookup::new(addresses.collect(), Arc::clone(&env.resolver))
        };
        let (seed_lookup, seeds) = lookup(&config.seeds);
        let mut lookups = vec![seed_lookup];
        let mut gossip = None;
        if let (Some(settings), Some(socket)) = (&config.discovery.gossip, socket) {
            let (seed_lookup, gossip_seeds) = lookup(&settings.seeds(&config.seeds));
            lookups.push(seed_lookup);
            let facts = NodeFacts {
                incarnation: number,
                ..facts(info, env.level)
            };
            let start = GossipStart {
                settings,
                facts,
                zone: info.zone.clone(),
                seeds: gossip_seeds.sightings(),
                socket,
            };
            gossip = Some(start.build(&config.name, env, tls).await?);
        }
        let endpoints = config.discovery.endpoints.as_ref().map(watch_endpoints);
        let (watch, endpoints) = endpoints.transpose()?.unzip();
        let mut sources: Vec<&dyn Source> = vec![&seeds];
        sources.extend(endpoints.as_ref().map(|endpoints| endpoints as &dyn Source));
        sources.extend(gossip.as_ref().map(|gossip| &gossip.gossip as &dyn Source));
        let (run, membership) = MembershipLoop::new(&sources);
        let reader = DiscoveryReader {
            membership,
            gossip: gossip.as_ref().map(|gossip| gossip.gossip.clone()),
        };
        Ok(Self {
            membership: run,
            reader,
            lookups,
            endpoints: watch,
            gossip,
        })
    }

    pub(super) fn reader(&self) -> DiscoveryReader {
        self.reader.clone()
    }

    /// Starts the tasks, which end with the node.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>, control: &Control) {
        for lookup in self.lookups {
            tasks.spawn(lookup.run());
        }
        tasks.spawn(self.membership.run());
        if let Some(endpoints) = self.endpoints {
            tasks.spawn(endpoints.run());
        }
        if let Some(running) = self.gossip {
            tasks.spawn(running.keys.watch());
            tasks.spawn(OwnStateLoop::new(control, running.zone, running.own).run());
            tasks.spawn(running.run.run());
        }
    }
}

fn watch_endpoints(
    settings: &EndpointSettings,
) -> Result<(EndpointWatch, Endpoints), DiscoveryError> {
    let EndpointSettings { namespace, service } = settings;
    EndpointWatch::in_pod(namespace, service).map_err(|source| DiscoveryError::Endpoints {
        namespace: namespace.clone(),
        service: service.clone(),
        source,
    })
}

struct GossipStart<'a> {
    settings: &'a GossipSettings,
    facts: NodeFacts,
    zone: Zone,
    seeds: watch::Receiver<Arc<lograft_discovery::Sightings>>,
    socket: Box<dyn DatagramSocket>,
}

impl GossipStart<'_> {
    async fn build(
        self,
        name: &str,
        env: &NodeEnv,
        tls: &Arc<Tls>,
    ) -> Result<RunningGossip, DiscoveryError> {
        let Self {
            settings,
            facts,
            zone,
            seeds,
            socket,
        } = self;
        let scope = tls.identity().scope();
        let (keys, keys_in_use) = KeyFile::load(settings.key_file.clone(), scope).await?;
        let seed = GossipSeed {
            session: env.fs.random_u64(),
            choices: env.fs.random_u64(),
        };
        let first_keys = keys_in_use.borrow().clone();
        let node = GossipNode::new(name.into(), facts.clone(), first_keys, seed)?;
        let (own, own_state) = watch::channel(OwnState {
            cluster: None,
            facts,
        });
        let clock = Arc::clone(&env.clock);
        let inputs = GossipInputs {
            own: own_state,
            keys: keys_in_use,
            seeds,
            wall_clock_ms: Arc::new(move || u64::try_from(clock.now_ms()).unwrap_or(0)),
        };
        let (run, gossip) = GossipLoop::new(name.into(), node, socket, inputs);
        Ok(RunningGossip {
            gossip,
            run,
            own,
            keys,
            zone,
        })
    }
}

fn facts(info: &NodeInfo, level: FeatureLevel) -> NodeFacts {
    let NodeInfo {
        name: _,
        zone,
        client_address,
        peer_address,
    } = info;
    NodeFacts {
        peer_address: peer_address.as_str().into(),
        client_address: client_address.as_str().into(),
        zone: zone.get(),
        version: env!("CARGO_PKG_VERSION").into(),
        level,
        ..NodeFacts::default()
    }
}
