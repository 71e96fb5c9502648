//! Requests and replies between the replicas of a group. A transport converts them to its own form
//! and back. Payload bytes are shared, never copied.

use bytes::Bytes;
use lograft_core::{Entry, LogId, Membership, Offset, Vote};

/// A leader's request to append entries. Without entries, it is a heartbeat or a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    /// The leader's vote.
    pub vote: Vote,
    /// The entry before the first of `entries`; `None` before the first entry of the log.
    pub prev: Option<LogId>,
    /// The entries, with consecutive indexes. The payload of an entry of kind `Membership` is its
    /// encoded membership.
    pub entries: Vec<Entry>,
    /// The last entry that is known to be committed.
    pub leader_commit: Option<LogId>,
    /// Whether no majority has acknowledged the leader lately: `leader_commit` may be old then.
    pub isolated: bool,
}

/// The reply to an [`AppendRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendReply {
    /// The follower's log on disk matches the leader's up to this entry.
    Accepted(Option<LogId>),
    /// The follower does not have the request's `prev`, which is this entry. Ends the stream.
    Conflict(LogId),
    /// The follower knows a higher vote. Ends the stream.
    HigherVote(Vote),
}

/// A candidate's request for a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    /// The requested vote.
    pub vote: Vote,
    /// The candidate's last entry.
    pub last: Option<LogId>,
    /// Whether this is a pre-vote, which only asks if the vote would be granted.
    pub pre_vote: bool,
    /// Whether the leader requested this election in order to transfer its leadership. Its lease
    /// then does not prevent the vote.
    pub leadership_transfer: bool,
}

/// The reply to a [`VoteRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteReply {
    /// The voter's vote after its decision.
    pub vote: Vote,
    /// Whether the vote is granted or, for a pre-vote, would be.
    pub granted: bool,
    /// The voter's last entry.
    pub last: Option<LogId>,
}

/// The derived state of a group at an entry, without the log before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that is applied in the state.
    pub last: LogId,
    /// The offset of the first record after `last`.
    pub next_offset: Offset,
    /// The group's membership at `last`.
    pub membership: Membership,
    /// The entry that contains this membership.
    pub membership_id: Option<LogId>,
    /// The state as encoded by [`crate::StateMachine::checkpoint`].
    pub state: Bytes,
}

/// A leader's snapshot for a follower whose next entries are purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The leader's vote.
    pub vote: Vote,
    /// The whole snapshot. A transport may send it in chunks.
    pub snapshot: Snapshot,
}

/// The reply to a [`SnapshotRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotReply {
    /// The follower's vote. It is higher than the leader's if the snapshot was rejected.
    pub vote: Vote,
}

/// A leader's request to transfer its leadership, sent to all other members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRequest {
    /// The leader's vote.
    pub from_leader: Vote,
    /// The successor.
    pub to: lograft_core::NodeId,
    /// The leader's last entry. `to` must have it on disk before it starts an election.
    pub last: Option<LogId>,
}

/// The reply to a [`TransferRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferReply {
    /// The request was accepted.
    Accepted,
    /// The receiver follows another vote.
    VoteChanged(Vote),
    /// The receiver's log on disk ends at this entry, before the leader's.
    NotFlushed(Option<LogId>),
}
