//! What a replica of a group is told at its start.

use std::time::Duration;

use lograft_core::limits::{
    RAFT_ELECTION_TIMEOUT_MAX, RAFT_ELECTION_TIMEOUT_MIN, RAFT_HEARTBEAT_INTERVAL,
};
use lograft_core::{GroupId, NodeId};

/// How often a leader says that it is there, and how long a follower waits for that.
///
/// `election_min` must be above twice the heartbeat and a fifth, and below `election_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower stands for election.
    pub election_min: Duration,
    /// The longest; each election draws a time between the two.
    pub election_max: Duration,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat: RAFT_HEARTBEAT_INTERVAL,
            election_min: RAFT_ELECTION_TIMEOUT_MIN,
            election_max: RAFT_ELECTION_TIMEOUT_MAX,
        }
    }
}

/// Which replica this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// The group.
    pub group: GroupId,
    /// The node that this replica stands on.
    pub node: NodeId,
    /// Its clockwork.
    pub timing: RaftTiming,
}

impl GroupConfig {
    /// With the default timing.
    pub fn new(group: GroupId, node: NodeId) -> Self {
        Self {
            group,
            node,
            timing: RaftTiming::default(),
        }
    }
}
