//! The index file of a sealed segment.

use lograft_core::{GroupId, LogId, LogIndex, Offset, Term};

use super::fields::{RecordFields, RecordFormat, get_i64, get_u32, get_u64, put, record_crc};

const LEN: usize = 96;
const RUN_BYTES: usize = 16;
const POINT_BYTES: usize = 32;
/// The format of an index file.
pub(crate) const INDEX: RecordFormat = RecordFormat {
    magic: u64::from_le_bytes(*b"lgINDEX1"),
    version: 1,
    flags: 0,
    names: RecordFields {
        version: "index version",
        flags: "index flags",
    },
};

/// The index file of a sealed segment, rebuilt from the segment when it is missing or damaged.
///
/// ```text
/// at  size
///  0   8   magic "lgINDEX1"
///  8   1   version, 1
///  9   3   0
/// 12   4   CRC-32C of bytes 0..12 and of 16.. to the end
/// 16   8   group id
/// 24   8   segment uid
/// 32   8   base index
/// 40   8   last index
/// 48   8   next offset: the one after the last record
/// 56   8   end position: the byte after the last entry
/// 64   8   highest record time, ms; the lowest i64 if there are no records
/// 72   4   number r of term runs
/// 76   4   number p of points
/// 80  16   0
/// 96       r term runs: index of the first entry 8, term 8
///          p points: index 8, base offset 8, position 8, highest record time before it 8
/// ```
pub(crate) struct IndexFile;

/// A position in a segment from which a read can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexPoint {
    /// The log index of the entry at the position.
    pub(crate) index: LogIndex,
    /// The base offset of that entry.
    pub(crate) base_offset: Offset,
    /// The position, bytes from the start of the file.
    pub(crate) position: u64,
    /// The highest record time of the segment before the position, milliseconds; `i64::MIN` if
    /// there are no records before it.
    pub(crate) max_time_before_ms: i64,
}

/// The contents of an index file without its points.
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
    /// Encodes an index file. `head.terms` must have at least one run, and the last run must be of
    /// the term of `head.last`: the file holds only the index of the last entry.
    pub(crate) fn encode(head: &IndexHead, points: &[IndexPoint]) -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        INDEX.put_head(&mut bytes, 0);
        put(&mut bytes, 16, &head.group.0.to_le_bytes());
        put(&mut bytes, 24, &head.uid.to_le_bytes());
        put(&mut bytes, 32, &head.base.0.to_le_bytes());
        put(&mut bytes, 40, &head.last.index.0.to_le_bytes());
        put(&mut bytes, 48, &head.next_offset.0.to_le_bytes());
        put(&mut bytes, 56, &head.end_position.to_le_bytes());
        put(&mut bytes, 64, &head.max_time_ms.to_le_bytes());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        put(&mut bytes, 72, &count(head.terms.len()));
        put(&mut bytes, 76, &count(points.len()));
        for run in &head.terms {
            bytes.extend_from_slice(&run.index.0.to_le_bytes());
            bytes.extend_from_slice(&run.term.0.to_le_bytes());
        }
        for point in points {
            bytes.extend_from_slice(&point.index.0.to_le_bytes());
            bytes.extend_from_slice(&point.base_offset.0.to_le_bytes());
            bytes.extend_from_slice(&point.position.to_le_bytes());
            bytes.extend_from_slice(&point.max_time_before_ms.to_le_bytes());
        }
        let crc = record_crc(&bytes);
        put(&mut bytes, 12, &crc.to_le_bytes());
        bytes
    }

    /// Decodes everything but the points; `None` if any byte of the file is not valid.
    pub(crate) fn decode(bytes: &[u8]) -> Option<IndexHead> {
        if bytes.len() < LEN || !INDEX.is_valid(bytes) {
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

    /// The number of points of a valid file.
    pub(crate) fn points_count(bytes: &[u8]) -> usize {
        get_u32(bytes, 76) as usize
    }

    /// The point number `nth`, from 0, of a valid file.
    pub(crate) fn point(bytes: &[u8], nth: usize) -> IndexPoint {
        let at = LEN + get_u32(bytes, 72) as usize * RUN_BYTES + nth * POINT_BYTES;
        IndexPoint {
            index: LogIndex(get_u64(bytes, at)),
            base_offset: Offset(get_u64(bytes, at + 8)),
            position: get_u64(bytes, at + 16),
            max_time_before_ms: get_i64(bytes, at + 24),
        }
    }
}
