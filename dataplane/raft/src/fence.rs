//! Keeps a chain of proposals whole.
//!
//! raft takes or refuses each proposal for itself: a leader whose lease has run out refuses some,
//! and takes the next ones in the same term once a quorum has answered. A proposer that has
//! several in flight builds each on those before it, for the sequences of idempotent producers as
//! for offsets. A fence says what a proposal was built on, and the leader's log, where proposals
//! arrive one after the other, takes it only if that is so.

use bytes::Bytes;
use lograft_core::{Entry, EntryKind, Offset, Proposal};
use openraft::EntryPayload;

use crate::convert::entry_from_raft;
use crate::types::RaftEntry;

/// Where a proposal must come to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The chain of proposals that it belongs to, from 1 on. A proposer begins a new one, with a
    /// greater number, whenever it starts again from the applied state; its first proposal then
    /// expects the applied state's end.
    pub chain: u64,
    /// The offset that its first record must get.
    pub base_offset: Offset,
}

/// Checks fences in the order in which entries enter the leader's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// The newest chain seen.
    chain: u64,
    /// Whether one of its proposals is missing: then none of the later ones is taken.
    broken: bool,
}

impl Gate {
    /// The entry as it is to be appended, where `next_offset` is the log's end.
    pub(crate) fn pass(&mut self, entry: RaftEntry, next_offset: Offset) -> Entry {
        let fence = match &entry.payload {
            EntryPayload::Normal(data) => data.fence,
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        let mut entry = entry_from_raft(entry);
        if let Some(fence) = fence
            && !self.admits(fence, next_offset)
        {
            let append_time_ms = entry.proposal.append_time_ms;
            entry.proposal = Proposal::control(EntryKind::Blank, append_time_ms, Bytes::new());
        }
        entry
    }

    fn admits(&mut self, fence: Fence, next_offset: Offset) -> bool {
        if fence.chain > self.chain {
            *self = Self {
                chain: fence.chain,
                broken: false,
            };
        }
        if fence.chain < self.chain {
            return false;
        }
        self.broken |= fence.base_offset != next_offset;
        !self.broken
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
    fn a_gap_ends_its_chain_for_good() {
        let mut gate = Gate::default();
        assert!(gate.admits(fence(1, 5), Offset(5)));
        assert!(gate.admits(fence(1, 7), Offset(7)));
        // What should have come at 9 was refused.
        assert!(!gate.admits(fence(1, 11), Offset(9)));
        assert!(!gate.admits(fence(1, 9), Offset(9)));
    }

    #[test]
    fn a_new_chain_ends_the_old_and_starts_at_the_end() {
        let mut gate = Gate::default();
        assert!(!gate.admits(fence(1, 5), Offset(4)));
        assert!(gate.admits(fence(2, 4), Offset(4)));
        assert!(!gate.admits(fence(1, 6), Offset(6)));
        assert!(gate.admits(fence(2, 6), Offset(6)));
    }

    #[test]
    fn a_leftover_of_the_same_size_does_not_stand_in_for_the_missing_one() {
        let mut gate = Gate::default();
        assert!(gate.admits(fence(1, 0), Offset(0)));
        // A late one of chain 1 came in between and moved the end from 0 to 2.
        assert!(!gate.admits(fence(2, 0), Offset(2)));
        assert!(!gate.admits(fence(2, 2), Offset(2)));
        assert!(gate.admits(fence(3, 2), Offset(2)));
    }
}
