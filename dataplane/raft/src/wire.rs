//! What replicas of a group say to each other. A transport turns these into its own form and
//! back; payload bytes are shared, never copied here.

use bytes::Bytes;
use lograft_core::{Entry, LogId, Membership, Offset, Vote};

/// A leader's request to append entries. Without entries: a heartbeat or a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    /// The leader's vote.
    pub vote: Vote,
    /// The entry before the first of `entries`; `None` before the very first.
    pub prev: Option<LogId>,
    /// The entries, with consecutive indexes. Those of kind `Membership` carry their encoded
    /// membership as payload.
    pub entries: Vec<Entry>,
    /// The last entry that the leader knows to be committed.
    pub leader_commit: Option<LogId>,
}

/// A follower's answer to an [`AppendRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendReply {
    /// The follower's log agrees with the leader's up to here, on disk.
    Accepted(Option<LogId>),
    /// The follower does not have this entry, the request's `prev`. Ends a stream.
    Conflict(LogId),
    /// The follower knows a higher vote. Ends a stream.
    HigherVote(Vote),
}

/// A candidate's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    /// The vote asked for.
    pub vote: Vote,
    /// The candidate's last entry.
    pub last: Option<LogId>,
    /// Only asks whether the vote would be granted: nothing is written.
    pub pre_vote: bool,
    /// The leader asked this candidate to stand: its own lease does not count.
    pub leadership_transfer: bool,
}

/// The answer to a [`VoteRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteReply {
    /// The voter's vote after it decided.
    pub vote: Vote,
    /// Whether it granted (or, before a vote, would grant) what was asked.
    pub granted: bool,
    /// The voter's last entry.
    pub last: Option<LogId>,
}

/// The derived state of a group at an entry, without the log before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that the state takes in.
    pub last: LogId,
    /// The offset that the first record after `last` gets.
    pub next_offset: Offset,
    /// The group's membership at `last`.
    pub membership: Membership,
    /// The entry that set this membership.
    pub membership_id: Option<LogId>,
    /// What [`crate::StateMachine::checkpoint`] gave.
    pub state: Bytes,
}

/// A leader's snapshot for a follower whose next entries are purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The leader's vote.
    pub vote: Vote,
    /// The whole snapshot; a transport cuts it into chunks as it likes.
    pub snapshot: Snapshot,
}

/// The answer to a [`SnapshotRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotReply {
    /// The follower's vote: higher than the leader's if it refused.
    pub vote: Vote,
}

/// A leader's word to the other members that `to` shall lead from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRequest {
    /// The leader's vote.
    pub from_leader: Vote,
    /// Who shall lead.
    pub to: lograft_core::NodeId,
    /// The leader's last entry: `to` must have it on disk before it stands.
    pub last: Option<LogId>,
}

/// The answer to a [`TransferRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferReply {
    /// Heard.
    Accepted,
    /// The receiver follows another vote by now.
    VoteChanged(Vote),
    /// The receiver's log on disk ends here, before the leader's.
    NotFlushed(Option<LogId>),
}
