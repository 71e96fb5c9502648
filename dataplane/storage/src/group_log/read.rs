//! Reading entries: from the tail cache, else from the segment files, one read for a whole range.

use std::ops::Range;

use bytes::Bytes;
use lograft_core::limits::{BATCH_READ_BYTES, LOG_READ_MAX_BYTES};
use lograft_core::{Entry, EntryKind, LogIndex, Offset};

use super::disk_read::{DiskRange, DiskReadError, ReadAttempts, ReadFrom, ReadOutcome};
use super::log_state::LogState;
use super::open_group::OpenGroup;
use super::truncate::EntryPlace;
use crate::error::StorageError;
use crate::format::EntryHeader;
use crate::walker::Walker;

/// Bytes read in addition to the requested ones, because an index point is only near the start of
/// a read.
const SLACK_BYTES: usize = 128 * 1024;
/// Bytes per read where only headers are needed.
pub(super) const HEADERS_CHUNK_BYTES: usize = 16 * 1024;

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

/// The entries that a read has found, up to its maximum of bytes.
struct EntryCollector {
    entries: Vec<Entry>,
    left_bytes: usize,
    /// Bytes that an entry counts besides its payload.
    each_bytes: usize,
    is_full: bool,
}

impl EntryCollector {
    fn new(max_bytes: usize) -> Self {
        Self {
            entries: Vec::new(),
            left_bytes: max_bytes,
            each_bytes: 0,
            is_full: false,
        }
    }

    /// Counts the memory of each entry too: a batch of one record may be shorter than that.
    fn of_memory(max_bytes: usize) -> Self {
        Self {
            each_bytes: BATCH_READ_BYTES,
            ..Self::new(max_bytes)
        }
    }

    /// Whether an entry of this payload length fits; the first entry always does.
    fn admits(&mut self, payload_bytes: usize) -> bool {
        let bytes = payload_bytes + self.each_bytes;
        self.is_full |= !self.entries.is_empty() && bytes > self.left_bytes;
        !self.is_full
    }

