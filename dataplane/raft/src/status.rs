//! What a replica says about itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lograft_core::{GroupId, LogId, LogIndex, NodeId, Term};

use crate::error::BoxError;

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gets the log, does not vote.
    Learner,
    /// Votes, follows a leader or looks for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Has been stopped or has failed.
    Stopped,
}

/// Why a replica's raft core ended without being told to. The node must exit: what it holds in
/// memory may be wrong.
#[derive(Clone, Debug)]
pub struct GroupFatal {
    /// The cause, as raft gave it.
    pub cause: Arc<BoxError>,
}

impl PartialEq for GroupFatal {
    /// Whether both stand for the same event.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cause, &other.cause)
    }
}

/// How far a follower or learner is, seen by the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The last entry known to be on its disk.
    pub matched: Option<LogId>,
    /// How many entries it is behind the leader's last.
    pub lag: u64,
}

/// A purge that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeStatus {
    /// The boundary that retention asked for last (inclusive).
    pub requested: Option<LogIndex>,
    /// The slow follower that holds it back at the moment. Bounded by
    /// `limits::PURGE_HOLD_MAX`; then the log is purged and the follower gets a snapshot.
    pub held_by: Option<NodeId>,
}

/// A replica's view of itself and its group at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// The node of this replica.
    pub node: NodeId,
    /// The term.
    pub term: Term,
    /// What this replica is.
    pub role: Role,
    /// Who leads the term, as far as is known.
    pub leader: Option<NodeId>,
    /// This replica leads and has applied its own blank entry of this term: its state machine
    /// has everything that was ever committed, and it may take proposals. Only then.
    pub ready: bool,
    /// The voters; while a change is under way, those before it.
    pub voters: BTreeSet<NodeId>,
    /// While a change is under way, the voters after it.
    pub joint: Option<BTreeSet<NodeId>>,
    /// Those that get the log and do not vote.
    pub learners: BTreeSet<NodeId>,
    /// Whether the membership above is committed.
    pub membership_committed: bool,
    /// The last entry of the log.
    pub last: Option<LogId>,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// The last entry applied.
    pub applied: Option<LogId>,
    /// The last entry purged.
    pub purged: Option<LogId>,
    /// On a leader: the other members' progress. Empty elsewhere.
    pub followers: BTreeMap<NodeId, FollowerStatus>,
    /// A purge that waits.
    pub purge: PurgeStatus,
    /// Set once the raft core has failed.
    pub fatal: Option<GroupFatal>,
}

impl GroupStatus {
    /// Whether this replica leads.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// Whether the group has been initialized, as far as this replica knows.
    pub fn is_initialized(&self) -> bool {
        !self.voters.is_empty()
    }

    /// Whether `node` is a member with all but `lag_max` entries of the leader's log on disk.
    /// Only a leader knows.
    pub fn is_caught_up(&self, node: NodeId, lag_max: u64) -> bool {
        self.is_leader()
            && (node == self.node
                || self.followers.get(&node).is_some_and(|f| {
                    f.lag <= lag_max && (f.matched.is_some() || self.last.is_none())
                }))
    }
}
