//! The pieces of a salvaged log.

use std::ops::Range;
use std::path::PathBuf;

use lograft_core::{Entry, LogIndex, Offset};

use crate::error::StorageError;
use crate::format::SegmentHeader;
use crate::hard_file::FileOwner;

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Salvaged {
    /// An intact entry.
    Entry(Entry),
    /// Entries that cannot be read.
    Gap(LogGap),
}

/// A part of a log that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGap {
    /// The damaged file, or the one that is missing.
    pub path: PathBuf,
    /// The damaged bytes of the file; empty if it is missing.
    pub bytes: Range<u64>,
    /// The first missing entry.
    pub first_index: LogIndex,
    /// The entry after the last missing one; `None` if nothing says how many are missing.
    pub end_index: Option<LogIndex>,
    /// The first offset that may be missing, if known.
    pub first_offset: Option<Offset>,
    /// The offset after the last missing one, if known.
    pub end_offset: Option<Offset>,
    /// The failed check.
    pub why: &'static str,
}

impl LogGap {
    /// Whether records may be missing. A damaged header, or an entry without records, costs none.
    pub fn may_have_records(&self) -> bool {
        let has_entries = self.end_index != Some(self.first_index);
        let has_offsets = self.first_offset.is_none() || self.first_offset != self.end_offset;
        has_entries && has_offsets
    }
}

/// The outcome of a read; `None` if the disk has lost the bytes.
pub(super) fn readable<T>(
    read: Result<Option<T>, StorageError>,
) -> Result<Option<T>, StorageError> {
    match read {
        Err(error) if error.damage().is_some() => Ok(None),
        outcome => outcome,
    }
}

/// The header of a segment, if it is one of this owner and base.
pub(super) fn header_of(bytes: &[u8], owner: FileOwner, base: LogIndex) -> Option<SegmentHeader> {
    SegmentHeader::decode(bytes).filter(|header| {
        header.group == owner.group
            && header.cluster_id == owner.cluster
            && header.facts.base == base
    })
}
