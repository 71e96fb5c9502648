//! Scan of a segment file, entry by entry, for the end of its valid part.

use std::path::Path;

use lograft_core::{LogId, LogIndex};

use crate::error::{Action, StorageError};
use crate::format::{
    ENTRY_HEADER_BYTES, ENTRY_MAGIC, EntryHeader, SEGMENT_HEADER_BYTES, SegmentHeader, entry_seed,
};
use crate::fs::FsFile;
use crate::segment::{Segment, SegmentExtent};
use crate::walker::Walker;

/// Bytes per read.
const CHUNK_BYTES: usize = 1024 * 1024;

/// An open segment file and its path, for errors.
#[derive(Clone, Copy)]
pub(crate) struct SegmentFile<'a> {
    pub(crate) file: &'a dyn FsFile,
    pub(crate) path: &'a Path,
}

/// The valid part of a segment.
pub(crate) struct ScannedSegment {
    pub(crate) extent: SegmentExtent,
    pub(crate) terms: Vec<LogId>,
    /// The CRC of the last valid header.
    pub(crate) prev_crc32c: u32,
}

/// The entries that a segment file holds behind its valid part.
#[derive(Clone, Copy, Default)]
pub(crate) struct EntriesBehind {
    pub(crate) has_entries: bool,
    /// The highest durable end in their headers: all entries below it were on disk.
    pub(crate) durable_end: LogIndex,
}

/// Scans a segment from its start to the first entry that is not valid, or to `last` (inclusive).
/// Fails with [`StorageError::NewerFormat`] at an entry that a newer version wrote.
// An entry is valid only as the successor of the one before: next index, a term that does not go
// back, the right offset, and the CRC of the previous header. Index and term alone do not suffice:
// after a torn write, the remains of the old write may have a fitting index behind a new entry.
pub(crate) fn scan_segment(
    SegmentFile { file, path }: SegmentFile<'_>,
    header: &SegmentHeader,
    last: Option<LogIndex>,
) -> Result<ScannedSegment, StorageError> {
    let fail = |source| StorageError::io(Action::Read, path, source);
    let len = file.len().map_err(fail)?;
    let seed = entry_seed(header.group, header.facts.uid);
    let mut walker = Walker::new(file, seed, SEGMENT_HEADER_BYTES..len, CHUNK_BYTES);
    let mut scan = ScannedSegment {
        extent: SegmentExtent::empty(Segment::new(header.facts.clone())),
        terms: Vec::new(),
        prev_crc32c: header.crc32c,
    };
    let mut next = header.facts.base;
    while last.is_none_or(|last| next <= last) {
        let Some(entry) = walker.header().map_err(fail)? else {
            let newer = walker.newer().map_err(fail)?;
            match newer.map(|newer| newer.in_file(path, walker.position())) {
                Some(newer) => return Err(newer.into()),
                None => break,
            }
        };
        let follows = entry.id.index == next
            && entry.prev_crc32c == scan.prev_crc32c
            && entry.base_offset == scan.extent.next_offset
            && scan
                .extent
                .last
                .is_none_or(|before| before.term <= entry.id.term);
        if !follows {
            break;
        }
        if walker.payload(&entry).map_err(fail)?.is_none() {
            break;
        }
        if scan
            .terms
            .last()
            .is_none_or(|run| run.term != entry.id.term)
        {
            scan.terms.push(entry.id);
        }
        scan.extent.add((&entry).into(), entry.size_bytes());
        scan.prev_crc32c = entry.crc32c;
        walker.skip(&entry);
        next = next.next();
    }
    Ok(scan)
}

