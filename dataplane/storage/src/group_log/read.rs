//! Reading: from the tail cache, else from the segment files, one read for a whole range.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lograft_core::limits::{LOG_READ_ATTEMPTS_MAX_COUNT, LOG_READ_MAX_BYTES};
use lograft_core::{Entry, EntryKind, LogIndex, Offset};

use super::Group;
use super::log_state::LogState;
use crate::error::{Action, Damage, StorageError};
use crate::format::{EntryHeader, IndexFile, SEGMENT_HEADER_BYTES, entry_seed};
use crate::fs::{FileMap, FsFile, OpenMode};
use crate::segment::{Point, Segment};
use crate::storage_env::{index_path, segment_path};
use crate::walker::Walker;

/// Read ahead of what was asked for, since the sparse index only leads near it, bytes.
const SLACK_BYTES: usize = 128 * 1024;
/// Read at a time where only headers are wanted, bytes.
const HEADERS_CHUNK_BYTES: usize = 16 * 1024;

/// From where to read.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// This entry.
    Index(LogIndex),
    /// The entry that holds this offset.
    Offset(Offset),
    /// The first entry of the segment at or after this time, milliseconds.
    Time(i64),
}

/// A part of a segment to be read from its file.
pub(super) struct DiskRange {
    segment: Arc<Segment>,
    end_position: u64,
    from: From,
    /// The indexed place before what is wanted; `None` is the segment's beginning.
    start: Option<Point>,
    /// That place is to be looked up in the index file.
    index_on_disk: bool,
    /// Entries from here on are cached.
    below: LogIndex,
}

impl From {
    /// Whether what is wanted is not before this point.
    fn is_behind(self, point: &Point) -> bool {
        match self {
            Self::Index(index) => point.index <= index,
            Self::Offset(offset) => point.base_offset <= offset,
            Self::Time(time_ms) => point.max_time_before_ms < time_ms,
        }
    }
}

/// What a reading of entries needs of each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The whole entry.
    Whole,
    /// Records may come without their payload.
    Meta,
}

/// Collects entries until it has enough.
pub(super) struct Taken {
    pub(super) entries: Vec<Entry>,
    left_bytes: usize,
    pub(super) full: bool,
}

impl Taken {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            entries: Vec::new(),
            left_bytes: max_bytes,
            full: false,
        }
    }

    /// Whether an entry with so much payload still goes in; the first one always does.
    fn admits(&mut self, payload_bytes: usize) -> bool {
        self.full |= !self.entries.is_empty() && payload_bytes > self.left_bytes;
        !self.full
    }

    pub(super) fn push(&mut self, entry: Entry, payload_bytes: usize) {
        self.left_bytes = self.left_bytes.saturating_sub(payload_bytes);
        self.entries.push(entry);
    }

    /// Takes cached entries until it is full.
    fn extend<'a>(&mut self, cached: impl Iterator<Item = &'a Entry>) {
        for entry in cached {
            let bytes = entry.proposal.payload.len();
            if !self.admits(bytes) {
                break;
            }
            self.push(entry.clone(), bytes);
        }
    }
}

/// A read from disk that did not come through.
enum Broken {
    /// The file system refused.
    Io(StorageError),
    /// The bytes at this position are not a valid entry.
    Invalid(u64, Option<LogIndex>, &'static str),
}

impl LogState {
    /// Where `index` is to be read, if not from the cache.
    fn disk_range(&self, from: From, slot: usize) -> DiskRange {
        let filled = &self.segments[slot];
        DiskRange {
            segment: Arc::clone(&filled.segment),
            end_position: filled.end_position,
            from,
            start: filled.point_before(|point| from.is_behind(point)),
            index_on_disk: filled.index_on_disk,
            below: self.cache.first().unwrap_or(self.end()),
        }
    }

    /// Which segment holds `offset`.
    pub(super) fn slot_of_offset(&self, offset: Offset) -> Option<usize> {
        self.segments
            .partition_point(|filled| filled.segment.base_offset <= offset)
            .checked_sub(1)
    }
}

impl Group {
    /// Reads `range` in full or until `max_bytes` of payload are there.
    pub(super) fn read_range(
        &self,
        range: Range<LogIndex>,
        max_bytes: usize,
        want: Want,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut taken = Taken::new(max_bytes);
        let mut next = range.start;
        let mut attempts = 0;
        while next < range.end && !taken.full {
            let disk = {
                let state = self.state.lock();
                next = next.max(state.begin());
                if next >= state.end() {
                    break;
                }
                let in_cache = state.cache.first().is_some_and(|first| first <= next);
                match (in_cache, state.slot_of(next)) {
                    (false, Some(slot)) => state.disk_range(From::Index(next), slot),
                    (true, _) => {
                        let cached = state.cache.since_index(next);
                        taken.extend(cached.take_while(|entry| entry.id.index < range.end));
                        break;
                    }
                    (false, None) => break,
                }
            };
            let ahead = range.end.0.saturating_sub(next.0);
            let single = if ahead == 1 { Some(next) } else { None };
            self.on_disk(&disk, &mut attempts, |disk| {
                self.take_entries(disk, (want, single), &mut taken, |header| {
                    header.id.index < range.end
                })
            })?;
            let got = taken
                .entries
                .last()
                .map_or(next, |entry| entry.id.index.next());
            next = got.max(next);
        }
        Ok(taken.entries)
    }

