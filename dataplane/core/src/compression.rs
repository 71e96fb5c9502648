//! Compression of a record batch's records block.
//!
//! lz4 is the raw block format (the batch header contains the length); zstd is one or more frames.
//! Decompression never writes more bytes than the header declares, so that a small batch cannot
//! take unbounded memory (decompression bomb).

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::str::FromStr;

use crate::limits::ZSTD_LEVEL;

/// The compression of a batch's records block. The number is its code in the batch attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// No compression.
    #[default]
    None = 0,
    /// lz4, block format.
    Lz4 = 1,
    /// zstd.
    Zstd = 2,
}

impl Compression {
    /// The compression with this code, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::Lz4,
            2 => Self::Zstd,
            _ => return None,
        })
    }

    /// The code in the batch attributes.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The name: `none`, `lz4` or `zstd`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is not one of `none`, `lz4` and `zstd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compression must be one of none, lz4, zstd")]
pub struct UnknownCompression;

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            _ => Err(UnknownCompression),
        }
    }
}

/// The failure to decompress a block.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The lz4 block is corrupt or longer than declared.
    #[error("cannot decode the lz4 block")]
    Lz4(#[source] lz4_flex::block::DecompressError),
    /// The zstd frame is corrupt or longer than declared.
    #[error("cannot decode the zstd frame")]
    Zstd(#[source] io::Error),
    /// The decompressed block does not have the declared length.
    #[error("decompressed length must be {declared} bytes, got {found}")]
    Length {
        /// The length in the batch header, bytes.
        declared: usize,
        /// The actual length, bytes.
        found: usize,
    },
}

// A zstd compression context takes megabytes, so each thread reuses one for all batches.
thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        const { RefCell::new(None) };
}

/// Appends the compressed `block` to `out`. Returns false and leaves `out` unchanged if the result
/// would not be smaller than the block, which should then be stored uncompressed.
pub(crate) fn compress_onto(compression: Compression, block: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let written = match compression {
        Compression::None => None,
        Compression::Lz4 => {
            out.resize(
                start + lz4_flex::block::get_maximum_output_size(block.len()),
                0,
            );
            lz4_flex::block::compress_into(block, &mut out[start..]).ok()
        }
        Compression::Zstd => {
            out.resize(start + zstd::zstd_safe::compress_bound(block.len()), 0);
            zstd_compress(block, &mut out[start..]).ok()
        }
    };
    let kept = written.filter(|len| *len < block.len());
    out.truncate(start + kept.unwrap_or(0));
    kept.is_some()
}

fn zstd_compress(block: &[u8], out: &mut [u8]) -> io::Result<usize> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        compressor.compress_to_buffer(block, out)
    })
}

/// Decompresses `block` to exactly `len` bytes. The caller MUST have checked `len` against a limit.
pub(crate) fn decompress(
    compression: Compression,
    block: &[u8],
    len: usize,
) -> Result<Vec<u8>, DecompressError> {
    let mut out = vec![0; len];
    let found = match compression {
        Compression::None => {
            if block.len() == len {
                out.copy_from_slice(block);
            }
            block.len()
        }
        Compression::Lz4 => {
            lz4_flex::block::decompress_into(block, &mut out).map_err(DecompressError::Lz4)?
        }
        Compression::Zstd => {
            zstd_decompress(block, out.as_mut_slice()).map_err(DecompressError::Zstd)?
        }
    };
    if found == len {
        Ok(out)
    } else {
        Err(DecompressError::Length {
            declared: len,
            found,
        })
    }
}

/// Decompresses with a context of its own.
fn zstd_decompress(block: &[u8], out: &mut [u8]) -> io::Result<usize> {
    // Not shared between batches: before libzstd 1.6 a crafted frame can copy literals that an
    // earlier frame left in the decompression context (CVE-2026-124851). A shared context would
    // leak one client's records to another. A fresh context costs one allocation of about 160 KiB.
    zstd::bulk::Decompressor::new()?.decompress_to_buffer(block, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bomb_stops_at_the_declared_length() {
        let zeros = vec![0; 4 << 20];
        for compression in [Compression::Lz4, Compression::Zstd] {
            let mut packed = Vec::new();
            assert!(compress_onto(compression, &zeros, &mut packed));
            assert!(decompress(compression, &packed, 1024).is_err());
            assert!(decompress(compression, &packed, zeros.len() + 1).is_err());
            assert_eq!(
                decompress(compression, &packed, zeros.len()).unwrap(),
                zeros
            );
        }
    }

    #[test]
    fn an_incompressible_block_is_not_compressed() {
        let mut out = vec![7];
        assert!(!compress_onto(Compression::Lz4, &[1, 2, 3], &mut out));
        assert!(!compress_onto(Compression::Zstd, &[1, 2, 3], &mut out));
        assert!(!compress_onto(Compression::None, &[0; 100], &mut out));
        assert_eq!(out, [7]);
    }

    #[test]
    fn names_and_codes_agree() {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            assert_eq!(compression.as_str().parse(), Ok(compression));
            assert_eq!(
                Compression::from_code(compression.code()),
                Some(compression)
            );
        }
        assert_eq!(Compression::from_code(3), None);
        assert_eq!("gzip".parse::<Compression>(), Err(UnknownCompression));
    }

    proptest! {
        #[test]
        fn arbitrary_blocks_never_panic(block in proptest::collection::vec(any::<u8>(), 0..512),
                                        len in 0_usize..4096) {
            for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
                if let Ok(out) = decompress(compression, &block, len) {
                    prop_assert_eq!(out.len(), len);
                }
            }
        }
    }
}
