//! The nodes that gossip knows, in a table of bounded size.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{GOSSIP_FORGET_MAX, GOSSIP_NODES_MAX_COUNT, GOSSIP_SILENT_MAX};

use super::detector::Detector;
use super::message::{Entry, Stamp};
use crate::facts::{NodeFacts, NodeName};

/// Another node.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) stamp: Stamp,
    pub(crate) facts: NodeFacts,
    /// The facts as received.
    pub(crate) encoded: Arc<[u8]>,
    pub(crate) detector: Detector,
    /// When this generation of the node was first known.
    pub(crate) since: Duration,
    /// The source of the node's last authentic datagram of this generation.
    pub(crate) direct: Option<SocketAddr>,
}

impl Known {
    /// Where to send datagrams: the address seen counts more than the one claimed.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.direct.or(self.facts.gossip_address)
    }

    pub(crate) fn entry(&self, name: &NodeName, now: Duration) -> Entry {
        let silent = self.detector.silent(now).as_millis();
        Entry {
            name: Arc::clone(name),
            stamp: self.stamp,
            silent_ms: u64::try_from(silent).unwrap_or(u64::MAX),
            facts: Arc::clone(&self.encoded),
        }
    }

    /// Whether the node is still passed on to others.
    pub(crate) fn is_told(&self, now: Duration) -> bool {
        self.detector.silent(now) < GOSSIP_SILENT_MAX
    }
}

/// The effect of an entry on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// New facts.
    Changed,
    /// At most a newer heartbeat.
    Unchanged,
    /// The facts do not decode, or the table is full of reachable nodes.
    Refused,
}

/// The other nodes by name.
#[derive(Debug, Default)]
pub(crate) struct NodeTable(BTreeMap<NodeName, Known>);

impl NodeTable {
    pub(crate) fn get(&self, name: &str) -> Option<&Known> {
        self.0.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Known> {
        self.0.get_mut(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeName, &Known)> {
        self.0.iter()
    }

    /// Whether an unknown node could be added.
    pub(crate) fn has_room(&self, now: Duration) -> bool {
        self.0.len() < GOSSIP_NODES_MAX_COUNT || self.evictable(now).is_some()
    }

    fn evictable(&self, now: Duration) -> Option<NodeName> {
        let silent = self
            .0
            .iter()
            .filter(|(_, known)| !known.detector.is_alive(now));
        let longest = silent.max_by_key(|(_, known)| known.detector.silent(now));
        longest.map(|(name, _)| Arc::clone(name))
    }

    /// Records a heartbeat of the generation that is known.
    pub(crate) fn heartbeat(&mut self, name: &str, stamp: Stamp, now: Duration) {
        let Some(known) = self.0.get_mut(name) else {
            return;
        };
        let is_newer = stamp.heartbeat > known.stamp.heartbeat;
        if stamp.generation == known.stamp.generation && is_newer {
            known.stamp.heartbeat = stamp.heartbeat;
            known.detector.heartbeat(now);
        }
    }

    /// Takes an entry over if it is newer than what is known.
    pub(crate) fn merge(&mut self, entry: &Entry, now: Duration) -> Merged {
        let silent = Duration::from_millis(entry.silent_ms);
        if silent >= GOSSIP_FORGET_MAX {
            return Merged::Refused;
        }
        let heard = now.saturating_sub(silent);
        let Some(known) = self.0.get_mut(&entry.name) else {
            return self.insert(entry, heard, now);
        };
        if entry.stamp.facts() <= known.stamp.facts() {
            self.heartbeat(&entry.name, entry.stamp, heard);
            return Merged::Unchanged;
        }
        let Some(facts) = NodeFacts::decode(&entry.facts) else {
            return Merged::Refused;
        };
        if entry.stamp.generation > known.stamp.generation {
            // A new process: its intervals and its address are its own.
            known.detector = Detector::new(heard);
            known.since = now;
            known.direct = None;
        } else if entry.stamp.heartbeat > known.stamp.heartbeat {
            known.detector.heartbeat(heard);
        }
        known.stamp = entry.stamp;
        known.facts = facts;
        known.encoded = Arc::clone(&entry.facts);
        Merged::Changed
    }

    fn insert(&mut self, entry: &Entry, heard: Duration, now: Duration) -> Merged {
        let Some(facts) = NodeFacts::decode(&entry.facts) else {
            return Merged::Refused;
        };
        if self.0.len() >= GOSSIP_NODES_MAX_COUNT {
            let Some(silent) = self.evictable(now) else {
                return Merged::Refused;
            };
            self.0.remove(&silent);
        }
        let known = Known {
            stamp: entry.stamp,
            facts,
            encoded: Arc::clone(&entry.facts),
            detector: Detector::new(heard),
            since: now,
            direct: None,
        };
        self.0.insert(Arc::clone(&entry.name), known);
        Merged::Changed
    }

    /// Drops nodes that have been silent for too long.
    pub(crate) fn forget(&mut self, now: Duration) {
        self.0
            .retain(|_, known| known.detector.silent(now) < GOSSIP_FORGET_MAX);
    }
}
