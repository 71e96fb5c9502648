//! The memory that a node gives to its largest consumers, from the limit under which it runs.

use crate::limits::{
    DECOMPRESSION_MAX_BYTES, DECOMPRESSION_MIN_BYTES, PRODUCE_NODE_IN_FLIGHT_MAX_BYTES,
    PRODUCE_NODE_IN_FLIGHT_MIN_BYTES, REPLIES_MAX_BYTES, REPLIES_MIN_BYTES, TAIL_CACHE_MIN_BYTES,
    UNFLUSHED_MAX_BYTES, UNFLUSHED_MIN_BYTES,
};

/// Each budget takes at most an eighth of the memory limit, all of them five eighths. The rest is
/// for connections, requests and the tables of partitions and producers.
const SHARE: u64 = 8;

/// The memory budgets of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudgets {
    /// Size of the tail cache, over all groups, bytes.
    pub tail_cache_bytes: usize,
    /// Size of the entries that are not on disk yet, over all groups, bytes.
    pub unflushed_bytes: usize,
    /// Size of the unanswered batches of all clients, bytes.
    pub produce_in_flight_bytes: usize,
    /// Size of the batches that are being decompressed, bytes.
    pub decompression_bytes: usize,
    /// Size of the replies that clients have not taken yet, bytes.
    pub replies_bytes: usize,
}

impl MemoryBudgets {
    /// The budgets under a memory limit, if there is one, with the configured size of the tail
    /// cache. No budget is lowered below its minimum, with which a node works, but slowly.
    pub fn within(limit_bytes: Option<u64>, tail_cache_bytes: usize) -> Self {
        let share = limit_bytes.map_or(u64::MAX, |limit| limit / SHARE);
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let budget = |wanted: usize, min: usize| wanted.min(share.max(min));
        Self {
            tail_cache_bytes: budget(tail_cache_bytes, TAIL_CACHE_MIN_BYTES),
            unflushed_bytes: budget(UNFLUSHED_MAX_BYTES, UNFLUSHED_MIN_BYTES),
            produce_in_flight_bytes: budget(
                PRODUCE_NODE_IN_FLIGHT_MAX_BYTES,
                PRODUCE_NODE_IN_FLIGHT_MIN_BYTES,
            ),
            decompression_bytes: budget(DECOMPRESSION_MAX_BYTES, DECOMPRESSION_MIN_BYTES),
            replies_bytes: budget(REPLIES_MAX_BYTES, REPLIES_MIN_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BATCH_MAX_BYTES, BATCH_UNCOMPRESSED_MAX_BYTES, TAIL_CACHE_DEFAULT_BYTES};

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn budgets_take_a_share_of_the_limit_and_never_more_than_without_one() {
        let unlimited = MemoryBudgets::within(None, TAIL_CACHE_DEFAULT_BYTES);
        assert_eq!(unlimited.tail_cache_bytes, TAIL_CACHE_DEFAULT_BYTES);
        assert_eq!(unlimited.unflushed_bytes, UNFLUSHED_MAX_BYTES);
        assert_eq!(
            MemoryBudgets::within(Some(1 << 40), TAIL_CACHE_DEFAULT_BYTES),
            unlimited
        );
        let small = MemoryBudgets::within(Some(256 * MIB), TAIL_CACHE_DEFAULT_BYTES);
        assert_eq!(small.tail_cache_bytes, 32 * 1024 * 1024);
        assert_eq!(small.unflushed_bytes, 32 * 1024 * 1024);
        assert_eq!(small.produce_in_flight_bytes, 32 * 1024 * 1024);
        assert_eq!(small.decompression_bytes, 32 * 1024 * 1024);
        assert_eq!(small.replies_bytes, 32 * 1024 * 1024);
    }

    #[test]
    fn no_limit_is_so_small_that_an_entry_has_no_room() {
        let tiny = MemoryBudgets::within(Some(1), TAIL_CACHE_DEFAULT_BYTES);
        assert_eq!(tiny.tail_cache_bytes, TAIL_CACHE_MIN_BYTES);
        assert!(tiny.unflushed_bytes >= 2 * BATCH_MAX_BYTES);
        assert!(tiny.produce_in_flight_bytes >= 2 * BATCH_MAX_BYTES);
        assert!(tiny.decompression_bytes >= BATCH_UNCOMPRESSED_MAX_BYTES);
        let configured = MemoryBudgets::within(Some(1), TAIL_CACHE_MIN_BYTES / 2);
        assert_eq!(configured.tail_cache_bytes, TAIL_CACHE_MIN_BYTES / 2);
    }
}
