//! Derived state at a segment's base.

use bytes::Bytes;
use lograft_core::{LogId, Offset};

/// What a group's state machine had made of the log up to `last`: with it, a restart and a
/// snapshot need only the entries after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry that went into it.
    pub last: LogId,
    /// The offset that the next record gets.
    pub next_offset: Offset,
    /// The membership in force at `last`, encoded by the raft layer.
    pub membership: Bytes,
    /// The entry that set that membership.
    pub membership_id: Option<LogId>,
    /// The state machine's own bytes.
    pub state: Bytes,
}
