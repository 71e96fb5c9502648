//! The nodes as gossip knows them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Exchange;
use crate::facts::{NodeFacts, NodeName};

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
    /// Suspicion that the node has failed: 0 just after a heartbeat, see
    /// [`PHI_UNREACHABLE`](super::PHI_UNREACHABLE).
    pub phi: f64,
    /// Whether phi is below the bound.
    pub is_alive: bool,
    /// When this generation of the node was first known.
    pub since: Duration,
}

impl GossipMember {
    pub(crate) fn list(exchange: &Exchange, now: Duration) -> Vec<Self> {
        let own = Self {
            name: Arc::clone(exchange.name()),
            generation: exchange.generation(),
            facts: exchange.facts().clone(),
            gossip_address: exchange.facts().gossip_address,
            phi: 0.0,
            is_alive: true,
            since: Duration::ZERO,
        };
        let others = exchange.nodes().iter().map(|(name, known)| Self {
            name: Arc::clone(name),
            generation: known.stamp.generation,
            facts: known.facts.clone(),
            gossip_address: known.address(),
            phi: known.detector.phi(now),
            is_alive: known.detector.is_alive(now),
            since: known.since,
        });
        std::iter::once(own).chain(others).collect()
    }
}
