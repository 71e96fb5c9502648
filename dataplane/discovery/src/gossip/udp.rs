//! Gossip over a datagram socket, as a source of the membership view.

use std::net::SocketAddr;
use std::sync::Arc;

use lograft_core::ClusterId;
use lograft_core::limits::{GOSSIP_DATAGRAM_MAX_BYTES, GOSSIP_INTERVAL};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, warn};

use super::node::{Datagram, GossipNode};
use super::seal::GossipKeys;
use super::{GossipCounters, Now};
use crate::facts::{NodeFacts, NodeName};
use crate::gossip_member::GossipMember;
use crate::net::DatagramSocket;
use crate::source::{Sighting, Sightings, Source, SourceKind};

/// This node, as gossip announces it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnState {
    /// The cluster, once the node is a member.
    pub cluster: Option<ClusterId>,
    /// The facts about the node.
    pub facts: NodeFacts,
}

/// The inputs of gossip, as they change.
pub struct GossipInputs {
    /// The state of this node.
    pub own: watch::Receiver<OwnState>,
    /// The keys.
    pub keys: watch::Receiver<GossipKeys>,
    /// The addresses to start from.
    pub seeds: watch::Receiver<Arc<Sightings>>,
    /// Milliseconds since the Unix epoch.
    pub wall_clock_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// The state of gossip for reports and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GossipReport {
    /// What was sent, received and dropped so far.
    pub counters: GossipCounters,
    /// The ids of the keys in use, the sending one first.
    pub key_ids: Vec<String>,
}

/// The results of gossip, as other parts of the node read them.
#[derive(Clone, Debug)]
pub struct Gossip {
    sightings: watch::Receiver<Arc<Sightings>>,
    report: watch::Receiver<GossipReport>,
}

impl Gossip {
    /// Counters and keys.
    pub fn report(&self) -> GossipReport {
        self.report.borrow().clone()
    }
}

impl Source for Gossip {
    fn kind(&self) -> SourceKind {
        SourceKind::Gossip
    }

    fn sightings(&self) -> watch::Receiver<Arc<Sightings>> {
        self.sightings.clone()
    }
}

/// Runs the gossip of a node.
pub struct GossipLoop {
    node: GossipNode,
    name: NodeName,
    socket: Box<dyn DatagramSocket>,
    inputs: GossipInputs,
    started: Instant,
    sightings: watch::Sender<Arc<Sightings>>,
    report: watch::Sender<GossipReport>,
    published: u64,
}

impl GossipLoop {
    /// Nothing is sent before [`Self::run`].
    pub fn new(
        name: NodeName,
        node: GossipNode,
        socket: Box<dyn DatagramSocket>,
        inputs: GossipInputs,
    ) -> (Self, Gossip) {
        let (sightings, seen) = watch::channel(Arc::default());
        let (report, reported) = watch::channel(GossipReport::default());
        let this = Self {
            node,
            name,
            socket,
            inputs,
            started: Instant::now(),
            sightings,
            report,
            published: u64::MAX,
        };
        let gossip = Gossip {
            sightings: seen,
            report: reported,
        };
        (this, gossip)
    }

    fn now(&self) -> Now {
        Now {
            // Not zero: ages of other nodes are subtracted from it.
            elapsed: self.started.elapsed() + std::time::Duration::from_hours(1),
            wall_ms: (self.inputs.wall_clock_ms)(),
        }
    }

    /// Gossips until dropped, or until the node is gone.
    pub async fn run(mut self) {
        self.take_own();
        self.take_keys();
        self.take_seeds();
        let mut rounds = tokio::time::interval(GOSSIP_INTERVAL);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = [0; GOSSIP_DATAGRAM_MAX_BYTES + 1];
        loop {
            // Rounds and changes go first: a flood of datagrams must not hold them up.
            tokio::select! {
                biased;
                _ = rounds.tick() => self.round(),
                changed = self.inputs.own.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.take_own();
                }
                Ok(()) = self.inputs.keys.changed() => self.take_keys(),
                Ok(()) = self.inputs.seeds.changed() => self.take_seeds(),
                received = self.socket.receive(&mut buffer) => match received {
                    Ok((len, from)) => self.receive(from, &mut buffer[..len]),
                    // A peer's port is closed (ICMP), or the host is short of memory.
                    Err(error) => {
                        debug!(%error, "cannot receive a gossip datagram");
                        tokio::task::yield_now().await;
                    }
                },
            }
            if self.node.revision() != self.published {
                self.publish();
            }
        }
    }

    fn round(&mut self) {
        let out = self.node.tick(self.now());
        self.send(out);
        self.publish();
    }

    fn receive(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        let out = self.node.receive(from, datagram, self.now());
        self.send(out);
    }

    fn take_own(&mut self) {
        let OwnState { cluster, facts } = self.inputs.own.borrow_and_update().clone();
        self.node.set_cluster(cluster);
        match self.node.set_facts(facts, self.now()) {
            Ok(out) => self.send(out),
            Err(error) => warn!(%error, "cannot gossip the state of this node"),
        }
    }

    fn take_keys(&mut self) {
        let keys = self.inputs.keys.borrow_and_update().clone();
        self.node.set_keys(keys);
    }

    fn take_seeds(&mut self) {
        let sightings = Arc::clone(&self.inputs.seeds.borrow_and_update());
        self.node.set_seeds(sightings.socket_addresses());
    }

    fn send(&self, datagrams: Vec<Datagram>) {
        for (to, bytes) in datagrams {
            if let Err(error) = self.socket.send(&bytes, to) {
                debug!(%to, %error, "cannot send a gossip datagram");
            }
        }
    }

    fn publish(&mut self) {
        self.published = self.node.revision();
        let members = self.node.members(self.now()).into_iter();
        let others = members.filter(|member| member.name != self.name);
        let sightings = Sightings {
            items: others.map(sighting).collect(),
            error: None,
        };
        self.sightings.send_replace(Arc::new(sightings));
        self.report.send_replace(GossipReport {
            counters: *self.node.counters(),
            key_ids: self.node.key_ids(),
        });
    }
}

/// A node's advertised peer address, and its peer port at the address that its datagrams come from:
/// a name server may return the former address of a pod for a while.
fn sighting(member: GossipMember) -> Sighting {
    let advertised = &member.facts.peer_address;
    let port = advertised
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let direct = member.gossip_address.zip(port);
    let direct = direct.map(|(address, port)| SocketAddr::new(address.ip(), port));
    let mut addresses: Vec<Arc<str>> = Vec::new();
    addresses.extend(direct.map(|address| address.to_string().into()));
    if !addresses.contains(advertised) {
        addresses.push(Arc::clone(advertised));
    }
    Sighting {
        name: Some(Arc::clone(&member.name)),
        addresses,
        gossip: Some(Box::new(member)),
    }
}
