//! Gossip of one node as a pure function of datagrams: encryption, limits and protocol together.

use std::net::SocketAddr;
use std::time::Duration;

use lograft_core::ClusterId;
use lograft_core::limits::{GOSSIP_CLOCK_DIFFERENCE_MAX, GOSSIP_DATAGRAM_MAX_BYTES};

use super::drops::{DropReason, GossipCounters};
use super::exchange::{Exchange, Now, Outgoing};
use super::guard::{RateLimit, ReplayWindow};
use super::message::Message;
use super::seal::{GossipKeys, Sealer};
use super::view;
use crate::facts::{FactsTooLarge, NodeFacts, NodeName};
use crate::gossip_member::GossipMember;

/// A datagram and its receiver.
pub type Datagram = (SocketAddr, Vec<u8>);

/// The random numbers of a node's start.
#[derive(Clone, Copy, Debug)]
pub struct GossipSeed {
    /// For the session of the node's datagrams. From a source fit for secrets.
    pub session: u64,
    /// For the choice of partners.
    pub choices: u64,
}

/// Gossip of one node.
#[derive(Debug)]
pub struct GossipNode {
    exchange: Exchange,
    keys: GossipKeys,
    sealer: Sealer,
    limit: RateLimit,
    replays: ReplayWindow,
    counters: GossipCounters,
}

impl GossipNode {
    /// A node that knows no other. Its generation is `facts.incarnation`.
    pub fn new(
        name: NodeName,
        facts: NodeFacts,
        keys: GossipKeys,
        seed: GossipSeed,
    ) -> Result<Self, FactsTooLarge> {
        Ok(Self {
            exchange: Exchange::new(name, facts, seed.choices)?,
            keys,
            sealer: Sealer::new(seed.session),
            limit: RateLimit::new(Duration::ZERO),
            replays: ReplayWindow::default(),
            counters: GossipCounters::default(),
        })
    }

    /// Replaces the keys.
    pub fn set_keys(&mut self, keys: GossipKeys) {
        self.keys = keys;
    }

    /// Replaces the addresses to start from.
    pub fn set_seeds(&mut self, seeds: Vec<SocketAddr>) {
        self.exchange.set_seeds(seeds);
    }

    /// Sets the cluster once the node is a member of it.
    pub fn set_cluster(&mut self, cluster: Option<ClusterId>) {
        self.exchange.set_cluster(cluster);
    }

    /// Replaces the facts about this node, and returns the datagrams that announce a change.
    pub fn set_facts(
        &mut self,
        facts: NodeFacts,
        now: Now,
    ) -> Result<Vec<Datagram>, FactsTooLarge> {
        let out = self.exchange.set_facts(facts, now)?;
        Ok(self.seal(out))
    }

    /// The datagrams of a round.
    pub fn tick(&mut self, now: Now) -> Vec<Datagram> {
        let out = self.exchange.tick(now);
        self.seal(out)
    }

    /// Takes a datagram, which is decrypted in place, and returns the answers.
    pub fn receive(&mut self, from: SocketAddr, datagram: &mut [u8], now: Now) -> Vec<Datagram> {
        let len = datagram.len() as u64;
        match self.accept(from, datagram, now) {
            Ok(message) => {
                self.counters.received_count += 1;
                self.counters.received_bytes += len;
                let out = self.exchange.receive(from, &message, now);
                self.seal(out)
            }
            Err(None) => Vec::new(),
            Err(Some(reason)) => {
                self.counters.drop_one(reason);
                Vec::new()
            }
        }
    }

    /// The checks of a datagram, the cheap ones first. `None` is the own datagram: a seed may be
    /// this node.
    fn accept(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        now: Now,
    ) -> Result<Message, Option<DropReason>> {
        self.keys.check_header(datagram)?;
        if !self.limit.admit(from, now.elapsed) {
            return Err(Some(DropReason::RateLimited));
        }
        let opened = self.keys.open(datagram)?;
        let (session, sequence) = (opened.session, opened.sequence);
        let message = Message::decode(opened.message).ok_or(DropReason::Malformed)?;
        let difference = now.wall_ms.abs_diff(message.sender.sent_ms);
        if Duration::from_millis(difference) > GOSSIP_CLOCK_DIFFERENCE_MAX {
            return Err(Some(DropReason::TooOld));
        }
        if !self.replays.is_new(session, sequence, now.elapsed) {
            return Err(Some(DropReason::Replayed));
        }
        if self.sealer.is_session(session) {
            return Err(None);
        }
        self.limit.authenticated(from, now.elapsed);
        let clusters = (self.exchange.cluster(), message.sender.cluster);
        if matches!(clusters, (Some(ours), Some(theirs)) if ours != theirs) {
            return Err(Some(DropReason::ForeignCluster));
        }
        Ok(message)
    }

    fn seal(&mut self, messages: Vec<Outgoing>) -> Vec<Datagram> {
        let mut out = Vec::with_capacity(messages.len());
        for (to, message) in messages {
            let Some(datagram) = self.sealer.seal(&self.keys, &message) else {
                continue;
            };
            debug_assert!(datagram.len() <= GOSSIP_DATAGRAM_MAX_BYTES);
            self.counters.sent_count += 1;
            self.counters.sent_bytes += datagram.len() as u64;
            out.push((to, datagram));
        }
        out
    }

    /// All nodes known, this one first.
    pub fn members(&self, now: Now) -> Vec<GossipMember> {
        view::members(&self.exchange, now.elapsed)
    }

    /// Changes with each change of a node's facts or address.
    pub const fn revision(&self) -> u64 {
        self.exchange.revision()
    }

    /// What was sent, received and dropped so far.
    pub const fn counters(&self) -> &GossipCounters {
        &self.counters
    }

    /// The ids of the keys in use.
    pub fn key_ids(&self) -> Vec<String> {
        self.keys.ids()
    }
}
