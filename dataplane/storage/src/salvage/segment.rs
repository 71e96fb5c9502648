//! Salvage of one segment file.

use std::ops::Range;
use std::path::{Path, PathBuf};

use lograft_core::{GroupId, LogIndex, Offset, Term};

use super::pieces::{LogGap, Salvaged, header_of, readable};
use super::readable_parts::ReadableParts;
use crate::error::{Action, StorageError};
use crate::files::Files;
use crate::format::{
    ENTRY_HEADER_BYTES, EntryHeader, INDEX, IndexFile, IndexHead, SEGMENT, SEGMENT_HEADER_BYTES,
    SegmentHeader, entry_seed,
};
use crate::fs::{FsFile as _, OpenMode};
use crate::hard_file::FileOwner;
use crate::layout::{index_path, segment_path};
use crate::walker::Walker;

/// Bytes per read.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The place at which a log continues.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextEntry {
    pub(super) index: LogIndex,
    /// Unknown behind a file whose header is damaged.
    pub(super) offset: Option<Offset>,
    /// The least term that the entry can have.
    pub(super) term: Term,
}

/// Fields of a segment header whose checksum is wrong. They are guesses: an entry that decodes with
/// them proves them, because its checksum starts with group and uid.
pub(super) struct RawHeader;

impl RawHeader {
    pub(super) const LEN_BYTES: u64 = SEGMENT_HEADER_BYTES;

    /// The group that the header names.
    pub(super) fn group(bytes: &[u8]) -> Option<GroupId> {
        Some(GroupId(SegmentHeader::raw_ids(bytes)?.0))
    }

    fn uid(bytes: &[u8]) -> Option<u64> {
        Some(SegmentHeader::raw_ids(bytes)?.1)
    }
}

/// The header of a segment; `None` if it is damaged or unreadable.
pub(super) fn read_header(
    files: &Files,
    dir: &Path,
    base: LogIndex,
) -> Result<Option<SegmentHeader>, StorageError> {
    let path = segment_path(dir, base);
    let bytes = readable(files.read_file_prefix(&path, SEGMENT_HEADER_BYTES))?.unwrap_or_default();
    if let Some(newer) = SEGMENT.newer(&bytes) {
        return Err(newer.in_file(&path, 0).into());
    }
    Ok(SegmentHeader::decode(&bytes))
}

/// The contents of an index file; `None` if it is missing, damaged or unreadable.
pub(super) fn read_index_head(
    files: &Files,
    path: &Path,
) -> Result<Option<IndexHead>, StorageError> {
    let bytes = readable(files.read_file(path))?.unwrap_or_default();
    if let Some(newer) = INDEX.newer(&bytes) {
        return Err(newer.in_file(path, 0).into());
    }
    Ok(IndexFile::decode(&bytes))
}

/// A segment file, opened for reading.
pub(super) struct OpenedSegment {
    pub(super) path: PathBuf,
    pub(super) base: LogIndex,
    pub(super) len_bytes: u64,
    pub(super) header: Option<SegmentHeader>,
    /// The damage of the header.
    pub(super) damage: Option<&'static str>,
    file: Option<ReadableParts>,
    /// The seed of the checksums of its entries, if it is known.
    seed: Option<u32>,
}

impl OpenedSegment {
    /// Opens the segment with this base. Damage is no failure.
    pub(super) fn open(
        files: &Files,
        dir: &Path,
        base: LogIndex,
        owner: FileOwner,
    ) -> Result<Self, StorageError> {
        let path = segment_path(dir, base);
        let opened = readable(files.open_if_exists(&path, OpenMode::Read))?;
        let mut segment = Self {
            path,
            base,
            len_bytes: 0,
            header: None,
            damage: Some("the disk cannot read it"),
            file: None,
            seed: None,
        };
        let Some(file) = opened.map(ReadableParts::new) else {
            return Ok(segment);
        };
        let fail = |source| StorageError::io(Action::Read, &segment.path, source);
        let len = file.len().map_err(fail)?;
        let head_bytes = usize::try_from(SEGMENT_HEADER_BYTES).unwrap_or(0);
        let head = file.read_at(0, head_bytes).map_err(fail)?;
        if let Some(newer) = SEGMENT.newer(&head) {
            return Err(newer.in_file(&segment.path, 0).into());
        }
        let decoded = SegmentHeader::decode(&head);
        segment.damage = match &decoded {
            Some(_) => Some("the file belongs to another replica or segment"),
            None if head.len() < head_bytes => Some("segment header is cut off"),
            None if file.has_failed() => Some("the disk cannot read the segment header"),
            None => Some("segment header is not valid"),
        };
        segment.header = header_of(&head, owner, base);
        segment.len_bytes = len;
        if let Some(header) = &segment.header {
            segment.damage = None;
            segment.seed = Some(entry_seed(owner.group, header.facts.uid));
        } else if decoded.is_none() {
            let index = read_index_head(files, &index_path(dir, base))?;
            let index = index.filter(|head| head.group == owner.group && head.base == base);
            let uids = RawHeader::uid(&head)
                .into_iter()
                .chain(index.map(|head| head.uid));
            for uid in uids {
                let seed = entry_seed(owner.group, uid);
                if has_entries(&file, seed, len).map_err(fail)? {
                    segment.seed = Some(seed);
                    break;
                }
            }
        }
        segment.file = Some(file);
        Ok(segment)
    }

