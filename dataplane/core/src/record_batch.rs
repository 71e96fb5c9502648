//! Record batches: the unit that producers send, raft orders and segments hold.
//!
//! The payload of a `Records` entry, little endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | attributes: bits 0-2 [`Compression`](crate::compression::Compression), the others 0 |
//! | 2..4 | reserved, 0 |
//! | 4..8 | record count |
//! | 8..16 | base timestamp, ms (signed): that of the first record |
//! | 16..24 | max timestamp, ms (signed) |
//! | 24..28 | length of the records block once decompressed |
//! | 28.. | the records block, compressed as a whole |
//!
//! A record: timestamp minus base timestamp (zigzag varint), key length + 1 (varint, 0 = no key),
//! key, value length + 1 (varint, 0 = no value), value, header count (varint), then for each
//! header name length (varint), name (UTF-8), value length (varint), value.
//!
//! The CRC-32C of all these bytes stands beside the batch, on the wire as on disk: the client
//! computes it once and nothing is encoded again until the consumer decodes it.

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

/// The batch header's length, bytes.
pub const HEADER_BYTES: usize = 28;

/// The version of the layout above.
pub(crate) const VERSION: u8 = 1;
/// The attribute bits that name the compression.
pub(crate) const COMPRESSION_MASK: u8 = 0b111;
