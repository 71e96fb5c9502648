//! What can be wrong with a batch.

use crate::compression::DecompressError;
use crate::reason::Reason;

/// Why a batch was not built, or not taken.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The bytes end too early.
    #[error("the batch ends within its {field}")]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// A varint is cut short or above 64 bits.
    #[error("{field} is no varint")]
    Varint {
        /// What was being read.
        field: &'static str,
    },
    /// The layout's version is not known.
    #[error("batch version {found} is not 1")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// Attribute or reserved bits without a meaning are set.
    #[error("batch attributes {attributes:#x}, reserved {reserved:#x} are not known")]
    Attributes {
        /// The attributes byte.
        attributes: u8,
        /// The reserved field.
        reserved: u16,
    },
    /// There is no record.
    #[error("the batch holds no record")]
    Empty,
    /// A size or a count is above its limit.
    #[error("{field} is {found}, the bound is {bound}")]
    TooLarge {
        /// What is too large.
        field: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        bound: usize,
    },
    /// The records block does not decompress.
    #[error("the records block does not decompress")]
    Decompress(#[source] DecompressError),
    /// The records do not fill the block as declared.
    #[error("{left} bytes stand behind the batch's last record")]
    TrailingBytes {
        /// How many.
        left: usize,
    },
    /// The header's greatest timestamp is not that of the records.
    #[error("the batch's max timestamp is {declared}, that of its records {found}")]
    MaxTimestamp {
        /// What the header says, ms.
        declared: i64,
        /// What the records say, ms.
        found: i64,
    },
    /// A header's name is no text.
    #[error("a header's name is not UTF-8")]
    HeaderKey,
    /// The checksum beside the batch is not that of its bytes.
    #[error("the batch's CRC-32C is {found:08x}, {declared:08x} was sent with it")]
    Crc {
        /// The one sent.
        declared: u32,
        /// The one computed.
        found: u32,
    },
}

impl BatchError {
    /// What a client is told.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::BatchTooLarge,
            Self::Crc { .. } => Reason::BatchCorrupt,
            _ => Reason::BatchMalformed,
        }
    }

    /// The field and its bound, where a limit was exceeded.
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
