//! Fenced proposals: no proposal enters the log without those it was built on.
//!
//! raft accepts or rejects every proposal on its own. A leader whose lease has expired rejects some
//! proposals, and accepts later ones in the same term once a quorum has replied again. A proposer
//! with several proposals in flight builds each on its predecessors: on their offsets, and on the
//! sequences of idempotent producers. A fence names the position that a proposal was built for, and
//! the leader's log accepts the proposal at exactly this position only.

use lograft_core::Offset;

/// The position in the log that a proposal was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The number of the proposal's chain, from 1. A proposer starts a chain with a greater number
    /// whenever it builds on the applied state again; the first proposal of a chain expects the end
    /// of the applied state as its `base_offset`.
    pub chain: u64,
    /// The offset of the proposal's first record.
    pub base_offset: Offset,
}

/// Decides which fenced proposals may enter the leader's log. It sees them in log order.
#[derive(Clone, Debug, Default)]
pub(crate) struct FenceCheck {
    /// The newest chain seen.
    chain: u64,
    /// Whether a proposal of that chain is missing from the log.
    is_broken: bool,
}

impl FenceCheck {
    /// Whether a proposal may enter the log, where `next_offset` is the log's end.
    // A chain that has lost one proposal is rejected from there on, even if a later proposal fits
    // by its offset. Two proposals with the same number of records are interchangeable as far as
    // offsets go, but not for a producer's sequences: the later one would enter the log with the
    // sequence of the earlier one missing, and the producer's retry would be out of order.
    //
    // Leftovers of an older chain are rejected for the same reason: the newer chain was built on an
    // applied state that does not include them.
    pub(crate) fn admits(&mut self, fence: Fence, next_offset: Offset) -> bool {
        if fence.chain > self.chain {
            *self = Self {
                chain: fence.chain,
                is_broken: false,
            };
        }
        if fence.chain < self.chain {
            return false;
        }
        self.is_broken |= fence.base_offset != next_offset;
        !self.is_broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(chain: u64, base_offset: u64) -> Fence {
        Fence {
            chain,
            base_offset: Offset(base_offset),
        }
    }

    #[test]
    fn a_gap_breaks_its_chain_permanently() {
        let mut check = FenceCheck::default();
        assert!(check.admits(fence(1, 5), Offset(5)));
        assert!(check.admits(fence(1, 7), Offset(7)));
        // The proposal for offset 9 was rejected by raft.
        assert!(!check.admits(fence(1, 11), Offset(9)));
        assert!(!check.admits(fence(1, 9), Offset(9)));
    }

    #[test]
    fn a_new_chain_replaces_the_old_one_and_starts_at_the_end() {
        let mut check = FenceCheck::default();
        assert!(!check.admits(fence(1, 5), Offset(4)));
        assert!(check.admits(fence(2, 4), Offset(4)));
        assert!(!check.admits(fence(1, 6), Offset(6)));
        assert!(check.admits(fence(2, 6), Offset(6)));
    }

    #[test]
    fn a_leftover_of_the_same_size_does_not_replace_the_missing_proposal() {
        let mut check = FenceCheck::default();
        assert!(check.admits(fence(1, 0), Offset(0)));
        // A late proposal of chain 1 moved the end from 0 to 2 in between.
        assert!(!check.admits(fence(2, 0), Offset(2)));
        assert!(!check.admits(fence(2, 2), Offset(2)));
        assert!(check.admits(fence(3, 2), Offset(2)));
    }
}
