//! The durable state of a raft replica besides the log.

use lograft_core::{LogId, Vote};

/// The vote of a replica, and the last log id that it knew to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The last vote saved; on disk before its callback reports success.
    pub vote: Option<Vote>,
    /// The last committed id saved. It may be older after a crash; it is never ahead of the log.
    pub committed: Option<LogId>,
}
