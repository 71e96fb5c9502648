//! The ports of a node, bound before anything else starts.

use std::net::SocketAddr;

use lograft_core::capacity::Capacity;
use lograft_discovery::net::DatagramSocket;
use tracing::field::display;
use tracing::info;

use super::client_ports::BoundClientPorts;
use super::error::RunError;
use super::node_env::NodeEnv;
use super::port::BoundPort;
use crate::config::NodeConfig;
use crate::listen::ListenLimits;
use crate::net::Listener;
use crate::tls::Port;

/// The addresses that a node listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Clients.
    pub client: SocketAddr,
    /// Peers.
    pub peer: SocketAddr,
    /// Health and metrics.
    pub health: SocketAddr,
    /// Gossip, if it is on.
    pub gossip: Option<SocketAddr>,
    /// Clients over HTTP, if it is on.
    pub http: Option<SocketAddr>,
}

impl Addresses {
    pub(super) fn log(self) {
        let Self {
            client,
            peer,
            health,
            gossip,
            http,
        } = self;
        let (gossip, http) = (gossip.map(display), http.map(display));
        info!(%client, %peer, %health, gossip, http, "node is listening");
    }
}

/// The bound ports of a node.
pub(super) struct Ports {
    pub(super) clients: BoundClientPorts,
    pub(super) peer: BoundPort,
    pub(super) health: Box<dyn Listener>,
    /// The gossip socket, if gossip is on.
    pub(super) gossip: Option<Box<dyn DatagramSocket>>,
    pub(super) addresses: Addresses,
}

impl Ports {
    pub(super) async fn bind(
        env: &NodeEnv,
        config: &NodeConfig,
        capacity: Capacity,
    ) -> Result<Self, RunError> {
        let bind = async |what: &'static str, address: SocketAddr| {
            let failed = |source| RunError::Listen {
                what,
                address,
                source,
            };
            let listener = env.net.listen(address).await.map_err(failed)?;
            let bound = listener.local_address().map_err(failed)?;
            Ok::<_, RunError>((listener, bound))
        };
        let (client, client_address) = bind("clients", config.listen.client).await?;
        let (peer, peer_address) = bind("peers", config.listen.peer).await?;
        let (health, health_address) = bind("health", config.listen.health).await?;
        let (http, http_address) = match config.listen.http {
            Some(address) => Some(bind("HTTP clients", address).await?),
            None => None,
        }
        .unzip();
        let limits = |port| ListenLimits::of(port, capacity, &config.connections);
        let (gossip, gossip_address) = bind_gossip(env, config).await?.unzip();
        Ok(Self {
            clients: BoundClientPorts {
                grpc: BoundPort {
                    port: Port::Client,
                    listener: client,
                    limits: limits(Port::Client),
                },
                http: http.map(|listener| BoundPort {
                    port: Port::Http,
                    listener,
                    limits: limits(Port::Http),
                }),
            },
            peer: BoundPort {
                port: Port::Peer,
                listener: peer,
                limits: limits(Port::Peer),
            },
            health,
            gossip,
            addresses: Addresses {
                client: client_address,
                peer: peer_address,
                health: health_address,
                gossip: gossip_address,
                http: http_address,
            },
        })
    }
}

type BoundSocket = (Box<dyn DatagramSocket>, SocketAddr);

async fn bind_gossip(env: &NodeEnv, config: &NodeConfig) -> Result<Option<BoundSocket>, RunError> {
    let Some(settings) = &config.discovery.gossip else {
        return Ok(None);
    };
    let address = settings.listen;
    let failed = |source| RunError::Listen {
        what: "gossip",
        address,
        source,
    };
    let socket = env.datagrams.bind(address).await.map_err(failed)?;
    let bound = socket.local_address().map_err(failed)?;
    Ok(Some((socket, bound)))
}
