//! The checkpoint file.

use bytes::Bytes;
use lograft_core::{ClusterId, GroupId, LogId, LogIndex, Offset, Term};

use super::fields::{RecordFields, RecordFormat, get_16, get_u32, get_u64, put, record_crc};
use crate::checkpoint::Checkpoint;

const LEN: usize = 96;
const FLAG_MEMBERSHIP: u8 = 1;
/// The format of a checkpoint file.
pub(crate) const CHECKPOINT: RecordFormat = RecordFormat {
    magic: u64::from_le_bytes(*b"lgCHECKP"),
    version: 1,
    flags: FLAG_MEMBERSHIP,
    names: RecordFields {
        version: "checkpoint version",
        flags: "checkpoint flags",
    },
};

/// A checkpoint file.
///
/// ```text
/// at  size
///  0   8   magic "lgCHECKP"
///  8   1   version, 1
///  9   1   flags: bit 0 has a membership id
/// 10   2   0
/// 12   4   CRC-32C of bytes 0..12 and of 16.. to the end
/// 16  16   cluster id
/// 32   8   group id
/// 40   8   last entry: term
/// 48   8   last entry: index
/// 56   8   next offset
/// 64   8   membership entry: term
/// 72   8   membership entry: index
/// 80   4   length m of the membership, bytes
/// 84   4   length s of the state, bytes
/// 88   8   0
/// 96   m   membership, encoded by the raft layer
///      s   state, encoded by the state machine
/// ```
pub(crate) fn encode_checkpoint(
    checkpoint: &Checkpoint,
    group: GroupId,
    cluster: ClusterId,
) -> Vec<u8> {
    let Checkpoint {
        last,
        next_offset,
        membership,
        membership_id,
        state,
    } = checkpoint;
    let mut bytes = vec![0; LEN];
    CHECKPOINT.put_head(&mut bytes, 0);
    put(&mut bytes, 16, &cluster.to_bytes());
    put(&mut bytes, 32, &group.0.to_le_bytes());
    put(&mut bytes, 40, &last.term.0.to_le_bytes());
    put(&mut bytes, 48, &last.index.0.to_le_bytes());
    put(&mut bytes, 56, &next_offset.0.to_le_bytes());
    if let Some(id) = membership_id {
        bytes[9] = FLAG_MEMBERSHIP;
        put(&mut bytes, 64, &id.term.0.to_le_bytes());
        put(&mut bytes, 72, &id.index.0.to_le_bytes());
    }
    // Both are megabytes at most. A length that does not fit in 32 bits fails the check at decode.
    let length = |bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    put(&mut bytes, 80, &length(membership));
    put(&mut bytes, 84, &length(state));
    bytes.extend_from_slice(membership);
    bytes.extend_from_slice(state);
    let crc = record_crc(&bytes);
    put(&mut bytes, 12, &crc.to_le_bytes());
    bytes
}

/// Decodes a checkpoint; `None` if it is not valid or belongs to another group or cluster.
pub(crate) fn decode_checkpoint(
    bytes: &Bytes,
    group: GroupId,
    cluster: ClusterId,
) -> Option<Checkpoint> {
    if bytes.len() < LEN
        || !CHECKPOINT.is_valid(bytes)
        || get_u64(bytes, 32) != group.0
        || get_16(bytes, 16) != cluster.to_bytes()
    {
        return None;
    }
    let membership_end = LEN + get_u32(bytes, 80) as usize;
    if membership_end + get_u32(bytes, 84) as usize != bytes.len() {
        return None;
    }
    let id = |at| LogId {
        term: Term(get_u64(bytes, at)),
        index: LogIndex(get_u64(bytes, at + 8)),
    };
    Some(Checkpoint {
        last: id(40),
        next_offset: Offset(get_u64(bytes, 56)),
        membership: bytes.slice(LEN..membership_end),
        membership_id: (bytes[9] & FLAG_MEMBERSHIP != 0).then(|| id(64)),
        state: bytes.slice(membership_end..),
    })
}
