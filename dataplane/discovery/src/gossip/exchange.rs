//! The gossip protocol: anti-entropy in three steps, as in Scuttlebutt (van Renesse et al.,
//! "Efficient reconciliation and flow control for anti-entropy protocols", 2008), with messages of
//! bounded size.
//!
//! In each round a node raises its heartbeat and opens exchanges with a few others. `Syn` has the
//! stamps of a window of names; `Ack` answers with newer heartbeats, with the entries that the
//! other lacks in that window, and with the names of those that itself lacks; `Push` sends these.
//! The windows move over all names from one exchange to the next. Changed facts are pushed at once.
//!
//! The state is pure: time and random numbers are arguments, datagrams are results.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::ClusterId;
use lograft_core::limits::{
    GOSSIP_EXTRA_SENDS_MAX_COUNT, GOSSIP_FANOUT_COUNT, GOSSIP_SEEDS_MAX_COUNT,
};
use lograft_core::random::SplitMix64;

use super::message::{Entry, Kind, Message, MessageWriter, Sender, Stamp, Window};
use super::table::{Merged, NodeTable};
use crate::facts::{FactsTooLarge, NodeFacts, NodeName};

/// Time: that of the monotonic clock decides, that of the wall clock dates datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed point, by a monotonic clock.
    pub elapsed: Duration,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// An encoded message and its receiver.
pub(crate) type Outgoing = (SocketAddr, Vec<u8>);

/// The gossip state of a node.
#[derive(Debug)]
pub(crate) struct Exchange {
    name: NodeName,
    cluster: Option<ClusterId>,
    stamp: Stamp,
    facts: NodeFacts,
    encoded: Arc<[u8]>,
    nodes: NodeTable,
    seeds: Vec<SocketAddr>,
    /// Where the next window begins.
    cursor: NodeName,
    /// This node's address as others see it.
    observed: Option<SocketAddr>,
    /// Another address that was seen once.
    candidate: Option<SocketAddr>,
    revision: u64,
    /// Sends that are left until the next round.
    extra_sends: usize,
    random: SplitMix64,
}

impl Exchange {
    /// A node that knows no other. `random` seeds the choice of partners.
    pub(crate) fn new(
        name: NodeName,
        facts: NodeFacts,
        random: u64,
    ) -> Result<Self, FactsTooLarge> {
        Ok(Self {
            name,
            cluster: None,
            stamp: Stamp {
                generation: facts.incarnation,
                version: 1,
                heartbeat: 1,
            },
            encoded: facts.encode()?,
            facts,
            nodes: NodeTable::default(),
            seeds: Vec::new(),
            cursor: "".into(),
            observed: None,
            candidate: None,
            revision: 0,
            extra_sends: GOSSIP_EXTRA_SENDS_MAX_COUNT,
            random: SplitMix64::new(random),
        })
    }

    pub(crate) fn nodes(&self) -> &NodeTable {
        &self.nodes
    }

    pub(crate) fn name(&self) -> &NodeName {
        &self.name
    }

