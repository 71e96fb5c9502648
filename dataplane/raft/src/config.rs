//! Configuration of a replica.

use std::time::Duration;

use lograft_core::limits::{
    RAFT_ELECTION_TIMEOUT_MAX, RAFT_ELECTION_TIMEOUT_MIN, RAFT_HEARTBEAT_INTERVAL,
};
use lograft_core::{GroupId, NodeId};

/// Heartbeat and election timing of a group.
///
/// `election_min` must be above 2.2 times `heartbeat` and below `election_max`; otherwise
/// [`RaftGroup::start`](crate::RaftGroup::start) fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    /// Interval between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// Lower bound of the randomized election timeout.
    pub election_min: Duration,
    /// Upper bound of the randomized election timeout.
    pub election_max: Duration,
}

impl RaftTiming {
    /// Time without an acknowledgement by a majority after which a leader does not serve any more.
    /// By then the others have elected another one, if they can.
    pub const fn contact_max(&self) -> Duration {
        self.election_max.saturating_mul(2)
    }
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

/// Identity and timing of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// The group.
    pub group: GroupId,
    /// The node of this replica.
    pub node: NodeId,
    /// The timing of the group.
    pub timing: RaftTiming,
    /// How the replica starts.
    pub start: GroupStart,
}

/// How a replica starts in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStart {
    /// Fenced, because its disk is older than its promises: see
    /// [`RaftGroup::fence`](crate::RaftGroup::fence).
    pub is_fenced: bool,
    /// Without campaigns until [`RaftGroup::release`](crate::RaftGroup::release).
    pub is_held: bool,
}

impl GroupConfig {
    /// A configuration with the default timing.
    pub fn new(group: GroupId, node: NodeId) -> Self {
        Self {
            group,
            node,
            timing: RaftTiming::default(),
            start: GroupStart::default(),
        }
    }
}
