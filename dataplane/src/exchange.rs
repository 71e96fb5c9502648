//! The exchange between nodes: each sends its state with its heartbeats, with its answers to them,
//! and on its leader-watch streams, and keeps the last reading of each other node.
//!
//! Heartbeats alone would not do: they connect the nodes that share a group. Leader-watch streams
//! connect each node to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use lograft_core::check::ClockState;
use lograft_core::cluster_time::{ClusterTime, PeerClock, cluster_time, majority_time};
use lograft_core::limits::{CLOCK_FIRST_AGREEMENT_MAX, NODES_MAX_COUNT, READING_MAX_AGE};
use lograft_core::{DiskMark, DiskReading, FeatureLevel, NodeId, NodeReading, majority_of};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::incarnation::Incarnations;
use crate::recovery_epochs::RecoveryEpochs;

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
    replicas_max_count: u32,
    started: Instant,
    incarnations: Incarnations,
    recoveries: RecoveryEpochs,
    local: RwLock<LocalState>,
    peers: RwLock<BTreeMap<NodeId, PeerReading>>,
    agreement: RwLock<Agreement>,
}

/// The comparison of this node's clock with those of the others.
#[derive(Clone, Copy, Debug, Default)]
struct Agreement {
    /// Number of members of the cluster; 0 if it is not known yet.
    members_count: usize,
    /// Whether all nodes are known to report their clock.
    all_report: bool,
    /// The last known time of a majority, and when that was by the monotonic clock.
    majority: Option<(i64, Instant)>,
    /// Nodes with a recent reading, this one included.
    reported_count: usize,
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
    /// Without readings. `level` is the newest that this node knows, `replicas_max_count` the
    /// number of replicas that it carries at most.
    pub fn new(clock: Arc<dyn Clock>, level: FeatureLevel, replicas_max_count: u32) -> Self {
        Self(Arc::new(Inner {
            clock,
            level,
            replicas_max_count,
            started: Instant::now(),
            incarnations: Incarnations::default(),
            recoveries: RecoveryEpochs::default(),
            local: RwLock::default(),
            peers: RwLock::default(),
            agreement: RwLock::default(),
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
            replicas_max_count: self.0.replicas_max_count,
            incarnation: self.0.incarnations.own(),
        }
    }

    /// The incarnations of this node and the others.
    pub fn incarnations(&self) -> &Incarnations {
        &self.0.incarnations
    }

    /// The recovery epochs of the groups on this node.
    pub fn recoveries(&self) -> &RecoveryEpochs {
        &self.0.recoveries
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
        if let Some(incarnation) = reading.incarnation {
            self.0.incarnations.observe(node, incarnation);
        }
        let received = PeerReading {
            reading: reading.bounded(),
            received: Instant::now(),
        };
        let mut peers = self.peers_mut();
        if peers.len() < NODES_MAX_COUNT || peers.contains_key(&node) {
            peers.insert(node, received);
        }
        drop(peers);
        self.compare_clocks();
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

    /// Takes over the members of the cluster, and whether all of them are known to report their
    /// clock. Forgets the readings of other nodes.
    pub fn set_members(&self, members: &BTreeSet<NodeId>, all_report: bool) {
        self.peers_mut().retain(|node, _| members.contains(node));
        {
            let mut agreement = self.agreement_mut();
            agreement.members_count = members.len();
            agreement.all_report = all_report;
        }
        self.compare_clocks();
    }

    /// This node's time within the bound around the clocks of a majority.
    pub fn time(&self) -> ClusterTime {
        let agreement = self.agreement();
        let own_ms = self.0.clock.now_ms();
        // A majority of one is the own clock: it must not be held to its own past.
        let majority = agreement.majority.filter(|_| agreement.members_count > 1);
        let bounded = majority.map(|(majority_ms, at)| {
            let since_ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
            cluster_time(own_ms, majority_ms.saturating_add_unsigned(since_ms))
        });
        let time = bounded.unwrap_or(ClusterTime {
            now_ms: own_ms,
            state: ClockState::Agreed,
        });
        // Before the level that has readings is finalized, older nodes may be the majority. Without
        // their readings the own clock counts, as it does on them.
        if agreement.is_confirmed() || !agreement.all_report {
            return time;
        }
        let reported_count = agreement.reported_count as u64;
        ClusterTime {
            now_ms: time.now_ms,
            state: ClockState::Unconfirmed { reported_count },
        }
    }

    /// Whether append times may be taken from [`Self::time`]. At the start, the readings of the
    /// others are waited for, up to a bound: a clock that is wrong at boot must not get into the
    /// log.
    pub fn is_time_usable(&self) -> bool {
        let agreement = self.agreement();
        let is_known = agreement.members_count == 1 || agreement.majority.is_some();
        is_known
            || (agreement.members_count > 1 && !agreement.all_report)
            || self.0.started.elapsed() > CLOCK_FIRST_AGREEMENT_MAX
    }

    fn compare_clocks(&self) {
        let now = Instant::now();
        let recent: Vec<PeerClock> = self
            .peers_ref()
            .values()
            .map(|peer| (peer.reading.clock_ms, now.duration_since(peer.received)))
            .filter(|(_, age)| *age <= READING_MAX_AGE)
            .map(|(clock_ms, age)| PeerClock {
                clock_ms,
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            })
            .collect();
        let own_ms = self.0.clock.now_ms();
        let mut agreement = self.agreement_mut();
        agreement.reported_count = recent.len() + 1;
        if agreement.members_count == 0 {
            return;
        }
        if let Some(majority_ms) = majority_time(own_ms, &recent, agreement.members_count) {
            agreement.majority = Some((majority_ms, now));
        }
    }

    fn agreement(&self) -> Agreement {
        let agreement = self.0.agreement.read();
        *agreement.unwrap_or_else(PoisonError::into_inner)
    }

    fn agreement_mut(&self) -> RwLockWriteGuard<'_, Agreement> {
        let agreement = self.0.agreement.write();
        agreement.unwrap_or_else(PoisonError::into_inner)
    }

    fn peers_ref(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, PeerReading>> {
        self.0.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, PeerReading>> {
        self.0.peers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agreement {
    fn is_confirmed(&self) -> bool {
        self.members_count > 0 && self.reported_count >= majority_of(self.members_count)
    }
}

/// The clock of append times.
impl Clock for NodeExchange {
    fn now_ms(&self) -> i64 {
        self.time().now_ms
    }

    fn is_usable(&self) -> bool {
        self.is_time_usable()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use lograft_core::limits::{CLOCK_DIFFERENCE_MAX_MS, CLOCK_READING_MAX_MS};

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
        let exchange = NodeExchange::new(Arc::new(SystemClock), FeatureLevel(2), 9);
        exchange.record(NodeId(2), reading(5));
        exchange.record(NodeId(2), reading(i64::MAX));
        exchange.record(NodeId(3), reading(7));
        let clocks = |exchange: &NodeExchange| -> Vec<i64> {
            let peers = exchange.peers().into_values();
            peers.map(|peer| peer.reading.clock_ms).collect()
        };
        assert_eq!(clocks(&exchange), [CLOCK_READING_MAX_MS, 7]);
        exchange.set_members(&[NodeId(3)].into(), true);
        assert_eq!(clocks(&exchange), [7]);
        for node in 0..2 * NODES_MAX_COUNT as u64 {
            exchange.record(NodeId(node), reading(1));
        }
        assert_eq!(exchange.peers().len(), NODES_MAX_COUNT);
        assert_eq!(exchange.own().level, FeatureLevel(2));
        let own = Some(NodeId(1));
        assert_eq!(exchange.replicas_max_count(own, NodeId(1)), Some(9));
        assert_eq!(exchange.replicas_max_count(own, NodeId(3)), None);
    }

    /// A wall clock that is set by hand.
    struct SetClock(AtomicI64);

    impl Clock for SetClock {
        fn now_ms(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    const NOW_MS: i64 = 1_800_000_000_000;
    const YEAR_MS: i64 = 31_536_000_000;

    fn set(members: &[u64]) -> BTreeSet<NodeId> {
        members.iter().copied().map(NodeId).collect()
    }

    fn of_three() -> (Arc<SetClock>, NodeExchange) {
        let clock = Arc::new(SetClock(AtomicI64::new(NOW_MS)));
        let exchange = NodeExchange::new(clock.clone(), FeatureLevel(2), 0);
        exchange.set_members(&set(&[1, 2, 3]), true);
        (clock, exchange)
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_moves_the_time_by_no_more_than_the_bound() {
        let (clock, exchange) = of_three();
        assert!(!exchange.is_usable(), "no majority has reported");
        exchange.record(NodeId(2), reading(NOW_MS + 3));
        assert!(exchange.is_usable());
        assert_eq!(exchange.time().state, ClockState::Agreed);
        clock.0.store(NOW_MS + YEAR_MS, Ordering::Relaxed);
        let time = exchange.time();
        assert!(time.now_ms <= NOW_MS + 3 + CLOCK_DIFFERENCE_MAX_MS);
        assert!(matches!(time.state, ClockState::Off { .. }));
        // The time goes on with that of the others, also while they are silent.
        tokio::time::advance(Duration::from_mins(1)).await;
        let later = exchange.time();
        assert_eq!(later.now_ms, time.now_ms + 60_000);
        exchange.set_members(&set(&[1, 2, 3]), true);
        let state = ClockState::Unconfirmed { reported_count: 1 };
        assert_eq!(exchange.time().state, state);
        assert_eq!(
            exchange.now_ms(),
            later.now_ms,
            "no jump without a majority"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_at_boot_is_not_used_before_the_others_could_report() {
        let (_, exchange) = of_three();
        assert!(!exchange.is_usable());
        tokio::time::advance(CLOCK_FIRST_AGREEMENT_MAX + Duration::from_millis(1)).await;
        assert!(exchange.is_usable(), "the wait is bounded");
        assert_eq!(exchange.now_ms(), NOW_MS);
        // Older nodes do not report: their silence means nothing.
        exchange.set_members(&set(&[1, 2, 3]), false);
        assert_eq!(exchange.time().state, ClockState::Agreed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_node_follows_its_own_clock() {
        let (clock, exchange) = of_three();
        exchange.set_members(&set(&[1]), true);
        assert!(exchange.is_usable());
        clock.0.store(NOW_MS + YEAR_MS, Ordering::Relaxed);
        let time = exchange.time();
        assert_eq!(time.now_ms, NOW_MS + YEAR_MS);
        assert_eq!(time.state, ClockState::Agreed);
    }
}
