//! Recovery epochs of raft groups: how often a group that lost its majority was recovered, and from
//! which node.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

const NODE_BITS: u32 = 32;

/// The recovery epoch of a group. 0 until its first recovery.
///
/// ```text
/// bits 32..64  generation: one more at each recovery
/// bits 0..32   id of the node whose replica survived
/// ```
///
/// With the node in it, recoveries on two nodes that do not know of each other have different
/// epochs, and one of them is later for all.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RecoveryEpoch(pub u64);

impl RecoveryEpoch {
    /// Before any recovery.
    pub const ZERO: Self = Self(0);

    /// The epoch of a recovery from `node`; `None` if one of both numbers is too large.
    pub fn new(generation: u64, node: NodeId) -> Option<Self> {
        let (generation, node) = (u32::try_from(generation), u32::try_from(node.get()));
        let (generation, node) = (u64::from(generation.ok()?), u64::from(node.ok()?));
        Some(Self((generation << NODE_BITS) | node))
    }

    /// The number, as stored and sent.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of the recovery.
    pub const fn generation(self) -> u64 {
        self.0 >> NODE_BITS
    }

    /// The node whose replica survived.
    pub const fn node(self) -> NodeId {
        NodeId(self.0 & ((1 << NODE_BITS) - 1))
    }

    /// Whether no recovery has happened.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for RecoveryEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation(), self.node())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_recovery_has_a_greater_epoch_and_two_nodes_never_have_the_same() {
        let epoch = |generation, node| RecoveryEpoch::new(generation, NodeId(node)).unwrap();
        assert!(RecoveryEpoch::ZERO < epoch(0, 1));
        assert!(epoch(1, 9) < epoch(2, 1));
        assert!(epoch(2, 1) < epoch(2, 9));
        let last = epoch(u64::from(u32::MAX), u64::from(u32::MAX));
        assert_eq!(last.get(), u64::MAX);
        assert_eq!(epoch(7, 3).generation(), 7);
        assert_eq!(epoch(7, 3).node(), NodeId(3));
        assert_eq!(epoch(7, 3).to_string(), "7.3");
        assert_eq!(RecoveryEpoch::new(1 << 32, NodeId(1)), None);
        assert_eq!(RecoveryEpoch::new(1, NodeId(1 << 32)), None);
    }
}
