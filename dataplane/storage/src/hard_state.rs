//! What raft must not forget besides the log.

use lograft_core::{LogId, Vote};

/// A replica's vote, and how far it knew the log to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The last vote saved; on disk before its callback came.
    pub vote: Option<Vote>,
    /// The last committed id saved; may lag behind after a crash, and is never ahead of the log.
    pub committed: Option<LogId>,
}