/// Searches the rest of a segment file, from `position`, for entries of this segment. Fails with
/// [`StorageError::NewerFormat`] at one that a newer version wrote.
// The search tries every aligned position, because the lengths of the damaged entries are unknown.
// Only entries of this segment count (by the seed of their CRC): stale entries of a recycled file
// prove nothing about this log.
pub(crate) fn scan_behind(
    SegmentFile { file, path }: SegmentFile<'_>,
    header: &SegmentHeader,
    position: u64,
) -> Result<EntriesBehind, StorageError> {
    const STEP: usize = 8;
    let seed = entry_seed(header.group, header.facts.uid);
    let mut behind = EntriesBehind::default();
    let mut at = position;
    loop {
        // Chunks overlap by the length of a header, so that no header is split.
        let chunk = file
            .read_at(at, CHUNK_BYTES + ENTRY_HEADER_BYTES)
            .map_err(|source| StorageError::io(Action::Read, path, source))?;
        let starts = chunk
            .len()
            .saturating_sub(ENTRY_HEADER_BYTES - 1)
            .min(CHUNK_BYTES);
        for start in (0..starts).step_by(STEP) {
            let rest = &chunk[start..];
            if rest.first_chunk() != Some(&ENTRY_MAGIC.to_le_bytes()) {
                continue;
            }
            if let Some(newer) = EntryHeader::newer(rest, seed) {
                return Err(newer.in_file(path, at + start as u64).into());
            }
            if let Some(entry) = EntryHeader::decode(rest, seed) {
                behind.has_entries = true;
                behind.durable_end = behind.durable_end.max(entry.durable_end);
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
    use std::sync::Arc;

    use bytes::Bytes;
    use lograft_core::{ClusterId, Entry, EntryKind, GroupId, Offset, Proposal, Term};

    use super::*;
    use crate::format::SegmentFacts;
    use crate::fs::{FaultFs, Fs as _, OpenMode};

    const GROUP: GroupId = GroupId(1);
    const PATH: &str = "a segment";

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

    /// Writes consecutive entries; returns the CRC of the last header.
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

    /// A segment without entries from index 10 on, and its header.
    fn segment() -> (Arc<dyn FsFile>, SegmentHeader) {
        let fs = FaultFs::new(0);
        fs.create_dir_all(Path::new("/")).unwrap();
        let file = fs
            .open(&Path::new("/").join(PATH), OpenMode::Create)
            .unwrap();
        let facts = SegmentFacts {
            base: LogIndex(10),
            base_offset: Offset::ZERO,
            prev: None,
            uid: 5,
            capacity_bytes: 4096,
            starts_log: false,
        };
        let cluster = ClusterId::from_bytes([0; 16]);
        let (bytes, _) = SegmentHeader::encode(&facts, GROUP, cluster);
        file.write_vectored_at(&mut [IoSlice::new(&bytes)], 0)
            .unwrap();
        (file, SegmentHeader::decode(&bytes).unwrap())
    }

    fn last(file: &dyn FsFile, header: &SegmentHeader) -> Option<LogId> {
        let path = Path::new(PATH);
        let scan = scan_segment(SegmentFile { file, path }, header, None).unwrap();
        scan.extent.last
    }

    /// The remains of a torn write are not accepted behind a later write, even with a fitting
    /// position, index and term.
    #[test]
    fn remains_of_a_torn_write_do_not_continue_a_later_write() {
        let (file, header) = segment();
        let file = file.as_ref();
        let (start, crc) = (SEGMENT_HEADER_BYTES, header.crc32c);
        assert_eq!(last(file, &header), None);
        write(
            file,
            start,
            crc,
            &[entry(4, 10), entry(4, 11), entry(6, 12)],
        );
        assert_eq!(last(file, &header), Some(entry(6, 12).id));
        write(file, start, crc, &[entry(3, 10)]);
        assert_eq!(last(file, &header), Some(entry(3, 10).id));
        let path = Path::new(PATH);
        let behind = |header| scan_behind(SegmentFile { file, path }, header, 200).unwrap();
        assert!(behind(&header).has_entries);
        let mut other = header.clone();
        other.facts.uid = 6;
        assert!(!behind(&other).has_entries);
    }

    #[test]
    fn an_entry_of_an_earlier_term_does_not_continue_a_log() {
        let (file, header) = segment();
        let file = file.as_ref();
        let entries = [entry(4, 10), entry(4, 11), entry(3, 12)];
        write(file, SEGMENT_HEADER_BYTES, header.crc32c, &entries);
        assert_eq!(last(file, &header), Some(entry(4, 11).id));
    }

    #[test]
    fn an_entry_with_a_damaged_payload_ends_a_log() {
        let (file, header) = segment();
        let file = file.as_ref();
        let entries = [entry(4, 10), entry(4, 11), entry(4, 12)];
        write(file, SEGMENT_HEADER_BYTES, header.crc32c, &entries);
        let size = crate::format::entry_size_bytes(entries[0].proposal.payload.len());
        let payload = SEGMENT_HEADER_BYTES + size + u64::try_from(ENTRY_HEADER_BYTES).unwrap();
        let flipped = [!entries[1].proposal.payload[0]];
        file.write_vectored_at(&mut [IoSlice::new(&flipped)], payload)
            .unwrap();
        assert_eq!(last(file, &header), Some(entry(4, 10).id));
    }
}
