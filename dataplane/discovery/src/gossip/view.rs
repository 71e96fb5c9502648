//! The nodes as gossip knows them.

use std::sync::Arc;
use std::time::Duration;

use super::exchange::Exchange;
use crate::gossip_member::GossipMember;

/// The nodes of an exchange, the own one first.
pub(crate) fn members(exchange: &Exchange, now: Duration) -> Vec<GossipMember> {
    let own = GossipMember {
        name: Arc::clone(exchange.name()),
        generation: exchange.generation(),
        facts: exchange.facts().clone(),
        gossip_address: exchange.facts().gossip_address,
        phi_milli: 0,
        is_alive: true,
        since: Duration::ZERO,
    };
    let others = exchange.nodes().iter().map(|(name, known)| GossipMember {
        name: Arc::clone(name),
        generation: known.stamp.generation,
        facts: known.facts.clone(),
        gossip_address: known.address(),
        phi_milli: known.detector.phi_milli(now),
        is_alive: known.detector.is_alive(now),
        since: known.since,
    });
    std::iter::once(own).chain(others).collect()
}
