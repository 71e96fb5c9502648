//! The sources of the membership view.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::facts::NodeName;
use crate::gossip_member::GossipMember;

/// The kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    /// Datagrams of the nodes themselves.
    Gossip,
    /// The EndpointSlices of the nodes' Service in Kubernetes.
    Endpoints,
    /// The configured seed addresses.
    Seeds,
}

impl SourceKind {
    /// The name, as in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gossip => "gossip",
            Self::Endpoints => "endpoints",
            Self::Seeds => "seeds",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A node, or an address at which one may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// The node's name, if the source knows it.
    pub name: Option<NodeName>,
    /// Peer addresses (`host:port`), the most likely one first. At least one.
    pub addresses: Vec<Arc<str>>,
    /// What gossip knows of the node.
    pub gossip: Option<Box<GossipMember>>,
}

/// Everything that a source sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sightings {
    /// The nodes and addresses.
    pub items: Vec<Sighting>,
    /// Why the source could not be read the last time. Its items are then those of the last time
    /// that it could.
    pub error: Option<String>,
}

impl Sightings {
    /// The addresses without a host name.
    pub(crate) fn socket_addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.items.iter().flat_map(|item| &item.addresses);
        let parsed = addresses.filter_map(|address| address.parse().ok());
        parsed.collect()
    }
}

/// A source.
///
/// - It MUST keep its last sightings while it cannot be read: nobody leaves because a name server
///   is down.
/// - It MUST drop a node or address that it no longer sees while it can be read.
/// - It MUST have at most one sighting per name and, for those without a name, per address.
/// - It SHOULD publish a change within [`SEED_LOOKUP_INTERVAL`] plus [`DNS_LOOKUP_MAX`].
///
/// [`SEED_LOOKUP_INTERVAL`]: lograft_core::limits::SEED_LOOKUP_INTERVAL
/// [`DNS_LOOKUP_MAX`]: lograft_core::limits::DNS_LOOKUP_MAX
pub trait Source: Send + Sync {
    /// The kind.
    fn kind(&self) -> SourceKind;

    /// The sightings, as they change.
    fn sightings(&self) -> watch::Receiver<Arc<Sightings>>;
}
