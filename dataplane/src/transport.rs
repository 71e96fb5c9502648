//! Connections to the other nodes, and the requests on them. Each pair of nodes has one connection
//! per [`ChannelClass`], shared by all groups: if heartbeats queued behind entries on one
//! connection, a busy leader would look dead to its followers (head-of-line blocking). Connections
//! are made when first needed and re-established with backoff.

mod connect;
mod forwarding;
mod group_messages;
mod heartbeats;
mod log_messages;
mod metered;
pub(crate) mod node_report;
mod peer_calls;
mod raft;
pub(crate) mod status;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::NodeId;
use lograft_core::limits::{
    FORWARDED_READ_WINDOW_BYTES, FORWARDED_READS_WINDOW_BYTES, HTTP2_CONNECTION_WINDOW_BYTES,
    HTTP2_FRAME_MAX_BYTES, HTTP2_KEEPALIVE_INTERVAL, HTTP2_KEEPALIVE_MAX,
    HTTP2_STREAM_WINDOW_BYTES,
};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::exchange::NodeExchange;
use crate::metrics::Metrics;
use crate::net::{AddressBook, Net, PeerTarget};
use crate::tls::Tls;

pub use connect::ConnectError;
pub(crate) use forwarding::GrpcForward;
#[cfg(test)]
pub(crate) use forwarding::LeaderChannels;
pub use raft::RaftPeers;

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelClass {
    /// Entries.
    Appends,
    /// Heartbeats, votes, and calls between the nodes' control.
    Control,
    /// Snapshots.
    Snapshots,
    /// Requests of clients that are forwarded to a leader, but for reads.
    Forwarding,
    /// Reads of clients that are forwarded to a leader. A client that does not take what it reads
    /// holds up nobody else's reads, and no requests of other kinds.
    ForwardedReads,
    /// Calls of members of consumer groups that are forwarded to their coordinator. Each member has
    /// one that waits nearly all the time: they take no streams from requests of other kinds.
    ForwardedMembers,
}

/// The HTTP/2 flow control windows of a connection, bytes.
struct Windows {
    stream_bytes: u32,
    connection_bytes: u32,
}

impl ChannelClass {
    const fn windows(self) -> Windows {
        match self {
            Self::Appends
            | Self::Control
            | Self::Snapshots
            | Self::Forwarding
            | Self::ForwardedMembers => Windows {
                stream_bytes: HTTP2_STREAM_WINDOW_BYTES,
                connection_bytes: HTTP2_CONNECTION_WINDOW_BYTES,
            },
            Self::ForwardedReads => Windows {
                stream_bytes: FORWARDED_READ_WINDOW_BYTES,
                connection_bytes: FORWARDED_READS_WINDOW_BYTES,
            },
        }
    }
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The address book does not have the node.
    #[error("address of node {0} not found")]
    UnknownNode(NodeId),
    /// The address cannot be one.
    #[error("cannot use the address {address:?}")]
    Address {
        /// The address.
        address: Arc<str>,
        /// The cause.
        #[source]
        source: tonic::transport::Error,
    },
}

/// The connections of a node to all others. Clones share them.
#[derive(Clone)]
pub struct PeerPool {
    connections: Arc<Connections>,
}

struct Connections {
    net: Arc<dyn Net>,
    tls: Arc<Tls>,
    metrics: Arc<Metrics>,
    exchange: NodeExchange,
    book: watch::Receiver<AddressBook>,
    links: Mutex<HashMap<(NodeId, ChannelClass), Link>>,
}

struct Link {
    target: PeerTarget,
    channel: Channel,
}

impl PeerPool {
    /// A pool without connections; `book` says where nodes are, as far as that is known.
    pub fn new(
        net: Arc<dyn Net>,
        tls: Arc<Tls>,
        metrics: Arc<Metrics>,
        exchange: NodeExchange,
        book: watch::Receiver<AddressBook>,
    ) -> Self {
        let links = Mutex::default();
        Self {
            connections: Arc::new(Connections {
                net,
                tls,
                metrics,
                exchange,
                book,
                links,
            }),
        }
    }

    /// The readings that are exchanged with the other nodes.
    pub(crate) fn exchange(&self) -> &NodeExchange {
        &self.connections.exchange
    }

    /// The channel to a node; it connects when first used. Get it again for each call: a node whose
    /// address has changed gets a new channel.
    pub fn channel(&self, node: NodeId, class: ChannelClass) -> Result<Channel, ChannelError> {
        let connections = &self.connections;
        let known = connections.book.borrow().get(&node).cloned();
        let mut links = connections
            .links
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(target) = known else {
            links.retain(|(to, _), _| *to != node);
            return Err(ChannelError::UnknownNode(node));
        };
        if let Some(link) = links.get(&(node, class))
            && link.target == target
        {
            return Ok(link.channel.clone());
        }
        let channel = self.connect(&target, &class.windows())?;
        links.insert(
            (node, class),
            Link {
                target,
                channel: channel.clone(),
            },
        );
        Ok(channel)
    }

    /// A separate channel, not shared: to a seed, say.
    pub fn channel_to(&self, target: &PeerTarget) -> Result<Channel, ChannelError> {
        self.connect(target, &ChannelClass::Control.windows())
    }

    fn connect(&self, target: &PeerTarget, windows: &Windows) -> Result<Channel, ChannelError> {
        let Connections {
            net, tls, metrics, ..
        } = &*self.connections;
        let address = target.label();
        let refused = |source| ChannelError::Address {
            address: Arc::clone(&address),
            source,
        };
        // http, not https: the connector adds TLS.
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(refused)?;
        let endpoint = endpoint
            .initial_stream_window_size(windows.stream_bytes)
            .initial_connection_window_size(windows.connection_bytes)
            .max_frame_size(HTTP2_FRAME_MAX_BYTES)
            .http2_keep_alive_interval(HTTP2_KEEPALIVE_INTERVAL)
            .keep_alive_timeout(HTTP2_KEEPALIVE_MAX)
            .keep_alive_while_idle(true);
        let connector =
            connect::Connector::new(Arc::clone(net), Arc::clone(tls), target.clone(), metrics);
        Ok(endpoint.connect_with_connector_lazy(connector))
    }
}

#[cfg(test)]
mod tests;
