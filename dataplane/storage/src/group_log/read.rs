//! Reading entries: from the tail cache, else from the segment files, one read for a whole range.

use std::ops::Range;

use bytes::Bytes;
use lograft_core::limits::LOG_READ_MAX_BYTES;
use lograft_core::{Entry, EntryKind, LogIndex, Offset};

use super::disk_read::{DiskRange, DiskReadError, ReadFrom, ReadOutcome};
use super::open_group::OpenGroup;
use super::truncate::EntryPlace;
use crate::error::StorageError;
use crate::format::EntryHeader;

/// Bytes read in addition to the requested ones, because an index point is only near the start of
/// a read.
const SLACK_BYTES: usize = 128 * 1024;
/// Bytes per read where only headers are needed.
const HEADERS_CHUNK_BYTES: usize = 16 * 1024;

/// The parts of the entries that a read needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadParts {
    /// Whole entries.
    All,
    /// Entries of kind `Records` without their payload.
    Metadata,
}

/// A read from one segment file.
#[derive(Clone, Copy)]
struct EntryRequest {
    parts: ReadParts,
    /// Only one entry is requested.
    is_single: bool,
}

/// The entries that a read has found, up to its maximum of payload bytes.
struct EntryCollector {
    entries: Vec<Entry>,
    left_bytes: usize,
    is_full: bool,
}

impl EntryCollector {
    fn new(max_bytes: usize) -> Self {
        Self {
            entries: Vec::new(),
            left_bytes: max_bytes,
            is_full: false,
        }
    }

    /// Whether an entry of this payload length fits; the first entry always does.
    fn admits(&mut self, payload_bytes: usize) -> bool {
        self.is_full |= !self.entries.is_empty() && payload_bytes > self.left_bytes;
        !self.is_full
    }

    fn push(&mut self, entry: Entry, payload_bytes: usize) {
        self.left_bytes = self.left_bytes.saturating_sub(payload_bytes);
        self.entries.push(entry);
    }

    /// Adds cached entries until one does not fit.
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

impl OpenGroup {
    /// Reads `range` completely, or until the next entry would exceed `max_bytes` of payload.
    pub(super) fn read_range(
        &self,
        range: Range<LogIndex>,
        max_bytes: usize,
        parts: ReadParts,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut found = EntryCollector::new(max_bytes);
        let mut next = range.start;
        let mut attempts = 0;
        while next < range.end && !found.is_full {
            let disk = {
                let state = self.state.lock();
                next = next.max(state.first_index());
                if next >= state.end_index() {
                    break;
                }
                let in_cache = state.cache.first_index().is_some_and(|first| first <= next);
                match (in_cache, state.segment_of(next)) {
                    (false, Some(at)) => state.disk_range(ReadFrom::Index(next), at),
                    (true, _) => {
                        let cached = state.cache.entries_from_index(next);
                        found.extend(cached.take_while(|entry| entry.id.index < range.end));
                        break;
                    }
                    (false, None) => break,
                }
            };
            let is_single = range.end.0.saturating_sub(next.0) == 1;
            let request = EntryRequest { parts, is_single };
            self.read_segment(&disk, &mut attempts, |disk| {
                self.collect_entries(disk, request, &mut found, |header| {
                    header.id.index < range.end
                })
            })?;
            let read_end = found
                .entries
                .last()
                .map_or(next, |entry| entry.id.index.next());
            next = read_end.max(next);
        }
        Ok(found.entries)
    }

    /// Reads entries of kind `Records` from the one that holds `from`; all end at or below `below`.
    pub(super) fn read_records(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut found = EntryCollector::new(max_bytes);
        let mut next = from;
        let mut attempts = 0;
        while next < below && !found.is_full {
            let disk = {
                let state = self.state.lock();
                if next >= state.next_offset {
                    break;
                }
                let in_cache = state
                    .cache
                    .first_offset()
                    .is_some_and(|first| first <= next);
                match (in_cache, state.segment_of_offset(next)) {
                    (false, Some(at)) => state.disk_range(ReadFrom::Offset(next), at),
                    (true, _) => {
                        let cached = state.cache.entries_from_offset(next);
                        found.extend(
                            cached
                                .filter(|entry| entry.proposal.kind == EntryKind::Records)
                                .take_while(|entry| entry.next_offset() <= below),
                        );
                        break;
                    }
                    (false, None) => break, // purged in the meantime
                }
            };
            let before = found.entries.len();
            let request = EntryRequest {
                parts: ReadParts::All,
                is_single: false,
            };
            let outcome = self.read_segment(&disk, &mut attempts, |disk| {
                self.collect_entries(disk, request, &mut found, |header| {
                    header.next_offset() <= below
                })
            })?;
            found
                .entries
                .retain(|entry| entry.proposal.kind == EntryKind::Records);
            match found.entries[before..].last() {
                Some(entry) => next = entry.next_offset(),
                None if outcome == ReadOutcome::Outdated => {}
                None => break, // the entry that holds `next` ends above `below`
            }
        }
        Ok(found.entries)
    }

