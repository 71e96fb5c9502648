//! The exchange between nodes: each sends its state with its heartbeats, with its answers to them,
//! and on its leader-watch streams, and keeps the last reading of each other node.
//!
//! Heartbeats alone would not do: they connect the nodes that share a group. Leader-watch streams
//! connect each node to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use lograft_core::limits::{NODES_MAX_COUNT, READING_MAX_AGE};
use lograft_core::{DiskMark, DiskReading, FeatureLevel, NodeId, NodeReading};
use tokio::time::Instant;

use crate::clock::Clock;

/// The last reading of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerReading {
    /// The reading, every value in its bounds.
    pub reading: NodeReading,
    /// When it was received, by this node's monotonic clock.
    pub received: Instant,
}

/// The readings of a node and its peers. Cheap to clone.
#[derive(Clone)]
pub struct NodeExchange(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    level: FeatureLevel,
    replicas_max_count: AtomicU32,
    local: RwLock<LocalState>,
    peers: RwLock<BTreeMap<NodeId, PeerReading>>,
}

/// The part of this node's reading that is measured at an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalState {
    /// The data disk.
    pub disk: DiskReading,
    /// Age of the oldest write that is not flushed yet.
    pub oldest_unflushed: Duration,
}

impl NodeExchange {
    /// Without readings. `level` is the newest that this node knows.
    pub fn new(clock: Arc<dyn Clock>, level: FeatureLevel) -> Self {
        Self(Arc::new(Inner {
            clock,
            level,
            replicas_max_count: AtomicU32::new(0),
            local: RwLock::default(),
            peers: RwLock::default(),
        }))
    }

    /// This node's reading now.
    pub fn own(&self) -> NodeReading {
        let LocalState {
            disk,
            oldest_unflushed,
        } = self.local();
        NodeReading {
            clock_ms: self.0.clock.now_ms(),
            disk,
            oldest_unflushed,
            level: self.0.level,
            replicas_max_count: self.0.replicas_max_count.load(Ordering::Relaxed),
        }
    }

    /// Publishes the number of replicas that this node carries at most.
    pub fn set_replicas_max_count(&self, count: u32) {
        self.0.replicas_max_count.store(count, Ordering::Relaxed);
    }

    /// The number of replicas that a node carries at most, `None` if it has not reported it. `own`
    /// is the id of this node.
    pub fn replicas_max_count(&self, own: Option<NodeId>, node: NodeId) -> Option<u32> {
        let reading = if own == Some(node) {
            Some(self.own())
        } else {
            self.peer(node).map(|peer| peer.reading)
        };
        let count = reading?.replicas_max_count;
        (count > 0).then_some(count)
    }

    /// The last measured state of this node.
    pub fn local(&self) -> LocalState {
        *self.0.local.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a newly measured state of this node.
    pub fn set_local(&self, state: LocalState) {
        *self.0.local.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Records the reading of another node. A node above the maximum number of nodes is ignored:
    /// the id is a claim of the sender.
    pub fn record(&self, node: NodeId, reading: NodeReading) {
        let received = PeerReading {
            reading: reading.bounded(),
            received: Instant::now(),
        };
        let mut peers = self.peers_mut();
        if peers.len() < NODES_MAX_COUNT || peers.contains_key(&node) {
            peers.insert(node, received);
        }
    }

    /// The last reading of a node, however old.
    pub fn peer(&self, node: NodeId) -> Option<PeerReading> {
        self.peers_ref().get(&node).copied()
    }

    /// The last reading of a node, unless it is too old.
    pub fn recent(&self, node: NodeId) -> Option<NodeReading> {
        let reading = self.peer(node)?;
        (reading.received.elapsed() <= READING_MAX_AGE).then_some(reading.reading)
    }

    /// Whether the disk of any other node was low at its last reading.
    pub fn is_any_peer_low(&self) -> bool {
        let peers = self.peers_ref();
        let mut marks = peers.values().map(|peer| peer.reading.disk.mark);
        marks.any(|mark| mark >= DiskMark::Low)
    }

    /// The last readings of all other nodes, however old.
    pub fn peers(&self) -> BTreeMap<NodeId, PeerReading> {
        self.peers_ref().clone()
    }

    /// Forgets nodes that are not in `members`.
    pub fn retain(&self, members: &BTreeSet<NodeId>) {
        self.peers_mut().retain(|node, _| members.contains(node));
    }

    fn peers_ref(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, PeerReading>> {
        self.0.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, PeerReading>> {
        self.0.peers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::limits::CLOCK_READING_MAX_MS;

    use super::*;
    use crate::clock::SystemClock;

    fn reading(clock_ms: i64) -> NodeReading {
        NodeReading {
            clock_ms,
            ..NodeReading::default()
        }
    }

    #[test]
    fn the_last_reading_of_each_peer_is_kept_and_bounded() {
        let exchange = NodeExchange::new(Arc::new(SystemClock), FeatureLevel(2));
        exchange.record(NodeId(2), reading(5));
        exchange.record(NodeId(2), reading(i64::MAX));
        exchange.record(NodeId(3), reading(7));
        let clocks = |exchange: &NodeExchange| -> Vec<i64> {
            let peers = exchange.peers().into_values();
            peers.map(|peer| peer.reading.clock_ms).collect()
        };
        assert_eq!(clocks(&exchange), [CLOCK_READING_MAX_MS, 7]);
        exchange.retain(&[NodeId(3)].into());
        assert_eq!(clocks(&exchange), [7]);
        for node in 0..2 * NODES_MAX_COUNT as u64 {
            exchange.record(NodeId(node), reading(1));
        }
        assert_eq!(exchange.peers().len(), NODES_MAX_COUNT);
        assert_eq!(exchange.own().level, FeatureLevel(2));
        exchange.set_replicas_max_count(9);
        let own = Some(NodeId(1));
        assert_eq!(exchange.replicas_max_count(own, NodeId(1)), Some(9));
        assert_eq!(exchange.replicas_max_count(own, NodeId(3)), None);
    }
}