    /// Reads its entries, up to `bound`, exclusive; `None` if nothing tells them from stale ones of
    /// an earlier use of the file.
    pub(super) fn reader(&self, bound: Option<LogIndex>) -> Option<SegmentReader<'_>> {
        let (file, seed) = (self.file.as_ref()?, self.seed?);
        let positions = SEGMENT_HEADER_BYTES..self.len_bytes;
        Some(SegmentReader {
            path: &self.path,
            file,
            walker: Walker::new(file, seed, positions, CHUNK_BYTES),
            len_bytes: self.len_bytes,
            bound,
            prev_crc32c: self.header.as_ref().map(|header| header.crc32c),
            damaged_from: None,
        })
    }
}

fn has_entries(file: &ReadableParts, seed: u32, len: u64) -> std::io::Result<bool> {
    let mut walker = Walker::new(file, seed, SEGMENT_HEADER_BYTES..len, CHUNK_BYTES);
    loop {
        if walker.header()?.is_some() {
            return Ok(true);
        }
        if !walker.skip_to_magic()? {
            return Ok(false);
        }
    }
}

/// Reads the entries of a segment in order, past damage.
pub(super) struct SegmentReader<'a> {
    path: &'a Path,
    file: &'a ReadableParts,
    walker: Walker<'a>,
    len_bytes: u64,
    bound: Option<LogIndex>,
    /// The checksum to which the next entry chains; unknown behind damage.
    prev_crc32c: Option<u32>,
    /// The first of the damaged bytes that the reader is passing.
    damaged_from: Option<u64>,
}

impl SegmentReader<'_> {
    /// The position behind the last valid entry.
    pub(super) fn end_position(&self) -> u64 {
        self.damaged_from.unwrap_or_else(|| self.walker.position())
    }

    /// The next piece, and `next` moved behind it; `None` at the end of the segment.
    pub(super) fn advance(
        &mut self,
        next: &mut NextEntry,
    ) -> Result<Option<Salvaged>, StorageError> {
        let path = self.path;
        let fail = |source| StorageError::io(Action::Read, path, source);
        while self.bound.is_none_or(|bound| next.index < bound) {
            let position = self.walker.position();
            let header = self.walker.header().map_err(fail)?;
            if let Some(header) = header.filter(|header| self.continues(header, next)) {
                if let Some(from) = self.damaged_from.take() {
                    return Ok(Some(self.pass(from..position, &header, next)));
                }
                let payload = self.walker.payload(&header).map_err(fail)?;
                self.walker.skip(&header);
                self.prev_crc32c = Some(header.crc32c);
                let before = std::mem::replace(
                    next,
                    NextEntry {
                        index: header.id.index.next(),
                        offset: Some(header.next_offset()),
                        term: header.id.term,
                    },
                );
                return Ok(Some(match payload {
                    Some(payload) => Salvaged::Entry(header.into_entry(payload)),
                    None => self.gap(position..self.walker.position(), &before, next),
                }));
            }
            if let Some(newer) = self.walker.newer().map_err(fail)? {
                return Err(newer.in_file(self.path, position).into());
            }
            self.damaged_from.get_or_insert(position);
            if !self.walker.skip_to_magic().map_err(fail)? {
                break;
            }
        }
        Ok(None)
    }

    /// Whether an entry belongs to the log at or behind `next`.
    // Without damage, only the successor of the entry before counts, as in recovery: others are
    // remains of a torn write. Behind damage the chain of checksums is broken. There an entry
    // counts if at least one is missing before it, if the missing ones had room in the damaged
    // bytes, and if its term and offset do not go back: those of an overwritten write do.
    fn continues(&self, header: &EntryHeader, next: &NextEntry) -> bool {
        let index = header.id.index;
        if self.bound.is_some_and(|bound| index >= bound) || header.id.term < next.term {
            return false;
        }
        match self.damaged_from {
            None => {
                index == next.index
                    && next
                        .offset
                        .is_none_or(|offset| offset == header.base_offset)
                    && self.prev_crc32c.is_none_or(|crc| crc == header.prev_crc32c)
            }
            Some(from) => {
                let room = (self.walker.position() - from) / ENTRY_HEADER_BYTES as u64;
                index > next.index
                    && index.get() - next.index.get() <= room
                    && next
                        .offset
                        .is_none_or(|offset| offset <= header.base_offset)
            }
        }
    }

    /// The gap before an entry behind damage, to which `next` moves.
    fn pass(&mut self, bytes: Range<u64>, header: &EntryHeader, next: &mut NextEntry) -> Salvaged {
        self.prev_crc32c = None;
        let after = NextEntry {
            index: header.id.index,
            offset: Some(header.base_offset),
            term: header.id.term,
        };
        let before = std::mem::replace(next, after);
        self.gap(bytes, &before, &after)
    }

    fn gap(&self, bytes: Range<u64>, before: &NextEntry, after: &NextEntry) -> Salvaged {
        let why = if self.file.has_failed() {
            "the disk cannot read it"
        } else {
            "bytes do not match their checksum"
        };
        Salvaged::Gap(LogGap {
            path: self.path.to_owned(),
            bytes: bytes.start..bytes.end.min(self.len_bytes),
            first_index: before.index,
            end_index: Some(after.index),
            first_offset: before.offset,
            end_offset: after.offset,
            why,
        })
    }
}
