//! The raft log entry as all of Lograft sees it: storage writes it, raft orders it, peers carry
//! it. The payload bytes are shared, never copied on the way.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, ProducerEpoch, ProducerId, Sequence};
use crate::offset::{LogIndex, Offset, Term};

/// The place of an entry in its group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The term whose leader proposed the entry.
    pub term: Term,
    /// The entry's index.
    pub index: LogIndex,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}

/// Hard state: whom this replica voted for, and whether a quorum made that node leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The term voted in.
    pub term: Term,
    /// The node voted for.
    pub voted_for: NodeId,
    /// Whether that node is known to lead the term.
    pub committed: bool,
}

/// What an entry is. The number is its code on disk and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A new leader's empty entry.
    Blank = 1,
    /// The group's voters and learners from here on; the payload is an encoded [`Membership`].
    Membership = 2,
    /// A client's record batch; the only kind that takes offsets.
    Records = 3,
    /// A command of the meta group.
    Command = 4,
    /// Moves a partition's log start: the payload is the new log start offset, 8 bytes LE.
    Trim = 5,
}

impl EntryKind {
    /// The kind with this code.
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

/// Who produced a batch, for the detection of duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub base_sequence: Sequence,
}

/// What a leader puts before its group: an entry that has no place in the log yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What it is.
    pub kind: EntryKind,
    /// Records in the payload; 0 for every kind but `Records`.
    pub record_count: u32,
    /// When the leader took it, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
    /// The greatest record timestamp within, milliseconds since the Unix epoch.
    pub max_time_ms: i64,
    /// The idempotent producer, where there is one.
    pub producer: Option<ProducerStamp>,
    /// CRC-32C of `payload`: computed by the client, checked at every hop, kept on disk.
    pub payload_crc32c: u32,
    /// The bytes, untouched from client to disk to consumer.
    pub payload: Bytes,
}

impl Proposal {
    /// A proposal without records: its CRC is computed here.
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
    /// Its place in the log.
    pub id: LogId,
    /// The offset of its first record; for other kinds the offset that the next record will get.
    /// A pure function of the log before it.
    pub base_offset: Offset,
    /// What was proposed.
    pub proposal: Proposal,
}

impl Entry {
    /// The offset after the entry's last record.
    pub const fn next_offset(&self) -> Offset {
        self.base_offset.plus(self.proposal.record_count)
    }
}

/// A group's voters and learners. `joint` is set while a change is under way: then a quorum of
/// both sets decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The voters; while a change is under way, those before it.
    pub voters: BTreeSet<NodeId>,
    /// While a change is under way, the voters after it.
    pub joint: Option<BTreeSet<NodeId>>,
    /// Those that get the log and do not vote.
    pub learners: BTreeSet<NodeId>,
}
