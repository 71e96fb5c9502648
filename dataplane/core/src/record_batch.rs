//! Record batches: the unit that producers send, raft orders and segments store.
//!
//! The payload of a `Records` entry, little endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | attributes: bits 0-2 [`Compression`](crate::compression::Compression), other bits 0 |
//! | 2..4 | reserved, 0 |
//! | 4..8 | record count |
//! | 8..16 | base timestamp, ms (signed): the timestamp of the first record |
//! | 16..24 | max timestamp, ms (signed) |
//! | 24..28 | length of the decompressed records block |
//! | 28.. | the records block, compressed as a whole |
//!
//! A record: timestamp minus base timestamp (zigzag varint), key length + 1 (varint, 0 = no key),
//! key, value length + 1 (varint, 0 = no value), value, header count (varint), then for each
//! header name length (varint), name (UTF-8), value length (varint), value.
//!
//! The CRC-32C of these bytes is stored beside the batch, on the wire and on disk. The client
//! computes it once, and the batch is not encoded again on its way to the consumer. So a consumer
//! that verifies the CRC detects every corruption in between, in memory, on the network and on
//! disk.

mod builder;
mod error;
mod view;
mod walk;

#[cfg(test)]
mod tests;

pub use builder::{BatchBuilder, EncodedBatch};
pub use error::BatchError;
pub use view::{BatchLimits, BatchView, DecodedBatch, Records, verify_crc};
pub use walk::{HeaderRefs, RecordRefs};

/// The length of the batch header, bytes.
pub(crate) const HEADER_BYTES: usize = 28;

/// The version of the layout.
pub(crate) const VERSION: u8 = 1;
/// The field of the errors about `BATCH_DECODED_MAX_BYTES`.
pub(crate) const DECODED_FIELD: &str = "batch decoded bytes";
/// The field of the errors about the size of a record, unless its topic sets one.
pub(crate) const RECORD_FIELD: &str = "record bytes";

/// The attribute bits of the compression.
pub(crate) const COMPRESSION_MASK: u8 = 0b111;
