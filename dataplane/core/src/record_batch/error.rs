//! Errors of encoding and decoding record batches.

use super::VERSION;
use crate::compression::DecompressError;
use crate::reason::Reason;

/// The failure to encode, decode or validate a batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The bytes end too early.
    #[error("batch is truncated in its {field}")]
    Truncated {
        /// The field that is incomplete.
        field: &'static str,
    },
    /// A varint is truncated or has more than 64 bits.
    #[error("{field} of the batch must be a varint of at most 64 bits")]
    Varint {
        /// The field.
        field: &'static str,
    },
    /// The version is not supported.
    #[error("batch version must be {VERSION}, got {found}")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// An unknown compression, attribute bit or reserved bit is set.
    #[error("batch attributes {attributes:#x} (reserved {reserved:#x}) are not supported")]
    Attributes {
        /// The attributes byte.
        attributes: u8,
        /// The reserved field.
        reserved: u16,
    },
    /// The batch has no records.
    #[error("batch must have at least one record")]
    Empty,
    /// A size or count is above its limit.
    #[error("{field} must be at most {bound}, got {found}")]
    TooLarge {
        /// The size or count.
        field: &'static str,
        /// The actual value.
        found: usize,
        /// The limit (inclusive).
        bound: usize,
    },
    /// The records block cannot be decompressed.
    #[error("cannot decompress the records of the batch")]
    Decompress(#[source] DecompressError),
    /// Bytes follow the last record.
    #[error("{left} bytes follow the last record of the batch")]
    TrailingBytes {
        /// The number of bytes.
        left: usize,
    },
    /// The max timestamp in the batch header is not the greatest of the records.
    #[error("max timestamp of the batch must be that of its records ({found}), got {declared}")]
    MaxTimestamp {
        /// The timestamp in the batch header, ms.
        declared: i64,
        /// The greatest timestamp of the records, ms.
        found: i64,
    },
    /// The name of a record header is not UTF-8.
    #[error("name of a record header must be UTF-8")]
    HeaderKey,
    /// The checksum that was sent with the batch is not that of its bytes.
    #[error("CRC-32C of the batch must be {declared:08x}, got {found:08x}")]
    Crc {
        /// The checksum that was sent.
        declared: u32,
        /// The computed checksum.
        found: u32,
    },
}

impl BatchError {
    /// The reason that the client gets.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::BatchTooLarge,
            Self::Crc { .. } => Reason::BatchCorrupt,
            _ => Reason::BatchMalformed,
        }
    }

    /// The field and its bound, if a limit was exceeded.
    pub const fn bound(&self) -> Option<(&'static str, usize)> {
        match self {
            Self::TooLarge { field, bound, .. } => Some((field, *bound)),
            _ => None,
        }
    }

    pub(crate) const fn check(field: &'static str, found: usize, bound: usize) -> Result<(), Self> {
        if found > bound {
            Err(Self::TooLarge {
                field,
                found,
                bound,
            })
        } else {
            Ok(())
        }
    }
}
