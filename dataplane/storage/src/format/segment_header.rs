//! The header of a segment file.

use lograft_core::{ClusterId, GroupId, LogId, LogIndex, Offset, Term};

use super::fields::{RecordFields, RecordFormat, get_16, get_u32, get_u64, put, record_crc};

/// Length of a segment header, bytes: the position of the first entry.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 96;
const LEN: usize = 96;
const _: () = assert!(LEN as u64 == SEGMENT_HEADER_BYTES);
const FLAG_STARTS_LOG: u8 = 1;
const FLAG_PREV: u8 = 2;
/// The format of a segment: of its header, and of the entries behind it. Version 1 has entries of
/// kinds 1 to 5, with flag bit 0, and payloads of at most `ENTRY_MAX_BYTES`. A program that writes
/// anything else starts a segment of the next version for it.
pub(crate) const SEGMENT: RecordFormat = RecordFormat {
    magic: u64::from_le_bytes(*b"lgSEGMNT"),
    version: 1,
    flags: FLAG_STARTS_LOG | FLAG_PREV,
    names: RecordFields {
        version: "segment version",
        flags: "segment flags",
    },
};

/// The immutable properties of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    /// The log index of its first entry.
    pub(crate) base: LogIndex,
    /// The offset of its first record.
    pub(crate) base_offset: Offset,
    /// The id of the entry before its first one.
    pub(crate) prev: Option<LogId>,
    /// A random number, new for each use of the file: it distinguishes the entries of this
    /// segment from stale ones that a recycled file still holds.
    pub(crate) uid: u64,
    /// The length that the file is created for, bytes.
    pub(crate) capacity_bytes: u64,
    /// Whether the log starts with this segment; older segments in the directory are obsolete.
    pub(crate) starts_log: bool,
}

/// The header of a segment file.
///
/// ```text
/// at  size
///  0   8   magic "lgSEGMNT"
///  8   1   version, 1
///  9   1   flags: bit 0 the log starts here, bit 1 has a previous entry
/// 10   2   0
/// 12   4   CRC-32C of bytes 0..12 and 16..96
/// 16  16   cluster id
/// 32   8   group id
/// 40   8   segment uid: random, new for each use of the file
/// 48   8   base index: of the first entry
/// 56   8   base offset: of the first record
/// 64   8   term of the previous entry (its index is base index - 1)
/// 72   8   capacity, bytes: the length that the file is created for
/// 80  16   0
/// ```
#[derive(Clone, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) cluster_id: ClusterId,
    pub(crate) group: GroupId,
    pub(crate) facts: SegmentFacts,
    /// The CRC of the header itself: the first entry chains to it.
    pub(crate) crc32c: u32,
}

impl SegmentHeader {
    /// Encodes a header; returns its bytes and its CRC.
    pub(crate) fn encode(
        facts: &SegmentFacts,
        group: GroupId,
        cluster_id: ClusterId,
    ) -> ([u8; LEN], u32) {
        let mut bytes = [0; LEN];
        SEGMENT.put_head(&mut bytes, u8::from(facts.starts_log) * FLAG_STARTS_LOG);
        put(&mut bytes, 16, &cluster_id.to_bytes());
        put(&mut bytes, 32, &group.0.to_le_bytes());
        put(&mut bytes, 40, &facts.uid.to_le_bytes());
        put(&mut bytes, 48, &facts.base.0.to_le_bytes());
        put(&mut bytes, 56, &facts.base_offset.0.to_le_bytes());
        if let Some(prev) = facts.prev {
            bytes[9] |= FLAG_PREV;
            put(&mut bytes, 64, &prev.term.0.to_le_bytes());
        }
        put(&mut bytes, 72, &facts.capacity_bytes.to_le_bytes());
        let crc = record_crc(&bytes);
        put(&mut bytes, 12, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// Group and uid of a header, whether its checksum is right or not; `None` if it is cut off
    /// before them.
    pub(crate) fn raw_ids(bytes: &[u8]) -> Option<(u64, u64)> {
        let bytes = bytes.get(..48)?;
        Some((get_u64(bytes, 32), get_u64(bytes, 40)))
    }

    /// Decodes the header in the first 96 bytes; `None` if it is not valid.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LEN)?;
        if !SEGMENT.is_valid(bytes) {
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
        let facts = SegmentFacts {
            base,
            base_offset: Offset(get_u64(bytes, 56)),
            prev,
            uid: get_u64(bytes, 40),
            capacity_bytes: get_u64(bytes, 72),
            starts_log: bytes[9] & FLAG_STARTS_LOG != 0,
        };
        Some(Self {
            cluster_id: ClusterId::from_bytes(get_16(bytes, 16)),
            group: GroupId(get_u64(bytes, 32)),
            facts,
            crc32c: get_u32(bytes, 12),
        })
    }
}
