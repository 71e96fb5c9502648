//! The raft log entry, as storage, raft and the peer protocol use it. Payload bytes are shared,
//! never copied.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, ProducerEpoch, ProducerId, Sequence};
use crate::offset::{LogIndex, Offset, Term};

/// The position of an entry in its group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The term of the leader that proposed the entry.
    pub term: Term,
    /// The entry's index.
    pub index: LogIndex,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}

/// A replica's vote, part of its hard state. It MUST be on disk before the replica acts on it: a
/// vote that is forgotten can be cast twice in the same term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The term of the vote.
    pub term: Term,
    /// The node that the vote is for.
    pub voted_for: NodeId,
    /// Whether that node is known to be the leader of the term.
    pub committed: bool,
}

/// The kind of an entry. The number is its code on disk and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// An empty entry: the first entry of a new leader, or a voided proposal.
    Blank = 1,
    /// A membership change; the payload is an encoded [`Membership`].
    Membership = 2,
    /// A client's record batch, the only kind of entry that takes offsets.
    Records = 3,
    /// A command of the meta group.
    Command = 4,
    /// A new log start offset of a partition; the payload is the offset, 8 bytes little endian.
    Trim = 5,
}

impl EntryKind {
    /// The kind with this code, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Blank,
            2 => Self::Membership,
            3 => Self::Records,
            4 => Self::Command,
            5 => Self::Trim,
            _ => return None,
        })
    }
}

/// The idempotent producer of a batch, for deduplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerStamp {
    /// The producer's id.
    pub id: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub base_sequence: Sequence,
}

/// A proposal of a leader to its group: an entry without a position in the log yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// The number of records in the payload; 0 for all kinds except `Records`.
    pub record_count: u32,
    /// The leader's time of the append, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
    /// The greatest record timestamp in the payload, milliseconds since the Unix epoch.
    pub max_time_ms: i64,
    /// The idempotent producer, if any.
    pub producer: Option<ProducerStamp>,
    /// CRC-32C of `payload`: computed by the client, checked at every hop, stored on disk.
    pub payload_crc32c: u32,
    /// The payload, byte for byte the same from client to disk to consumer.
    pub payload: Bytes,
}

impl Proposal {
    /// A proposal without records. Computes the CRC of its payload.
    pub fn control(kind: EntryKind, append_time_ms: i64, payload: Bytes) -> Self {
        Self {
            kind,
            record_count: 0,
            append_time_ms,
            max_time_ms: append_time_ms,
            producer: None,
            payload_crc32c: crc32c::crc32c(&payload),
            payload,
        }
    }
}

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The position in the log.
    pub id: LogId,
    /// The offset of the first record or, for other kinds, of the next record. A function of the
    /// log before the entry, so that all replicas agree on it.
    pub base_offset: Offset,
    /// The proposal.
    pub proposal: Proposal,
}

impl Entry {
    /// The offset after the last record of the entry.
    pub const fn next_offset(&self) -> Offset {
        self.base_offset.plus(self.proposal.record_count)
    }
}

/// The voters and learners of a group. During a membership change `joint` is set, and every
/// decision needs a majority of both sets (joint consensus).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The voters. During a membership change, the voters before it.
    pub voters: BTreeSet<NodeId>,
    /// During a membership change, the voters after it.
    pub joint: Option<BTreeSet<NodeId>>,
    /// The members that receive the log and do not vote.
    pub learners: BTreeSet<NodeId>,
}