    /// Finds the first batch, in the order of offsets, with a record of `time_ms` or later.
    pub(super) fn find_time(
        &self,
        time_ms: i64,
        below: Offset,
    ) -> Result<Option<Offset>, StorageError> {
        let matches = |count: u32, max_ms: i64| count > 0 && max_ms >= time_ms;
        let mut attempts = 0;
        let candidates: Vec<DiskRange> = {
            let state = self.state.lock();
            let segments = state.segments.iter().enumerate();
            segments
                .filter(|(_, extent)| extent.max_time_ms >= time_ms)
                .map(|(at, _)| state.disk_range(ReadFrom::Time(time_ms), at))
                .collect()
        };
        for disk in &candidates {
            let mut found = None;
            self.read_segment(disk, &mut attempts, |disk| {
                self.walk(disk, HEADERS_CHUNK_BYTES, |walker, header| {
                    walker.skip(header);
                    if matches(header.record_count, header.max_time_ms) {
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
        let mut cached = state.cache.entries_from_offset(Offset::ZERO);
        let found =
            cached.find(|entry| matches(entry.proposal.record_count, entry.proposal.max_time_ms));
        Ok(found
            .map(|entry| entry.base_offset)
            .filter(|offset| *offset < below))
    }

    /// The latest append time of the records in the segment with this base index, read from its
    /// last entry with records if it is not known.
    // Append times do not go back, so that of the last entry with records is the latest. Entries
    // without records do not count: each election appends one, and the records of an idle partition
    // would never get old.
    pub(super) fn read_append_time(&self, base: LogIndex) -> Result<Option<i64>, StorageError> {
        let mut attempts = 0;
        loop {
            let disk = {
                let state = self.state.lock();
                let at = state.segment_of(base);
                let Some((at, extent)) = at.map(|at| (at, &state.segments[at])) else {
                    return Ok(None);
                };
                let segment = &extent.segment;
                if extent.append_time_ms.is_some() || segment.base != base {
                    return Ok(extent.append_time_ms.filter(|_| segment.base == base));
                }
                let last = extent.next_offset.prev();
                let Some(last) = last.filter(|last| *last >= segment.base_offset) else {
                    return Ok(None);
                };
                let mut cached = state.cache.entries_from_offset(last);
                if let Some(entry) = cached.next().filter(|entry| entry.base_offset <= last) {
                    return Ok(Some(entry.proposal.append_time_ms));
                }
                state.disk_range(ReadFrom::Offset(last), at)
            };
            let mut found = None;
            let outcome = self.read_segment(&disk, &mut attempts, |disk| {
                self.walk(disk, HEADERS_CHUNK_BYTES, |walker, header| {
                    walker.skip(header);
                    found = Some(header.append_time_ms);
                    Ok(false)
                })
            })?;
            if outcome == ReadOutcome::Outdated {
                continue;
            }
            let mut state = self.state.lock();
            if let Some(at) = state.segment_of(base) {
                state.segments[at].learn_append_time(base, found);
            }
            return Ok(found);
        }
    }

    /// The place of the entry at `index`, read from disk if necessary; `None` if there is no such
    /// entry.
    pub(super) fn entry_place(&self, index: LogIndex) -> Result<Option<EntryPlace>, StorageError> {
        let disk = {
            let state = self.state.lock();
            if let Some(place) = state.place_without_read(index) {
                return Ok(Some(place));
            }
            let Some(at) = state.segment_of(index) else {
                return Ok(None);
            };
            state.disk_range(ReadFrom::Index(index), at)
        };
        let mut place = None;
        self.read_segment(&disk, &mut 0, |disk| {
            self.walk(disk, HEADERS_CHUNK_BYTES, |walker, header| {
                place = Some(EntryPlace {
                    position: walker.position(),
                    base_offset: header.base_offset,
                });
                walker.skip(header);
                Ok(false)
            })
        })?;
        Ok(place)
    }

    /// Collects entries of a segment while `is_requested` holds and `found` has room for them.
    // Every payload is checked against its CRC here, before it is returned: sealed segments are not
    // scanned at startup, so this is where bit rot is found. It is reported, never served.
    fn collect_entries(
        &self,
        disk: &DiskRange,
        request: EntryRequest,
        found: &mut EntryCollector,
        is_requested: impl Fn(&EntryHeader) -> bool,
    ) -> Result<(), DiskReadError> {
        let chunk_bytes = match request.parts {
            ReadParts::Metadata => HEADERS_CHUNK_BYTES,
            ReadParts::All if request.is_single => SLACK_BYTES,
            ReadParts::All => found
                .left_bytes
                .saturating_add(SLACK_BYTES)
                .min(LOG_READ_MAX_BYTES),
        };
        self.walk(disk, chunk_bytes, |walker, header| {
            let bytes = header.payload_bytes as usize;
            if !is_requested(header) || !found.admits(bytes) {
                return Ok(false);
            }
            if request.parts == ReadParts::Metadata && header.kind == EntryKind::Records {
                walker.skip(header);
                found.push(header.into_entry(Bytes::new()), 0);
                return Ok(true);
            }
            let position = walker.position();
            let payload = walker
                .payload(header)
                .map_err(|source| self.read_error(disk, source))?;
            let Some(payload) = payload else {
                return Err(DiskReadError::Invalid(
                    position,
                    Some(header.id.index),
                    "payload CRC does not match",
                ));
            };
            walker.skip(header);
            found.push(header.into_entry(payload), bytes);
            Ok(true)
        })
    }
}