    /// Reads entries of kind `Records` from the one that holds `from`, up to `below`.
    pub(super) fn read_records(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut taken = Taken::new(max_bytes);
        let mut next = from;
        let mut attempts = 0;
        while next < below && !taken.full {
            let disk = {
                let state = self.state.lock();
                if next >= state.next_offset {
                    break;
                }
                let in_cache = state
                    .cache
                    .first_offset()
                    .is_some_and(|first| first <= next);
                match (in_cache, state.slot_of_offset(next)) {
                    (false, Some(slot)) => state.disk_range(From::Offset(next), slot),
                    (true, _) => {
                        let cached = state.cache.since_offset(next);
                        taken.extend(
                            cached
                                .filter(|entry| entry.proposal.kind == EntryKind::Records)
                                .take_while(|entry| entry.next_offset() <= below),
                        );
                        break;
                    }
                    (false, None) => break, // purged meanwhile
                }
            };
            let before = taken.entries.len();
            let done = self.on_disk(&disk, &mut attempts, |disk| {
                self.take_entries(disk, (Want::Whole, None), &mut taken, |header| {
                    header.next_offset() <= below
                })
            })?;
            taken
                .entries
                .retain(|entry| entry.proposal.kind == EntryKind::Records);
            match taken.entries[before..].last() {
                Some(entry) => next = entry.next_offset(),
                None if !done => {}
                None => break, // the entry that holds `next` ends above `below`
            }
        }
        Ok(taken.entries)
    }

    /// The first batch of records at or after `time_ms`, in the order of offsets.
    pub(super) fn find_time(
        &self,
        time_ms: i64,
        below: Offset,
    ) -> Result<Option<Offset>, StorageError> {
        let is_it = |count: u32, max_ms: i64| count > 0 && max_ms >= time_ms;
        let mut attempts = 0;
        let candidates: Vec<DiskRange> = {
            let state = self.state.lock();
            let slots = state.segments.iter().enumerate();
            slots
                .filter(|(_, filled)| filled.max_time_ms >= time_ms)
                .map(|(slot, _)| state.disk_range(From::Time(time_ms), slot))
                .collect()
        };
        for disk in &candidates {
            let mut found = None;
            self.on_disk(disk, &mut attempts, |disk| {
                self.walk(disk, HEADERS_CHUNK_BYTES, |walker, header| {
                    walker.skip(header);
                    if is_it(header.record_count, header.max_time_ms) {
                        found = Some(header.base_offset);
                    }
                    Ok(found.is_none())
                })
            })?;
            if found.is_some() {
                return Ok(found.filter(|offset| *offset < below));
            }
        }
        let state = self.state.lock();
        let mut cached = state.cache.since_offset(Offset::ZERO);
        let found =
            cached.find(|entry| is_it(entry.proposal.record_count, entry.proposal.max_time_ms));
        Ok(found
            .map(|entry| entry.base_offset)
            .filter(|offset| *offset < below))
    }

    /// Position and offset of the entry at `index`, read from disk.
    pub(super) fn locate(&self, index: LogIndex) -> Result<Option<(u64, Offset)>, StorageError> {
        let disk = {
            let state = self.state.lock();
            if let Some(place) = state.locate_cached(index) {
                return Ok(Some(place));
            }
            let Some(slot) = state.slot_of(index) else {
                return Ok(None);
            };
            state.disk_range(From::Index(index), slot)
        };
        let mut place = None;
        self.on_disk(&disk, &mut 0, |disk| {
            self.walk(disk, HEADERS_CHUNK_BYTES, |walker, header| {
                place = Some((walker.position(), header.base_offset));
                walker.skip(header);
                Ok(false)
            })
        })?;
        Ok(place)
    }

    /// Runs a read of a segment's file. A failure counts only while the segment is part of the
    /// log: it may have been purged, and its file written over, under the reader's hands. Then
    /// it returns `false`.
    fn on_disk(
        &self,
        disk: &DiskRange,
        attempts: &mut usize,
        read: impl FnOnce(&DiskRange) -> Result<(), Broken>,
    ) -> Result<bool, StorageError> {
        let Err(broken) = read(disk) else {
            return Ok(true);
        };
        *attempts += 1;
        let segment = &disk.segment;
        if !self.state.lock().has_segment(segment) && *attempts < LOG_READ_ATTEMPTS_MAX_COUNT {
            return Ok(false);
        }
        Err(match broken {
            Broken::Io(error) => error,
            Broken::Invalid(position, index, what) => {
                let path = segment_path(&self.node.group_dir(self.id), segment.base);
                let damage = Damage {
                    path,
                    position,
                    index,
                    what,
                };
                StorageError::Corrupt {
                    group: self.id,
                    damage,
                }
            }
        })
    }

