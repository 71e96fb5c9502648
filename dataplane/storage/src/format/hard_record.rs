//! A record of the hard state file.

use lograft_core::{ClusterId, GroupId, LogId, LogIndex, NodeId, Term, Vote};

use super::fields::{NewerValue, RecordFields, RecordFormat, get_16, get_u64, put, record_crc};
use crate::hard_state::HardState;

/// Length of a record, bytes.
pub(crate) const HARD_RECORD_BYTES: usize = 96;
/// Positions of the three records: each has a page of its own, so that a torn write damages one.
pub(crate) const HARD_SLOT_POSITIONS: [u64; 3] = [0, 4096, 8192];
const FLAG_VOTE: u8 = 1;
const FLAG_VOTE_COMMITTED: u8 = 2;
const FLAG_COMMITTED: u8 = 4;
/// The format of a record of the hard state file.
const HARD_STATE: RecordFormat = RecordFormat {
    magic: u64::from_le_bytes(*b"lgHARDST"),
    version: 1,
    flags: FLAG_VOTE | FLAG_VOTE_COMMITTED | FLAG_COMMITTED,
    names: RecordFields {
        version: "hard state version",
        flags: "hard state flags",
    },
};

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
        HARD_STATE.put_head(&mut bytes, 0);
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

    /// The value by which a record is of a newer version.
    pub(crate) fn newer(bytes: &[u8]) -> Option<NewerValue> {
        HARD_STATE.newer(bytes.get(..HARD_RECORD_BYTES)?)
    }

    /// Decodes the record in the first 96 bytes and its cluster; `None` if it is not valid or
    /// belongs to another group.
    pub(crate) fn decode(bytes: &[u8], group: GroupId) -> Option<(Self, ClusterId)> {
        let bytes = bytes.get(..HARD_RECORD_BYTES)?;
        if !HARD_STATE.is_valid(bytes) || get_u64(bytes, 32) != group.0 {
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
