//! A node as gossip knows it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::facts::{NodeFacts, NodeName};

/// Phi from which a node counts as unreachable, thousandths: about 18 mean intervals without a
/// heartbeat.
pub const PHI_UNREACHABLE_MILLI: u64 = 8000;

/// A node as gossip knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct GossipMember {
    /// The node's name.
    pub name: NodeName,
    /// Order among the processes that used the name.
    pub generation: u64,
    /// The facts that the node states.
    pub facts: NodeFacts,
    /// The address that the node's datagrams are sent from, or that it states.
    pub gossip_address: Option<SocketAddr>,
    /// Suspicion that the node has failed, thousandths: 0 just after a heartbeat, see
    /// [`PHI_UNREACHABLE_MILLI`].
    pub phi_milli: u64,
    /// Whether phi is below the bound.
    pub is_alive: bool,
    /// When this generation of the node was first known.
    pub since: Duration,
}