    /// Takes entries while `goes_on` says so and `taken` is not full. `single`: only this one is
    /// wanted.
    fn take_entries(
        &self,
        disk: &DiskRange,
        (want, single): (Want, Option<LogIndex>),
        taken: &mut Taken,
        goes_on: impl Fn(&EntryHeader) -> bool,
    ) -> Result<(), Broken> {
        let chunk = match want {
            Want::Meta => HEADERS_CHUNK_BYTES,
            Want::Whole if single.is_some() => SLACK_BYTES,
            Want::Whole => taken
                .left_bytes
                .saturating_add(SLACK_BYTES)
                .min(LOG_READ_MAX_BYTES),
        };
        self.walk(disk, chunk, |walker, header| {
            let bytes = header.payload_bytes as usize;
            if !goes_on(header) || !taken.admits(bytes) {
                return Ok(false);
            }
            if want == Want::Meta && header.kind == EntryKind::Records {
                walker.skip(header);
                taken.push(header.into_entry(Bytes::new()), 0);
                return Ok(true);
            }
            let position = walker.position();
            let payload = walker
                .payload(header)
                .map_err(|source| self.io(disk, source))?;
            let Some(payload) = payload else {
                return Err(Broken::Invalid(
                    position,
                    Some(header.id.index),
                    "wrong payload CRC",
                ));
            };
            walker.skip(header);
            taken.push(header.into_entry(payload), bytes);
            Ok(true)
        })
    }

    /// Walks over the entries of a range from its start on, until `visit` returns `false` or the
    /// range ends. `visit` moves the walker on.
    fn walk(
        &self,
        disk: &DiskRange,
        chunk_bytes: usize,
        mut visit: impl FnMut(&mut Walker<'_>, &EntryHeader) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        if disk.segment.base >= disk.below || disk.end_position <= SEGMENT_HEADER_BYTES {
            return Ok(());
        }
        let file = self.segment_file(&disk.segment).map_err(Broken::Io)?;
        let start = if disk.index_on_disk {
            self.indexed_start(disk)
        } else {
            disk.start
        };
        let (mut index, position) = start
            .map_or((disk.segment.base, SEGMENT_HEADER_BYTES), |point| {
                (point.index, point.position)
            });
        let seed = entry_seed(self.id, disk.segment.uid);
        let mut walker = Walker::new(
            file.as_ref(),
            seed,
            position..disk.end_position,
            chunk_bytes,
        );
        while index < disk.below && walker.position() < disk.end_position {
            let position = walker.position();
            let header = walker.header().map_err(|source| self.io(disk, source))?;
            let Some(header) = header.filter(|header| header.id.index == index) else {
                return Err(Broken::Invalid(
                    position,
                    Some(index),
                    "no valid entry header",
                ));
            };
            index = index.next();
            let before = match disk.from {
                From::Index(from) => header.id.index < from,
                From::Offset(from) => header.next_offset() <= from,
                From::Time(_) => false,
            };
            if before {
                walker.skip(&header);
            } else if !visit(&mut walker, &header)? {
                break;
            }
        }
        Ok(())
    }

    fn io(&self, disk: &DiskRange, source: std::io::Error) -> Broken {
        let path = segment_path(&self.node.group_dir(self.id), disk.segment.base);
        Broken::Io(StorageError::io(Action::Read, &path, source))
    }

    /// The indexed place before what is wanted, out of the index file.
    fn indexed_start(&self, disk: &DiskRange) -> Option<Point> {
        let index = self.segment_index(&disk.segment)?;
        let (mut low, mut high) = (0, IndexFile::points_count(&index));
        while low < high {
            let middle = low.midpoint(high);
            if disk.from.is_behind(&IndexFile::point(&index, middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(IndexFile::point(&index, low.checked_sub(1)?))
    }

    fn segment_file(&self, segment: &Arc<Segment>) -> Result<Arc<dyn FsFile>, StorageError> {
        let mut open = segment.open.lock();
        if let Some(file) = &open.file {
            return Ok(Arc::clone(file));
        }
        let path = segment_path(&self.node.group_dir(self.id), segment.base);
        if open.gone {
            let gone = std::io::ErrorKind::NotFound.into();
            return Err(StorageError::io(Action::Open, &path, gone));
        }
        let file = self
            .node
            .fs
            .open(&path, OpenMode::Read)
            .map_err(|source| StorageError::io(Action::Open, &path, source))?;
        open.file = Some(Arc::clone(&file));
        drop(open);
        self.node.note_open(segment);
        Ok(file)
    }

    /// The segment's index file, if it is there and whole: without it, reading begins at the
    /// segment's start.
    fn segment_index(&self, segment: &Arc<Segment>) -> Option<Arc<FileMap>> {
        let mut open = segment.open.lock();
        if open.gone {
            return None;
        }
        if let Some(index) = &open.index {
            return Some(Arc::clone(index));
        }
        let path = index_path(&self.node.group_dir(self.id), segment.base);
        let map = Arc::new(self.node.fs.map(&path).ok()?);
        let head = IndexFile::decode(&map)?;
        if head.uid != segment.uid || head.group != self.id {
            return None;
        }
        open.index = Some(Arc::clone(&map));
        Some(map)
    }
}
