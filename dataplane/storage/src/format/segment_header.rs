//! The header of a segment file.

use std::sync::Arc;

use lograft_core::{ClusterId, GroupId, LogId, LogIndex, Offset, Term};

use super::fields::{
    VERSION, get_16, get_u32, get_u64, other_version, put, record_crc, record_is_valid,
};
use crate::segment::Segment;

/// Length of a segment's header, bytes: its first entry begins there.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 96;
const LEN: usize = 96;
const _: () = assert!(LEN as u64 == SEGMENT_HEADER_BYTES);
const MAGIC: u64 = u64::from_le_bytes(*b"lgSEGMNT");
const FLAG_STARTS_LOG: u8 = 1;
const FLAG_PREV: u8 = 2;

/// The header of a segment file.
///
/// ```text
/// at  size
///  0   8   magic "lgSEGMNT"
///  8   1   version, 1
///  9   1   flags: bit 0 the log starts here, bit 1 there is an entry before
/// 10   2   0
/// 12   4   CRC-32C of bytes 0..12 and 16..96
/// 16  16   cluster id
/// 32   8   group id
/// 40   8   segment uid: random, new in each life of the file
/// 48   8   base index: of the first entry
/// 56   8   base offset: of the first record
/// 64   8   term of the entry before
/// 72   8   capacity, bytes: the length the file is made for
/// 80  16   0
/// ```
#[derive(Clone, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) cluster_id: ClusterId,
    pub(crate) group: GroupId,
    pub(crate) segment: Arc<Segment>,
    /// The header's own CRC: the first entry names it as the one before.
    pub(crate) crc32c: u32,
}

impl SegmentHeader {
    /// The bytes of a segment's header, and their CRC.
    pub(crate) fn encode(
        segment: &Segment,
        group: GroupId,
        cluster_id: ClusterId,
    ) -> ([u8; LEN], u32) {
        let mut bytes = [0; LEN];
        put(&mut bytes, 0, &MAGIC.to_le_bytes());
        bytes[8] = VERSION;
        bytes[9] = u8::from(segment.starts_log) * FLAG_STARTS_LOG;
        put(&mut bytes, 16, &cluster_id.to_bytes());
        put(&mut bytes, 32, &group.0.to_le_bytes());
        put(&mut bytes, 40, &segment.uid.to_le_bytes());
        put(&mut bytes, 48, &segment.base.0.to_le_bytes());
        put(&mut bytes, 56, &segment.base_offset.0.to_le_bytes());
        if let Some(prev) = segment.prev {
            bytes[9] |= FLAG_PREV;
            put(&mut bytes, 64, &prev.term.0.to_le_bytes());
        }
        put(&mut bytes, 72, &segment.capacity_bytes.to_le_bytes());
        let crc = record_crc(&bytes);
        put(&mut bytes, 12, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// The version of a header that another release has written.
    pub(crate) fn other_version(bytes: &[u8]) -> Option<u8> {
        other_version(bytes.get(..LEN)?, MAGIC)
    }

    /// The header in the first 96 bytes, if it is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LEN)?;
        if !record_is_valid(bytes, MAGIC) {
            return None;
        }
        let base = LogIndex(get_u64(bytes, 48));
        let prev = (bytes[9] & FLAG_PREV != 0)
            .then(|| {
                Some(LogId {
                    term: Term(get_u64(bytes, 64)),
                    index: base.prev()?,
                })
            })
            .flatten();
        let segment = Segment::new(crate::segment::SegmentFacts {
            base,
            base_offset: Offset(get_u64(bytes, 56)),
            prev,
            uid: get_u64(bytes, 40),
            capacity_bytes: get_u64(bytes, 72),
            starts_log: bytes[9] & FLAG_STARTS_LOG != 0,
        });
        Some(Self {
            cluster_id: ClusterId::from_bytes(get_16(bytes, 16)),
            group: GroupId(get_u64(bytes, 32)),
            segment,
            crc32c: get_u32(bytes, 12),
        })
    }
}
