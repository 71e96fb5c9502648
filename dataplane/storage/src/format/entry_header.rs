//! The header in front of the payload of each entry.

use lograft_core::limits::ENTRY_MAX_BYTES;
use lograft_core::{
    Entry, EntryKind, GroupId, LogId, LogIndex, Offset, ProducerEpoch, ProducerId, ProducerStamp,
    Proposal, Sequence, Term,
};

use super::fields::{NewerValue, get_flags, get_i64, get_u32, get_u64, put};

/// Length of an entry header, bytes.
pub(crate) const ENTRY_HEADER_BYTES: usize = 96;
/// The first four bytes of an entry, "lgE1".
pub(crate) const ENTRY_MAGIC: u32 = u32::from_le_bytes(*b"lgE1");
/// Alignment of entries in a segment, bytes.
const ALIGN_BYTES: u64 = 8;
const FLAG_PRODUCER: u8 = 1;

/// Length of an entry in its segment, padding included, bytes.
pub(crate) const fn entry_size_bytes(payload_bytes: usize) -> u64 {
    (ENTRY_HEADER_BYTES as u64 + payload_bytes as u64).next_multiple_of(ALIGN_BYTES)
}

/// The initial value of the CRC of an entry header.
// A recycled file still holds entries of its previous use, perhaps of another group. Because the
// CRC of a header is seeded with the group id and the random segment uid, such a stale entry never
// validates. Without the seed, recovery would take stale entries behind the end of the log for
// evidence of corruption, and a reader that still holds the file of a purged segment could return
// records of the group that is overwriting it.
pub(crate) fn entry_seed(group: GroupId, segment_uid: u64) -> u32 {
    let crc = crc32c::crc32c(&group.0.to_le_bytes());
    crc32c::crc32c_append(crc, &segment_uid.to_le_bytes())
}

/// The header of an entry.
///
/// ```text
/// at  size
///  0   4   magic "lgE1"
///  4   4   CRC-32C of bytes 8..96, seeded with group id and segment uid
///  8   4   payload length, bytes; zeros pad the payload to a multiple of 8
/// 12   4   CRC-32C of the payload, computed by the client
/// 16   1   kind
/// 17   1   flags: bit 0 has a producer stamp
/// 18   2   0
/// 20   4   record count
/// 24   8   term
/// 32   8   log index
/// 40   8   durable end: all entries below this index were on disk when this one was written
/// 48   8   base offset
/// 56   8   append time, ms
/// 64   8   highest record time, ms
/// 72   8   producer id
/// 80   8   producer base sequence
/// 88   4   producer epoch
/// 92   4   CRC of the previous entry header (for the first entry, of the segment header)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc32c: u32,
    pub(crate) kind: EntryKind,
    pub(crate) record_count: u32,
    pub(crate) id: LogId,
    pub(crate) durable_end: LogIndex,
    pub(crate) base_offset: Offset,
    pub(crate) append_time_ms: i64,
    pub(crate) max_time_ms: i64,
    pub(crate) producer: Option<ProducerStamp>,
    pub(crate) prev_crc32c: u32,
    /// The CRC of the header itself, bytes 4..8.
    pub(crate) crc32c: u32,
}

const _: () = assert!(ENTRY_HEADER_BYTES.is_multiple_of(8));
const _: () = assert!(ENTRY_MAX_BYTES < u32::MAX as usize);

