//! The index of a sealed segment.

use lograft_core::{GroupId, LogId, LogIndex, Offset, Term};

use super::fields::{VERSION, get_i64, get_u32, get_u64, put, record_crc, record_is_valid};
use crate::segment::{Filled, Point};

const LEN: usize = 96;
const RUN_BYTES: usize = 16;
const POINT_BYTES: usize = 32;
const MAGIC: u64 = u64::from_le_bytes(*b"lgINDEX1");

/// The index file of a sealed segment, rebuilt from the segment when it is missing or damaged.
///
/// ```text
/// at  size
///  0   8   magic "lgINDEX1"
///  8   1   version, 1
///  9   3   0
/// 12   4   CRC-32C of bytes 0..12 and of all from 16 on
/// 16   8   group id
/// 24   8   segment uid
/// 32   8   base index
/// 40   8   last index
/// 48   8   next offset: after the last record
/// 56   8   end position: after the last entry, bytes
/// 64   8   greatest record time, ms; the least i64 if there are no records
/// 72   4   number r of term runs
/// 76   4   number p of points
/// 80  16   0
/// 96       r term runs: index of the first entry 8, term 8
///          p points: index 8, base offset 8, position 8, greatest record time before it 8
/// ```
pub(crate) struct IndexFile;

/// An index file without its points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexHead {
    pub(crate) group: GroupId,
    pub(crate) uid: u64,
    pub(crate) base: LogIndex,
    pub(crate) last: LogId,
    pub(crate) next_offset: Offset,
    pub(crate) end_position: u64,
    pub(crate) max_time_ms: i64,
    pub(crate) terms: Vec<LogId>,
}

impl IndexFile {
    /// The bytes for a sealed segment; `terms` are its term runs, at least one.
    pub(crate) fn encode(filled: &Filled, terms: &[LogId], group: GroupId) -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        let last = filled.last.map_or(LogIndex::ZERO, |last| last.index);
        put(&mut bytes, 0, &MAGIC.to_le_bytes());
        bytes[8] = VERSION;
        put(&mut bytes, 16, &group.0.to_le_bytes());
        put(&mut bytes, 24, &filled.segment.uid.to_le_bytes());
        put(&mut bytes, 32, &filled.segment.base.0.to_le_bytes());
        put(&mut bytes, 40, &last.0.to_le_bytes());
        put(&mut bytes, 48, &filled.next_offset.0.to_le_bytes());
        put(&mut bytes, 56, &filled.end_position.to_le_bytes());
        put(&mut bytes, 64, &filled.max_time_ms.to_le_bytes());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        put(&mut bytes, 72, &count(terms.len()));
        put(&mut bytes, 76, &count(filled.points.len()));
        for run in terms {
            bytes.extend_from_slice(&run.index.0.to_le_bytes());
            bytes.extend_from_slice(&run.term.0.to_le_bytes());
        }
        for point in &filled.points {
            bytes.extend_from_slice(&point.index.0.to_le_bytes());
            bytes.extend_from_slice(&point.base_offset.0.to_le_bytes());
            bytes.extend_from_slice(&point.position.to_le_bytes());
            bytes.extend_from_slice(&point.max_time_before_ms.to_le_bytes());
        }
        let crc = record_crc(&bytes);
        put(&mut bytes, 12, &crc.to_le_bytes());
        bytes
    }

    /// The head, if the whole file is valid.
    pub(crate) fn decode(bytes: &[u8]) -> Option<IndexHead> {
        if bytes.len() < LEN || !record_is_valid(bytes, MAGIC) {
            return None;
        }
        let runs_end = LEN + get_u32(bytes, 72) as usize * RUN_BYTES;
        if runs_end + get_u32(bytes, 76) as usize * POINT_BYTES != bytes.len() {
            return None;
        }
        let terms: Vec<LogId> = bytes[LEN..runs_end]
            .chunks_exact(RUN_BYTES)
            .map(|run| LogId {
                index: LogIndex(get_u64(run, 0)),
                term: Term(get_u64(run, 8)),
            })
            .collect();
        Some(IndexHead {
            group: GroupId(get_u64(bytes, 16)),
            uid: get_u64(bytes, 24),
            base: LogIndex(get_u64(bytes, 32)),
            last: LogId {
                term: terms.last()?.term,
                index: LogIndex(get_u64(bytes, 40)),
            },
            next_offset: Offset(get_u64(bytes, 48)),
            end_position: get_u64(bytes, 56),
            max_time_ms: get_i64(bytes, 64),
            terms,
        })
    }

    /// How many points a valid file has.
    pub(crate) fn points_count(bytes: &[u8]) -> usize {
        get_u32(bytes, 76) as usize
    }

    /// The point with this number, of a valid file.
    pub(crate) fn point(bytes: &[u8], nth: usize) -> Point {
        let at = LEN + get_u32(bytes, 72) as usize * RUN_BYTES + nth * POINT_BYTES;
        Point {
            index: LogIndex(get_u64(bytes, at)),
            base_offset: Offset(get_u64(bytes, at + 8)),
            position: get_u64(bytes, at + 16),
            max_time_before_ms: get_i64(bytes, at + 24),
        }
    }
}
