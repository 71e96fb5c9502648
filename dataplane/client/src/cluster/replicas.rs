//! The choice of a replica to read from: the nearest one that is healthy and least loaded.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::NodeId;
use lograft_core::limits::{CONSUMER_REPLICA_AVOID_MAX, CONSUMER_REPLICA_AVOID_MIN};
use tokio::time::Instant;

/// A replica that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaNode {
    pub(crate) node: NodeId,
    pub(crate) address: Arc<str>,
    /// Whether its zone is the client's.
    pub(crate) is_near: bool,
}

/// The read streams of a client by node, and the nodes that it avoids.
#[derive(Debug, Default)]
pub(crate) struct ReadStreams(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: HashMap<NodeId, usize>,
    avoided: HashMap<NodeId, Avoided>,
    /// Grows with each choice, so that equal nodes take turns.
    turn: u64,
}

/// A node whose streams have failed.
#[derive(Clone, Copy, Debug)]
struct Avoided {
    until: Instant,
    /// Failures since its last reply.
    failures: u32,
}

/// A stream that counts for its node until it is dropped. It is counted before it is open, so that
/// readers that choose at the same time spread.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    streams: Arc<ReadStreams>,
    pub(crate) replica: ReplicaNode,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut state = self.streams.lock();
        if let Some(count) = state.counts.get_mut(&self.replica.node) {
            *count = count.saturating_sub(1);
        }
    }
}

impl State {
    fn count(&self, node: NodeId) -> usize {
        self.counts.get(&node).copied().unwrap_or(0)
    }

    fn is_avoided(&self, node: NodeId) -> bool {
        let avoided = self.avoided.get(&node);
        avoided.is_some_and(|avoided| avoided.until > Instant::now())
    }

    /// The best of these: near before far, then the one with the fewest streams, in turn.
    fn best(&self, replicas: Vec<ReplicaNode>) -> Option<ReplicaNode> {
        let count = u64::try_from(replicas.len()).unwrap_or(u64::MAX).max(1);
        let healthy = (0..)
            .zip(replicas)
            .filter(|(_, r)| !self.is_avoided(r.node));
        let best = healthy.min_by_key(|(at, replica): &(u64, ReplicaNode)| {
            let distance = (at + count - self.turn % count) % count;
            (Reverse(replica.is_near), self.count(replica.node), distance)
        });
        best.map(|(_, replica)| replica)
    }
}

impl ReadStreams {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place at the best of these replicas; none if all are avoided.
    pub(crate) fn take(self: &Arc<Self>, replicas: Vec<ReplicaNode>) -> Option<StreamPlace> {
        let mut state = self.lock();
        let replica = state.best(replicas)?;
        state.turn = state.turn.wrapping_add(1);
        *state.counts.entry(replica.node).or_default() += 1;
        drop(state);
        Some(StreamPlace {
            streams: Arc::clone(self),
            replica,
        })
    }

    /// Whether a stream at `place` would be better at one of these replicas: near instead of far,
    /// or at a node with fewer streams even after the move.
    pub(crate) fn is_better(&self, place: &ReplicaNode, replicas: Vec<ReplicaNode>) -> bool {
        let state = self.lock();
        let Some(best) = state.best(replicas).filter(|best| best.node != place.node) else {
            return false;
        };
        match (place.is_near, best.is_near) {
            (false, true) => true,
            (true, false) => false,
            _ => state.count(place.node) > state.count(best.node) + 1,
        }
    }

    /// Avoids a node whose stream has failed: longer each time, until it replies again.
    pub(crate) fn avoid(&self, node: NodeId) {
        let mut state = self.lock();
        let failures = state.avoided.get(&node).map_or(0, |known| known.failures);
        let doubled = CONSUMER_REPLICA_AVOID_MIN.saturating_mul(1 << failures.min(16));
        let avoided = Avoided {
            until: Instant::now() + doubled.min(CONSUMER_REPLICA_AVOID_MAX),
            failures: failures.saturating_add(1),
        };
        state.avoided.insert(node, avoided);
    }

