//! The incarnation of a node: which process it is, and how far its disk has come.
//!
//! The number is on the node's own disk. It is raised at each start before anybody hears of the
//! process, and again at an interval while the node promises something: votes, or acknowledges
//! entries. So a disk that was put back to an older copy says a lower number than the other nodes
//! have heard. Two processes on two copies of one disk say the same number with different sessions.

use std::collections::BTreeMap;

use crate::ids::NodeId;

/// Which process of a node it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incarnation {
    /// Counts the starts on the data directory and the intervals with promises, from 1.
    pub number: u64,
    /// A random number of the process.
    pub session: u64,
}

impl Incarnation {
    /// Whether a process of the same node that says this is on an older disk than one that said
    /// `seen`, or on a second copy of the same disk. Lower numbers of one process are its earlier
    /// messages, which may arrive later.
    pub const fn is_behind(self, seen: Self) -> bool {
        seen.session != self.session && seen.number >= self.number
    }
}

/// The newest incarnation of each node that has been seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenIncarnations(BTreeMap<NodeId, Incarnation>);

impl SeenIncarnations {
    /// Takes over what a node says of itself, unless a newer incarnation of it is known; of two
    /// with the same number, the first one counts. Returns whether what the node says is current.
    pub fn observe(&mut self, node: NodeId, incarnation: Incarnation) -> bool {
        let seen = self.0.entry(node).or_insert(incarnation);
        let is_current = !incarnation.is_behind(*seen);
        if is_current && incarnation.number > seen.number {
            *seen = incarnation;
        }
        is_current
    }

    /// The newest incarnation of a node.
    pub fn get(&self, node: NodeId) -> Option<Incarnation> {
        self.0.get(&node).copied()
    }

    /// Forgets the nodes that are not wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(NodeId) -> bool) {
        self.0.retain(|node, _| is_wanted(*node));
    }

    /// All of them, by node.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, Incarnation)> {
        self.0
            .iter()
            .map(|(node, incarnation)| (*node, *incarnation))
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no node is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(NodeId, Incarnation)> for SeenIncarnations {
    fn from_iter<I: IntoIterator<Item = (NodeId, Incarnation)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn of(number: u64, session: u64) -> Incarnation {
        Incarnation { number, session }
    }

    #[test]
    fn a_lower_number_or_a_second_session_is_behind() {
        assert!(of(3, 1).is_behind(of(4, 2)));
        assert!(!of(3, 1).is_behind(of(4, 1)), "an earlier message");
        assert!(of(3, 1).is_behind(of(3, 2)));
        assert!(!of(3, 1).is_behind(of(3, 1)));
        assert!(!of(4, 2).is_behind(of(3, 1)), "a restart");
    }

    #[test]
    fn the_first_session_of_a_number_counts() {
        let (node, mut seen) = (NodeId(2), SeenIncarnations::default());
        assert!(seen.observe(node, of(3, 1)));
        assert!(!seen.observe(node, of(3, 2)));
        assert!(!seen.observe(node, of(2, 9)));
        assert_eq!(seen.get(node), Some(of(3, 1)));
        assert!(seen.observe(node, of(1, 1)), "an earlier message");
        assert_eq!(seen.get(node), Some(of(3, 1)));
        assert!(seen.observe(node, of(4, 2)));
        assert!(!seen.observe(node, of(3, 1)), "the copy has won");
        seen.retain(|_| false);
        assert!(seen.is_empty());
    }

    proptest! {
        /// Whatever is heard in whatever order: what is kept never falls, and of two processes on
        /// copies of one disk at most one is current at any time.
        #[test]
        fn what_is_seen_never_falls_and_at_most_one_copy_is_current(
            said in proptest::collection::vec((0u64..6, 0u64..3), 1..40),
        ) {
            let (node, mut seen) = (NodeId(1), SeenIncarnations::default());
            for (number, session) in said {
                let before = seen.get(node);
                let is_current = seen.observe(node, of(number, session));
                let after = seen.get(node).unwrap();
                prop_assert!(before.is_none_or(|before| after.number >= before.number));
                prop_assert_eq!(is_current, after.session == session);
                let current = (0..3).filter(|s| !of(after.number, *s).is_behind(after));
                prop_assert_eq!(current.count(), 1);
            }
        }
    }
}
