//! Derived state of a group at one log index.

use bytes::Bytes;
use lograft_core::{LogId, Offset};

/// The state of a group's state machine after it applied the log up to `last`: a restart and a
/// snapshot need only the entries after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry applied to the state.
    pub last: LogId,
    /// The offset of the next record.
    pub next_offset: Offset,
    /// The membership in force at `last`, encoded by the raft layer.
    pub membership: Bytes,
    /// The entry that set that membership.
    pub membership_id: Option<LogId>,
    /// The state, encoded by the state machine.
    pub state: Bytes,
}