    /// Avoids a node for this long, whatever it replies: its version cannot serve the reads.
    pub(crate) fn avoid_for(&self, node: NodeId, time: Duration) {
        let avoided = Avoided {
            until: Instant::now() + time,
            failures: 0,
        };
        self.lock().avoided.insert(node, avoided);
    }

    /// Notes that a node has replied on a stream.
    pub(crate) fn note_replied(&self, node: NodeId) {
        let mut state = self.lock();
        if !state.is_avoided(node) {
            state.avoided.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(node: u64, is_near: bool) -> ReplicaNode {
        ReplicaNode {
            node: NodeId(node),
            address: format!("n{node}:9400").into(),
            is_near,
        }
    }

    fn all() -> Vec<ReplicaNode> {
        vec![replica(1, false), replica(2, true), replica(3, true)]
    }

    fn node(place: &StreamPlace) -> u64 {
        place.replica.node.get()
    }

    #[tokio::test(start_paused = true)]
    async fn near_replicas_share_the_streams() {
        let streams = Arc::<ReadStreams>::default();
        let places: Vec<_> = (0..6).map(|_| streams.take(all()).unwrap()).collect();
        let at = |n| places.iter().filter(|place| node(place) == n).count();
        assert_eq!((at(1), at(2), at(3)), (0, 3, 3));
        let far = vec![replica(1, false), replica(4, false)];
        let places: Vec<_> = (0..4).map(|_| streams.take(far.clone()).unwrap()).collect();
        let at = |n| places.iter().filter(|place| node(place) == n).count();
        assert_eq!((at(1), at(4)), (2, 2), "if none is near");
    }

    #[tokio::test(start_paused = true)]
    async fn equal_nodes_take_turns() {
        let streams = Arc::<ReadStreams>::default();
        let taken: Vec<u64> = (0..4)
            .map(|_| node(&streams.take(all()).unwrap()))
            .collect();
        assert!(taken.contains(&2) && taken.contains(&3), "{taken:?}");
        assert!(streams.lock().counts.values().all(|count| *count == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_fails_is_avoided_longer_each_time() {
        let streams = Arc::<ReadStreams>::default();
        streams.avoid(NodeId(2));
        streams.avoid(NodeId(3));
        assert_eq!(node(&streams.take(all()).unwrap()), 1);
        streams.avoid(NodeId(1));
        assert!(streams.take(all()).is_none(), "then the leader");
        tokio::time::advance(CONSUMER_REPLICA_AVOID_MIN).await;
        assert!(streams.take(all()).unwrap().replica.is_near);
        streams.avoid(NodeId(2));
        streams.note_replied(NodeId(3));
        streams.avoid(NodeId(3));
        tokio::time::advance(CONSUMER_REPLICA_AVOID_MIN).await;
        assert_eq!(node(&streams.take(all()).unwrap()), 3);
        let place = streams.take(vec![replica(3, true)]).unwrap();
        assert!(
            !streams.is_better(&place.replica, all()),
            "2 is avoided still"
        );
        for _ in 0..20 {
            streams.avoid(NodeId(2));
        }
        tokio::time::advance(CONSUMER_REPLICA_AVOID_MAX).await;
        assert_eq!(node(&streams.take(all()).unwrap()), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_moves_to_a_nearer_or_a_less_loaded_node() {
        let streams = Arc::<ReadStreams>::default();
        let far = streams.take(vec![replica(1, false)]).unwrap();
        assert!(streams.is_better(&far.replica, all()));
        let one = streams.take(vec![replica(2, true)]).unwrap();
        assert!(!streams.is_better(&one.replica, all()), "nothing is won");
        let _two = streams.take(vec![replica(2, true)]).unwrap();
        assert!(streams.is_better(&one.replica, all()));
        assert!(!streams.is_better(&one.replica, vec![replica(1, false)]));
    }
}