impl EntryHeader {
    /// Encodes the header of `entry`; returns its bytes and its CRC.
    pub(crate) fn encode(
        entry: &Entry,
        durable_end: LogIndex,
        prev_crc32c: u32,
        seed: u32,
    ) -> ([u8; ENTRY_HEADER_BYTES], u32) {
        let Proposal {
            kind,
            record_count,
            append_time_ms,
            max_time_ms,
            producer,
            payload_crc32c,
            payload,
        } = &entry.proposal;
        let mut bytes = [0; ENTRY_HEADER_BYTES];
        // `GroupLog::append` has checked the length against `ENTRY_MAX_BYTES`.
        let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        put(&mut bytes, 0, &ENTRY_MAGIC.to_le_bytes());
        put(&mut bytes, 8, &payload_bytes.to_le_bytes());
        put(&mut bytes, 12, &payload_crc32c.to_le_bytes());
        bytes[16] = *kind as u8;
        put(&mut bytes, 20, &record_count.to_le_bytes());
        put(&mut bytes, 24, &entry.id.term.0.to_le_bytes());
        put(&mut bytes, 32, &entry.id.index.0.to_le_bytes());
        put(&mut bytes, 40, &durable_end.0.to_le_bytes());
        put(&mut bytes, 48, &entry.base_offset.0.to_le_bytes());
        put(&mut bytes, 56, &append_time_ms.to_le_bytes());
        put(&mut bytes, 64, &max_time_ms.to_le_bytes());
        if let Some(producer) = producer {
            bytes[17] = FLAG_PRODUCER;
            put(&mut bytes, 72, &producer.id.0.to_le_bytes());
            put(&mut bytes, 80, &producer.base_sequence.0.to_le_bytes());
            put(&mut bytes, 88, &producer.epoch.0.to_le_bytes());
        }
        put(&mut bytes, 92, &prev_crc32c.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[8..]);
        put(&mut bytes, 4, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// Decodes the header in the first 96 bytes; `None` if it is not valid, if it belongs to
    /// another segment (`seed` differs), or if a newer version wrote it ([`Self::newer`]).
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let bytes = written(bytes, seed)?;
        if unknown_value(bytes).is_some() {
            return None;
        }
        let crc32c = get_u32(bytes, 4);
        let payload_bytes = get_u32(bytes, 8);
        let producer = (bytes[17] & FLAG_PRODUCER != 0).then(|| ProducerStamp {
            id: ProducerId(get_u64(bytes, 72)),
            base_sequence: Sequence(get_u64(bytes, 80)),
            epoch: ProducerEpoch(get_u32(bytes, 88)),
        });
        Some(Self {
            payload_bytes,
            payload_crc32c: get_u32(bytes, 12),
            kind: EntryKind::from_code(bytes[16])?,
            record_count: get_u32(bytes, 20),
            id: LogId {
                term: Term(get_u64(bytes, 24)),
                index: LogIndex(get_u64(bytes, 32)),
            },
            durable_end: LogIndex(get_u64(bytes, 40)),
            base_offset: Offset(get_u64(bytes, 48)),
            append_time_ms: get_i64(bytes, 56),
            max_time_ms: get_i64(bytes, 64),
            producer,
            prev_crc32c: get_u32(bytes, 92),
            crc32c,
        })
    }

    /// The value by which the header in the first 96 bytes is of a newer version: its CRC is valid,
    /// so it is no torn write and no damage.
    pub(crate) fn newer(bytes: &[u8], seed: u32) -> Option<NewerValue> {
        unknown_value(written(bytes, seed)?)
    }

    /// Length of the entry in its segment, padding included, bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        entry_size_bytes(self.payload_bytes as usize)
    }

    /// The offset after the last record of the entry.
    pub(crate) fn next_offset(&self) -> Offset {
        self.base_offset.plus(self.record_count)
    }

    /// Builds the entry with this payload.
    pub(crate) fn into_entry(self, payload: bytes::Bytes) -> Entry {
        Entry {
            id: self.id,
            base_offset: self.base_offset,
            proposal: Proposal {
                kind: self.kind,
                record_count: self.record_count,
                append_time_ms: self.append_time_ms,
                max_time_ms: self.max_time_ms,
                producer: self.producer,
                payload_crc32c: self.payload_crc32c,
                payload,
            },
        }
    }
}

/// The bytes of a header that was written to the segment of this seed: magic and CRC are valid.
fn written(bytes: &[u8], seed: u32) -> Option<&[u8]> {
    let bytes = bytes.get(..ENTRY_HEADER_BYTES)?;
    let is_written = get_u32(bytes, 0) == ENTRY_MAGIC
        && crc32c::crc32c_append(seed, &bytes[8..]) == get_u32(bytes, 4);
    is_written.then_some(bytes)
}

/// The kind, the flags or the length in a header, if this version does not know them.
fn unknown_value(bytes: &[u8]) -> Option<NewerValue> {
    let (payload_bytes, kind, flags) = (get_u32(bytes, 8), bytes[16], get_flags(bytes, 17));
    let value = |field, found: u32, known: u64| {
        Some(NewerValue {
            field,
            found: found.into(),
            known,
        })
    };
    if EntryKind::from_code(kind).is_none() {
        return value("entry kind", kind.into(), EntryKind::Trim as u64);
    }
    if flags & !u32::from(FLAG_PRODUCER) != 0 {
        return value("entry flags", flags, FLAG_PRODUCER.into());
    }
    if payload_bytes as usize > ENTRY_MAX_BYTES {
        return value("entry payload bytes", payload_bytes, ENTRY_MAX_BYTES as u64);
    }
    None
}