    fn push(&mut self, entry: Entry, payload_bytes: usize) {
        let bytes = payload_bytes + self.each_bytes;
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
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

/// The source of the next entries of a read.
enum Source {
    /// They are in the cache, and were collected.
    Cache,
    /// They are in the file of a segment.
    Disk(DiskRange),
    /// There are none.
    End,
}

/// The truncation epoch of the log that a read has taken its entries from.
// A read takes the lock once per segment. If the log is truncated in between, the entries collected
// so far may have left the log, and the next ones follow on others. Such a mix was never the log of
// any replica, so the read starts again from its beginning.
#[derive(Default)]
struct ReadEpoch(Option<u64>);

impl ReadEpoch {
    /// Whether the log was truncated since the last call.
    fn has_changed(&mut self, state: &LogState) -> bool {
        let before = self.0.replace(state.truncation_epoch);
        before.is_some_and(|before| before != state.truncation_epoch)
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
        let (mut attempts, mut epoch) = (ReadAttempts::default(), ReadEpoch::default());
        while next < range.end && !found.is_full {
            let source = {
                let state = self.state.lock();
                if epoch.has_changed(&state) {
                    attempts.outdated(self.id)?;
                    (found, next) = (EntryCollector::new(max_bytes), range.start);
                }
                // Purged entries are skipped before the first one that is found, never behind it:
                // the caller would get a log with a hole.
                if next < state.first_index() && !found.entries.is_empty() {
                    break;
                }
                next = next.max(state.first_index());
                state.source_of_index(next, range.end, &mut found)
            };
            let Source::Disk(disk) = source else { break };
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
        let mut found = EntryCollector::of_memory(max_bytes);
        let mut next = from;
        let (mut attempts, mut epoch) = (ReadAttempts::default(), ReadEpoch::default());
        while next < below && !found.is_full {
            let source = {
                let state = self.state.lock();
                if epoch.has_changed(&state) {
                    attempts.outdated(self.id)?;
                    (found, next) = (EntryCollector::of_memory(max_bytes), from);
                }
                state.source_of_offset(next, below, &mut found)
            };
            let Source::Disk(disk) = source else { break };
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
                None if outcome == ReadOutcome::Repeat => {}
                None => break, // the entry that holds `next` ends above `below`
            }
        }
        Ok(found.entries)
    }

    /// The latest append time of the records in the segment with this base index, read from its
    /// last entry with records if it is not known.
    // Append times do not go back, so that of the last entry with records is the latest. Entries
    // without records do not count: each election appends one, and the records of an idle partition
    // would never get old.
    pub(super) fn read_append_time(&self, base: LogIndex) -> Result<Option<i64>, StorageError> {
        let mut attempts = ReadAttempts::default();
        loop {
            let disk = {
                let mut state = self.state.lock();
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
                let entry = cached.next().filter(|entry| entry.base_offset <= last);
                if let Some(entry) = entry {
                    let found = Some(entry.proposal.append_time_ms);
                    drop(cached);
                    state.segments[at].learn_append_time(base, found);
                    return Ok(found);
                }
                drop(cached);
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
            if outcome == ReadOutcome::Repeat {
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
        let mut attempts = ReadAttempts::default();
        loop {
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
            let outcome = self.read_segment(&disk, &mut attempts, |disk| {
                self.walk(disk, HEADERS_CHUNK_BYTES, |walker, header| {
                    place = Some(EntryPlace {
                        position: walker.position(),
                        base_offset: header.base_offset,
                    });
                    walker.skip(header);
                    Ok(false)
                })
            })?;
            if outcome == ReadOutcome::Complete {
                return Ok(place);
            }
        }
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
            let payload = self.checked_payload(disk, walker, header)?;
            walker.skip(header);
            found.push(header.into_entry(payload), bytes);
            Ok(true)
        })
    }

    /// The payload of the walker's entry. Fails if its CRC does not match.
    pub(super) fn checked_payload(
        &self,
        disk: &DiskRange,
        walker: &mut Walker<'_>,
        header: &EntryHeader,
    ) -> Result<Bytes, DiskReadError> {
        let payload = walker
            .payload(header)
            .map_err(|source| self.read_error(disk, source))?;
        payload.ok_or_else(|| {
            DiskReadError::Invalid(
                walker.position(),
                Some(header.id.index),
                "payload CRC does not match",
            )
        })
    }
}

impl LogState {
    /// The source of the entries of `next..end`; those in the cache are collected.
    fn source_of_index(&self, next: LogIndex, end: LogIndex, found: &mut EntryCollector) -> Source {
        if next >= self.end_index() {
            return Source::End;
        }
        if self.cache.first_index().is_some_and(|first| first <= next) {
            let cached = self.cache.entries_from_index(next);
            found.extend(cached.take_while(|entry| entry.id.index < end));
            return Source::Cache;
        }
        self.segment_of(next).map_or(Source::End, |at| {
            Source::Disk(self.disk_range(ReadFrom::Index(next), at))
        })
    }

    /// The source of the entries of kind `Records` from the one that holds `next`, which end at or
    /// below `below`; those in the cache are collected.
    fn source_of_offset(&self, next: Offset, below: Offset, found: &mut EntryCollector) -> Source {
        if next >= self.next_offset {
            return Source::End;
        }
        if self.cache.first_offset().is_some_and(|first| first <= next) {
            let cached = self.cache.entries_from_offset(next);
            found.extend(
                cached
                    .filter(|entry| entry.proposal.kind == EntryKind::Records)
                    .take_while(|entry| entry.next_offset() <= below),
            );
            return Source::Cache;
        }
        // Without a segment, it was purged in the meantime.
        self.segment_of_offset(next).map_or(Source::End, |at| {
            Source::Disk(self.disk_range(ReadFrom::Offset(next), at))
        })
    }
}
