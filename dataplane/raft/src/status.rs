//! The status of a replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lograft_core::{GroupId, LogId, LogIndex, NodeId, Term};

use crate::error::BoxError;
use crate::vote_fence::FenceStage;

/// The role of a replica in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives the log and does not vote.
    Learner,
    /// Votes and follows a leader, if there is one.
    Follower,
    /// Is running for leader in an election.
    Candidate,
    /// Is the leader of its term, as far as it knows.
    Leader,
    /// Was shut down or has failed.
    Stopped,
}

/// The failure of a replica's raft core. The node must exit, since its state in memory may differ
/// from its log.
#[derive(Clone, Debug)]
pub struct GroupFatal {
    /// The cause, as reported by openraft.
    pub cause: Arc<BoxError>,
}

impl PartialEq for GroupFatal {
    /// Whether both values are the same event.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cause, &other.cause)
    }
}

/// The progress of a follower or learner, as the leader knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The last entry that is known to be on its disk.
    pub matched: Option<LogId>,
    /// The number of entries that it is behind the leader.
    pub lag: u64,
}

/// The progress of a replica's purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeStatus {
    /// The boundary (inclusive) of the last purge request.
    pub requested: Option<LogIndex>,
    /// The slow follower that delays the purge at the moment, for `limits::PURGE_HOLD_MAX` at most.
    /// After that the log is purged and the follower receives a snapshot.
    pub held_by: Option<NodeId>,
}

/// The status of a replica and of its group, as this replica knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// The node of this replica.
    pub node: NodeId,
    /// The replica's current term.
    pub term: Term,
    /// The role of this replica.
    pub role: Role,
    /// The leader of the term, if known.
    pub leader: Option<NodeId>,
    /// Whether this replica is the leader, has applied the blank entry of its own term, its disk
    /// flushes, and it has contact with a majority.
    ///
    /// Its state machine then includes all entries that were committed in earlier terms. A leader
    /// MUST NOT check proposals against its state before that: an acknowledged batch of the
    /// previous leader could still be missing, and its retry would be appended a second time.
    pub ready: bool,
    /// False on a leader that no majority has acknowledged for `RaftTiming::contact_max`: another
    /// replica may lead by now. True on all others.
    pub has_contact: bool,
    /// The voters. During a membership change, the voters before it.
    pub voters: BTreeSet<NodeId>,
    /// During a membership change, the voters after it.
    pub joint: Option<BTreeSet<NodeId>>,
    /// The members that receive the log and do not vote.
    pub learners: BTreeSet<NodeId>,
    /// The entry of this membership.
    pub membership: Option<LogId>,
    /// Whether this membership is committed.
    pub membership_committed: bool,
    /// The last entry of the log.
    pub last: Option<LogId>,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// The last applied entry.
    pub applied: Option<LogId>,
    /// The last purged entry.
    pub purged: Option<LogId>,
    /// On the leader, the progress of the other members. Empty on other replicas.
    pub followers: BTreeMap<NodeId, FollowerStatus>,
    /// The progress of the replica's purge.
    pub purge: PurgeStatus,
    /// Whether the replica may vote and lead.
    pub fence: FenceStage,
    /// Set if the raft core has failed.
    pub fatal: Option<GroupFatal>,
}

impl GroupStatus {
    /// Whether this replica is the leader.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// Whether this replica knows that its group was initialized.
    pub fn is_initialized(&self) -> bool {
        !self.voters.is_empty()
    }

    /// The follower with the smallest lag, of those that `is_candidate` accepts; `None` on a
    /// replica that is not the leader.
    pub fn closest_follower(&self, is_candidate: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let followers = self.followers.iter();
        followers
            .filter(|(node, _)| is_candidate(**node))
            .min_by_key(|(node, follower)| (follower.lag, **node))
            .map(|(node, _)| *node)
    }

    /// Whether `node` has the entry of the membership, so that it knows of all former ones that
    /// they have ended. Always false on a replica that is not the leader, which does not know.
    pub fn has_joined(&self, node: NodeId) -> bool {
        let follower = self.followers.get(&node);
        let matched = follower.and_then(|follower| follower.matched);
        self.is_leader() && matched >= self.membership
    }

    /// Whether `node` is a member that is at most `lag_max` entries behind the leader. Always false
    /// on a replica that is not the leader, which does not know.
    pub fn is_caught_up(&self, node: NodeId, lag_max: u64) -> bool {
        self.is_leader()
            && (node == self.node
                || self.followers.get(&node).is_some_and(|f| {
                    f.lag <= lag_max && (f.matched.is_some() || self.last.is_none())
                }))
    }
}
