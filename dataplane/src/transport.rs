//! Connections to the other nodes. Each pair of nodes has one connection per [`Lane`], so that no
//! heartbeat waits behind entries; all groups share it. Connections are made when first needed and
//! made again after they broke; a peer that cannot be reached is tried with growing pauses.

mod connect;
mod heartbeats;
pub(crate) mod leader_streams;
pub(crate) mod node_report;
mod peer_calls;
mod raft;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::NodeId;
use lograft_core::limits::{
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_FRAME_MAX_BYTES, HTTP2_KEEPALIVE_INTERVAL,
    HTTP2_KEEPALIVE_MAX, HTTP2_STREAM_WINDOW_BYTES,
};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::metrics::Metrics;
use crate::net::{AddressBook, Net};
use crate::tls::Tls;

pub use connect::ConnectError;
pub use raft::RaftPeers;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Entries.
    Appends,
    /// Heartbeats, votes, and what nodes ask of each other.
    Control,
    /// Snapshots.
    Snapshots,
    /// Clients' requests on their way to a leader.
    Forwarding,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The address book does not have the node.
    #[error("no address of node {0}")]
    UnknownNode(NodeId),
    /// The address cannot be one.
    #[error("using the address {address:?}")]
    Address {
        /// The address.
        address: Arc<str>,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
}

/// The connections of a node to all others. Clones share them.
#[derive(Clone)]
pub struct PeerPool {
    shared: Arc<Shared>,
}

struct Shared {
    net: Arc<dyn Net>,
    tls: Arc<Tls>,
    metrics: Arc<Metrics>,
    book: watch::Receiver<AddressBook>,
    links: Mutex<HashMap<(NodeId, Lane), Link>>,
}

struct Link {
    address: Arc<str>,
    channel: Channel,
}

impl PeerPool {
    /// A pool without connections; `book` says where nodes are, as far as that is known.
    pub fn new(
        net: Arc<dyn Net>,
        tls: Arc<Tls>,
        metrics: Arc<Metrics>,
        book: watch::Receiver<AddressBook>,
    ) -> Self {
        let links = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                net,
                tls,
                metrics,
                book,
                links,
            }),
        }
    }

    /// The channel to a node. It connects when first used, and after its address changed a new one
    /// takes its place: ask for it anew for each call.
    pub fn channel(&self, node: NodeId, lane: Lane) -> Result<Channel, ChannelError> {
        let shared = &self.shared;
        let known = shared.book.borrow().get(&node).cloned();
        let mut links = shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(address) = known else {
            links.retain(|(to, _), _| *to != node);
            return Err(ChannelError::UnknownNode(node));
        };
        if let Some(link) = links.get(&(node, lane))
            && link.address == address
        {
            return Ok(link.channel.clone());
        }
        let channel = self.channel_to(&address)?;
        links.insert(
            (node, lane),
            Link {
                address,
                channel: channel.clone(),
            },
        );
        Ok(channel)
    }

    /// A channel of its own to an address whose node is not known: a seed.
    pub fn channel_to(&self, address: &Arc<str>) -> Result<Channel, ChannelError> {
        let Shared {
            net, tls, metrics, ..
        } = &*self.shared;
        let refused = |source| ChannelError::Address {
            address: Arc::clone(address),
            source,
        };
        // Without TLS as far as tonic knows: the connector brings its own.
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(refused)?;
        let endpoint = endpoint
            .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_MAX_BYTES)
            .http2_keep_alive_interval(HTTP2_KEEPALIVE_INTERVAL)
            .keep_alive_timeout(HTTP2_KEEPALIVE_MAX)
            .keep_alive_while_idle(true);
        let connector = connect::Connector::new(
            Arc::clone(net),
            Arc::clone(tls),
            Arc::clone(address),
            metrics,
        );
        Ok(endpoint.connect_with_connector_lazy(connector))
    }
}

#[cfg(test)]
mod tests;
