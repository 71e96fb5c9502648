//! Reads a segment through, entry by entry, to find where its valid part ends.

use std::path::Path;
use std::sync::Arc;

use lograft_core::{GroupId, LogId, LogIndex};

use crate::error::{Action, StorageError};
use crate::format::{
    ENTRY_HEADER_BYTES, ENTRY_MAGIC, EntryHeader, SEGMENT_HEADER_BYTES, entry_seed,
};
use crate::fs::FsFile;
use crate::segment::{Filled, Segment};
use crate::walker::Walker;

/// Read at a time, bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The valid part of a segment.
pub(crate) struct Scan {
    pub(crate) filled: Filled,
    pub(crate) terms: Vec<LogId>,
    /// The CRC of the last valid header.
    pub(crate) prev_crc32c: u32,
    /// The entry after the valid part has a good header: its payload is damaged or cut.
    pub(crate) bad_payload: bool,
}

/// What stands behind the valid part.
#[derive(Clone, Copy, Default)]
pub(crate) struct Behind {
    /// There are entries of this segment.
    pub(crate) any: bool,
    /// One of them was written when all entries below this index were on disk.
    pub(crate) durable_end: LogIndex,
}

/// Reads `segment` from its start: each entry must follow the one before in index, term, offset
/// and chained CRC, and its payload must be whole. Stops at the first that does not, or after
/// `last`.
pub(crate) fn scan_segment(
    (file, path): (&dyn FsFile, &Path),
    group: GroupId,
    (segment, header_crc32c): (&Arc<Segment>, u32),
    last: Option<LogIndex>,
) -> Result<Scan, StorageError> {
    let fail = |source| StorageError::io(Action::Read, path, source);
    let len = file.len().map_err(fail)?;
    let seed = entry_seed(group, segment.uid);
    let mut walker = Walker::new(file, seed, SEGMENT_HEADER_BYTES..len, CHUNK_BYTES);
    let mut scan = Scan {
        filled: Filled::empty(Arc::clone(segment)),
        terms: Vec::new(),
        prev_crc32c: header_crc32c,
        bad_payload: false,
    };
    let mut next = segment.base;
    while last.is_none_or(|last| next <= last) {
        let Some(header) = walker.header().map_err(fail)? else {
            break;
        };
        let follows = header.id.index == next
            && header.prev_crc32c == scan.prev_crc32c
            && header.base_offset == scan.filled.next_offset
            && scan
                .filled
                .last
                .is_none_or(|before| before.term <= header.id.term);
        if !follows {
            break;
        }
        if walker.payload(&header).map_err(fail)?.is_none() {
            scan.bad_payload = true;
            break;
        }
        if scan
            .terms
            .last()
            .is_none_or(|run| run.term != header.id.term)
        {
            scan.terms.push(header.id);
        }
        scan.filled.place((&header).into(), header.size_bytes());
        scan.prev_crc32c = header.crc32c;
        walker.skip(&header);
        next = next.next();
    }
    Ok(scan)
}

/// Looks through the rest of a segment's file, from `position` on, for entries of this segment.
pub(crate) fn search_behind(
    (file, path): (&dyn FsFile, &Path),
    seed: u32,
    position: u64,
) -> Result<Behind, StorageError> {
    const STEP: usize = 8;
    let mut behind = Behind::default();
    let mut at = position;
    loop {
        // Chunks overlap by a header, so that none is cut in two.
        let chunk = file
            .read_at(at, CHUNK_BYTES + ENTRY_HEADER_BYTES)
            .map_err(|source| StorageError::io(Action::Read, path, source))?;
        let starts = chunk
            .len()
            .saturating_sub(ENTRY_HEADER_BYTES - 1)
            .min(CHUNK_BYTES);
        for start in (0..starts).step_by(STEP) {
            let rest = &chunk[start..];
            if rest.first_chunk() == Some(&ENTRY_MAGIC.to_le_bytes())
                && let Some(header) = EntryHeader::decode(rest, seed)
            {
                behind.any = true;
                behind.durable_end = behind.durable_end.max(header.durable_end);
            }
        }
        if chunk.len() < CHUNK_BYTES + ENTRY_HEADER_BYTES {
            return Ok(behind);
        }
        at += CHUNK_BYTES as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use bytes::Bytes;
    use lograft_core::{ClusterId, Entry, EntryKind, Offset, Proposal, Term};

    use super::*;
    use crate::format::SegmentHeader;
    use crate::fs::{FaultFs, Fs as _, OpenMode};
    use crate::segment::SegmentFacts;

    const GROUP: GroupId = GroupId(1);

    fn entry(term: u64, index: u64) -> Entry {
        let payload = Bytes::from(format!("term {term:04}"));
        let proposal = Proposal::control(EntryKind::Command, 0, payload);
        let id = LogId {
            term: Term(term),
            index: LogIndex(index),
        };
        Entry {
            id,
            base_offset: Offset::ZERO,
            proposal,
        }
    }

    /// Writes entries one after the other; returns the CRC of the last header.
    fn write(file: &dyn FsFile, position: u64, prev: u32, entries: &[Entry]) -> u32 {
        let (mut at, mut crc) = (position, prev);
        for entry in entries {
            let durable = LogIndex::ZERO;
            let (header, own) = EntryHeader::encode(entry, durable, crc, entry_seed(GROUP, 5));
            let parts = &mut [IoSlice::new(&header), IoSlice::new(&entry.proposal.payload)];
            file.write_vectored_at(parts, at).unwrap();
            at += crate::format::entry_size_bytes(entry.proposal.payload.len());
            crc = own;
        }
        crc
    }

    /// What a torn write has left behind does not go with what was later written before it, even
    /// if it fits in place, index and term.
    #[test]
    fn entries_of_a_torn_write_do_not_follow_other_ones() {
        let fs = FaultFs::new(0);
        let path = Path::new("a segment");
        fs.create_dir_all(Path::new("/")).unwrap();
        let file = fs
            .open(&Path::new("/").join(path), OpenMode::Create)
            .unwrap();
        let segment = Segment::new(SegmentFacts {
            base: LogIndex(10),
            base_offset: Offset::ZERO,
            prev: None,
            uid: 5,
            capacity_bytes: 4096,
            starts_log: false,
        });
        let cluster = ClusterId::from_bytes([0; 16]);
        let (header, crc) = SegmentHeader::encode(&segment, GROUP, cluster);
        file.write_vectored_at(&mut [IoSlice::new(&header)], 0)
            .unwrap();
        let scan = || {
            scan_segment((file.as_ref(), path), GROUP, (&segment, crc), None)
                .unwrap()
                .filled
                .last
        };
        assert_eq!(scan(), None);
        write(
            file.as_ref(),
            SEGMENT_HEADER_BYTES,
            crc,
            &[entry(4, 10), entry(4, 11), entry(6, 12)],
        );
        assert_eq!(scan(), Some(entry(6, 12).id));
        write(file.as_ref(), SEGMENT_HEADER_BYTES, crc, &[entry(3, 10)]);
        assert_eq!(scan(), Some(entry(3, 10).id));
        let behind = search_behind((file.as_ref(), path), entry_seed(GROUP, 5), 200).unwrap();
        assert!(behind.any);
        let other = search_behind((file.as_ref(), path), entry_seed(GROUP, 6), 200).unwrap();
        assert!(!other.any);
    }
}