    pub(crate) const fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.stamp.generation
    }

    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) const fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// Addresses to start from, and to find the others again after a partition.
    pub(crate) fn set_seeds(&mut self, mut seeds: Vec<SocketAddr>) {
        seeds.truncate(GOSSIP_SEEDS_MAX_COUNT);
        self.seeds = seeds;
    }

    pub(crate) const fn set_cluster(&mut self, cluster: Option<ClusterId>) {
        self.cluster = cluster;
    }

    /// Replaces this node's facts and pushes them if they have changed.
    pub(crate) fn set_facts(
        &mut self,
        mut facts: NodeFacts,
        now: Now,
    ) -> Result<Vec<Outgoing>, FactsTooLarge> {
        facts.gossip_address = facts.gossip_address.or(self.observed);
        if facts == self.facts {
            return Ok(Vec::new());
        }
        self.encoded = facts.encode()?;
        self.facts = facts;
        self.stamp.version += 1;
        Ok(self.push_to_some(&[Arc::clone(&self.name)], None, now))
    }

    /// A round.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Outgoing> {
        self.stamp.heartbeat += 1;
        self.extra_sends = GOSSIP_EXTRA_SENDS_MAX_COUNT;
        self.nodes.forget(now.elapsed);
        let mut targets = self.some_alive(GOSSIP_FANOUT_COUNT, None, now);
        targets.extend(self.one_lost(&targets, now));
        let syn = |this: &mut Self, to| (to, this.syn(now));
        targets.into_iter().map(|to| syn(self, to)).collect()
    }

    /// Addresses of reachable nodes, in random order.
    fn some_alive(
        &mut self,
        count: usize,
        except: Option<SocketAddr>,
        now: Now,
    ) -> Vec<SocketAddr> {
        let nodes = self.nodes.iter().map(|(_, known)| known);
        let alive = nodes.filter(|known| known.detector.is_alive(now.elapsed));
        let mut addresses: Vec<_> = alive
            .filter_map(super::table::Known::address)
            .filter(|address| Some(*address) != except)
            .collect();
        self.random.choose(&mut addresses, count);
        addresses
    }

    /// An address at which a node may be that is not reachable now: of a seed, or of a node that
    /// was. Without it two halves of a cluster would stay apart after a partition.
    fn one_lost(&mut self, chosen: &[SocketAddr], now: Now) -> Option<SocketAddr> {
        let mut lost: Vec<_> = self.seeds.clone();
        let mut alive = Vec::new();
        for (_, known) in self.nodes.iter() {
            match known.address() {
                Some(address) if known.detector.is_alive(now.elapsed) => alive.push(address),
                Some(address) => lost.push(address),
                None => {}
            }
        }
        let own = [self.facts.gossip_address, self.observed];
        lost.retain(|address| {
            !alive.contains(address) && !chosen.contains(address) && !own.contains(&Some(*address))
        });
        self.random.choose(&mut lost, 1);
        lost.pop()
    }

    fn sender(&self, now: Now) -> Sender {
        Sender {
            name: Arc::clone(&self.name),
            stamp: self.stamp,
            sent_ms: now.wall_ms,
            cluster: self.cluster,
        }
    }

    fn writer(&self, kind: Kind, observed: Option<SocketAddr>, now: Now) -> MessageWriter {
        MessageWriter::new(kind, &self.sender(now), observed, &Window::nothing())
    }

    /// The stamps of the nodes in the next window.
    fn syn(&mut self, now: Now) -> Vec<u8> {
        let from = std::mem::replace(&mut self.cursor, "".into());
        let told = |from: &NodeName| {
            let from = Arc::clone(from);
            let nodes = self.nodes.iter().skip_while(move |(name, _)| **name < from);
            nodes.filter(|(_, known)| known.is_told(now.elapsed))
        };
        // The end of the window is written before its names: so its size is found first.
        let mut to: NodeName = "".into();
        let longest = told(&from)
            .map(|(name, _)| name)
            .max_by_key(|name| name.len());
        let window = Window {
            from: Arc::clone(&from),
            to: longest.map_or_else(|| "".into(), Arc::clone),
        };
        let mut trial = MessageWriter::new(Kind::Syn, &self.sender(now), None, &window);
        for (name, known) in told(&from) {
            if !trial.stamp(name, known.stamp) {
                to = Arc::clone(name);
                break;
            }
        }
        let window = Window { from, to };
        let mut syn = MessageWriter::new(Kind::Syn, &self.sender(now), None, &window);
        for (name, known) in told(&window.from).take_while(|(name, _)| window.contains(name)) {
            syn.stamp(name, known.stamp);
        }
        self.cursor = window.to;
        syn.finish()
    }

    /// Takes an authentic message of another node and returns the answers.
    pub(crate) fn receive(
        &mut self,
        from: SocketAddr,
        message: &Message,
        now: Now,
    ) -> Vec<Outgoing> {
        let mut out = self.merge(from, message, now);
        self.note_direct(from, message);
        self.note_observed(message);
        match message.kind {
            Kind::Syn => out.push((from, self.ack(from, message, now))),
            Kind::Ack => {
                if !message.wants.is_empty() {
                    out.push((from, self.push(&message.wants, now)));
                }
                if message.has_more && self.spend_extra() {
                    out.push((from, self.syn(now)));
                }
            }
            Kind::Push => {}
        }
        out
    }

    fn spend_extra(&mut self) -> bool {
        let left = self.extra_sends.checked_sub(1);
        self.extra_sends = left.unwrap_or(0);
        left.is_some()
    }

    /// Takes over the entries and heartbeats of a message, and pushes changed facts to others.
    fn merge(&mut self, from: SocketAddr, message: &Message, now: Now) -> Vec<Outgoing> {
        let mut changed = Vec::new();
        for entry in &message.entries {
            if entry.name == self.name {
                changed.extend(self.refute(entry.stamp));
            } else if self.nodes.merge(entry, now.elapsed) == Merged::Changed {
                self.revision += 1;
                // What this node has asked for is no news to the others.
                if message.kind == Kind::Push {
                    changed.push(Arc::clone(&entry.name));
                }
            }
        }
        let sender = (message.sender.name.clone(), message.sender.stamp);
        for (name, stamp) in message.stamps.iter().chain([&sender]) {
            if *name == self.name {
                changed.extend(self.refute(*stamp));
            } else {
                self.nodes.heartbeat(name, *stamp, now.elapsed);
            }
        }
        if changed.is_empty() {
            return Vec::new();
        }
        self.push_to_some(&changed, Some(from), now)
    }

    /// Raises the own generation above one that others know: of a former process under this name
    /// whose data directory is gone, or is newer than this one.
    fn refute(&mut self, theirs: Stamp) -> Option<NodeName> {
        if theirs.facts() <= self.stamp.facts() {
            return None;
        }
        self.stamp.generation = theirs.generation.saturating_add(1);
        Some(Arc::clone(&self.name))
    }

    fn note_direct(&mut self, from: SocketAddr, message: &Message) {
        let Sender { name, stamp, .. } = &message.sender;
        if let Some(known) = self.nodes.get_mut(name)
            && stamp.generation >= known.stamp.generation
        {
            self.revision += u64::from(known.direct != Some(from));
            known.direct = Some(from);
        }
    }

    /// Takes over the own address that others see, if none is configured.
    fn note_observed(&mut self, message: &Message) {
        let Some(observed) = message.observed else {
            return;
        };
        let is_learned = self
            .facts
            .gossip_address
            .is_none_or(|a| Some(a) == self.observed);
        if !is_learned || self.observed == Some(observed) {
            self.candidate = None;
            return;
        }
        // A new one is taken if it was seen twice in a row: should two networks see the node at
        // different addresses, its facts would change with each answer.
        let is_seen_twice = self.candidate.replace(observed) == Some(observed);
        if self.observed.is_some() && !is_seen_twice {
            return;
        }
        let facts = NodeFacts {
            gossip_address: Some(observed),
            ..self.facts.clone()
        };
        if let Ok(encoded) = facts.encode() {
            self.observed = Some(observed);
            self.facts = facts;
            self.encoded = encoded;
            self.stamp.version += 1;
        }
    }

    fn own_entry(&self) -> Entry {
        Entry {
            name: Arc::clone(&self.name),
            stamp: self.stamp,
            silent_ms: 0,
            facts: Arc::clone(&self.encoded),
        }
    }

    fn entry(&self, name: &NodeName, now: Now) -> Option<Entry> {
        if *name == self.name {
            return Some(self.own_entry());
        }
        let known = self.nodes.get(name)?;
        let told = known.is_told(now.elapsed);
        told.then(|| known.entry(name, now.elapsed))
    }

    fn ack(&self, from: SocketAddr, syn: &Message, now: Now) -> Vec<u8> {
        let mut ack = self.writer(Kind::Ack, Some(from), now);
        let mut newer = Vec::new();
        let sender = (Arc::clone(&syn.sender.name), syn.sender.stamp);
        for (name, theirs) in [&sender].into_iter().chain(&syn.stamps) {
            let ours = if *name == self.name {
                self.stamp
            } else if let Some(known) = self.nodes.get(name) {
                known.stamp
            } else {
                if self.nodes.has_room(now.elapsed) {
                    ack.want(name);
                }
                continue;
            };
            match theirs.facts().cmp(&ours.facts()) {
                std::cmp::Ordering::Greater if *name != self.name => {
                    ack.want(name);
                }
                std::cmp::Ordering::Less => newer.push(Arc::clone(name)),
                _ => {}
            }
        }
        let listed = |name: &NodeName| {
            *name == sender.0 || syn.stamps.iter().any(|(listed, _)| listed == name)
        };
        let others = self.nodes.iter().map(|(name, _)| name);
        let lacking = others
            .chain([&self.name])
            .filter(|name| syn.window.contains(name) && !listed(name));
        for name in newer.iter().chain(lacking) {
            if let Some(entry) = self.entry(name, now) {
                ack.entry(&entry);
            }
        }
        self.put_heartbeats(&mut ack, syn);
        ack.finish()
    }

    /// Heartbeats newer than those of the other. They come last: if there is no room for them,
    /// other exchanges carry them.
    fn put_heartbeats(&self, ack: &mut MessageWriter, syn: &Message) {
        for (name, theirs) in &syn.stamps {
            let known = self.nodes.get(name).map(|known| known.stamp);
            if let Some(ours) = known
                .filter(|ours| ours.facts() == theirs.facts() && ours.heartbeat > theirs.heartbeat)
            {
                ack.stamp_if_room(name, ours);
            }
        }
    }

    fn push(&self, names: &[NodeName], now: Now) -> Vec<u8> {
        let mut push = self.writer(Kind::Push, None, now);
        for entry in names.iter().filter_map(|name| self.entry(name, now)) {
            push.entry(&entry);
        }
        push.finish()
    }

    fn push_to_some(
        &mut self,
        names: &[NodeName],
        except: Option<SocketAddr>,
        now: Now,
    ) -> Vec<Outgoing> {
        let mut out = Vec::new();
        let targets = self.some_alive(GOSSIP_FANOUT_COUNT, except, now);
        for to in targets {
            if self.spend_extra() {
                out.push((to, self.push(names, now)));
            }
        }
        out
    }
}
