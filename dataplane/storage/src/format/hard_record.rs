//! A record of the hard state file.

use lograft_core::{ClusterId, GroupId, LogId, LogIndex, NodeId, Term, Vote};

use super::fields::{VERSION, get_16, get_u64, other_version, put, record_crc, record_is_valid};
use crate::hard_state::HardState;

/// Length of a record, bytes.
pub(crate) const HARD_RECORD_BYTES: usize = 96;
/// Positions of the three records: each has a page of its own, so that a torn write damages one.
pub(crate) const HARD_SLOT_POSITIONS: [u64; 3] = [0, 4096, 8192];
const MAGIC: u64 = u64::from_le_bytes(*b"lgHARDST");
const FLAG_VOTE: u8 = 1;
const FLAG_VOTE_COMMITTED: u8 = 2;
const FLAG_COMMITTED: u8 = 4;

/// One of the three records of a hard state file; the valid one with the highest sequence counts.
///
/// ```text
/// at  size
///  0   8   magic "lgHARDST"
///  8   1   version, 1
///  9   1   flags: bit 0 has a vote, bit 1 the vote is committed, bit 2 has a committed id
/// 10   2   0
/// 12   4   CRC-32C of bytes 0..12 and 16..96
/// 16  16   cluster id
/// 32   8   group id
/// 40   8   sequence
/// 48   8   vote: term
/// 56   8   vote: node voted for
/// 64   8   committed: term
/// 72   8   committed: index
/// 80   8   durable end: entries below were on disk when this was written
/// 88   8   0
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HardRecord {
    pub(crate) sequence: u64,
    pub(crate) hard: HardState,
    pub(crate) durable_end: LogIndex,
}

impl HardRecord {
    pub(crate) fn encode(&self, group: GroupId, cluster: ClusterId) -> [u8; HARD_RECORD_BYTES] {
        let mut bytes = [0; HARD_RECORD_BYTES];
        put(&mut bytes, 0, &MAGIC.to_le_bytes());
        bytes[8] = VERSION;
        put(&mut bytes, 16, &cluster.to_bytes());
        put(&mut bytes, 32, &group.0.to_le_bytes());
        put(&mut bytes, 40, &self.sequence.to_le_bytes());
        if let Some(vote) = self.hard.vote {
            bytes[9] |= FLAG_VOTE | (u8::from(vote.committed) * FLAG_VOTE_COMMITTED);
            put(&mut bytes, 48, &vote.term.0.to_le_bytes());
            put(&mut bytes, 56, &vote.voted_for.0.to_le_bytes());
        }
        if let Some(committed) = self.hard.committed {
            bytes[9] |= FLAG_COMMITTED;
            put(&mut bytes, 64, &committed.term.0.to_le_bytes());
            put(&mut bytes, 72, &committed.index.0.to_le_bytes());
        }
        put(&mut bytes, 80, &self.durable_end.0.to_le_bytes());
        let crc = record_crc(&bytes);
        put(&mut bytes, 12, &crc.to_le_bytes());
        bytes
    }

    /// The version of a record that another release wrote.
    pub(crate) fn other_version(bytes: &[u8]) -> Option<u8> {
        other_version(bytes.get(..HARD_RECORD_BYTES)?, MAGIC)
    }

    /// Decodes the record in the first 96 bytes and its cluster; `None` if it is not valid or
    /// belongs to another group.
    pub(crate) fn decode(bytes: &[u8], group: GroupId) -> Option<(Self, ClusterId)> {
        let bytes = bytes.get(..HARD_RECORD_BYTES)?;
        if !record_is_valid(bytes, MAGIC) || get_u64(bytes, 32) != group.0 {
            return None;
        }
        let flags = bytes[9];
        let vote = (flags & FLAG_VOTE != 0).then(|| Vote {
            term: Term(get_u64(bytes, 48)),
            voted_for: NodeId(get_u64(bytes, 56)),
            committed: flags & FLAG_VOTE_COMMITTED != 0,
        });
        let committed = (flags & FLAG_COMMITTED != 0).then(|| LogId {
            term: Term(get_u64(bytes, 64)),
            index: LogIndex(get_u64(bytes, 72)),
        });
        let record = Self {
            sequence: get_u64(bytes, 40),
            hard: HardState { vote, committed },
            durable_end: LogIndex(get_u64(bytes, 80)),
        };
        Some((record, ClusterId::from_bytes(get_16(bytes, 16))))
    }
}
