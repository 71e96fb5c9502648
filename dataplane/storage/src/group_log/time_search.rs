//! The search for the first batch with a record of a time or later.
//!
//! Timestamps come from clients and may be in any order, within a batch and across batches. The
//! time index holds maxima alone: a batch, or a segment, whose maximum is earlier than the time has
//! no such record and is skipped unread. All others are candidates in the order of the log.

use std::ops::Range;

use lograft_core::{Entry, EntryKind, LogIndex, Offset};

use super::disk_read::{DiskRange, ReadAttempts, ReadFrom, ReadOutcome};
use super::log_state::LogState;
use super::open_group::OpenGroup;
use super::read::HEADERS_CHUNK_BYTES;
use crate::error::StorageError;

/// A time and the offsets among which it is searched for.
#[derive(Clone, Copy)]
struct TimeSearch {
    time_ms: i64,
    from: Offset,
    below: Offset,
}

/// The places that may hold the batch, as of one state of the log.
struct Candidates {
    /// Parts of segment files, in order. They end where the cache starts.
    segments: Vec<DiskRange>,
    /// The first cached offset, if the cache may hold the batch.
    cached_from: Option<Offset>,
}

impl TimeSearch {
    fn matches(self, kind: EntryKind, next_offset: Offset, max_time_ms: i64) -> bool {
        kind == EntryKind::Records && next_offset > self.from && max_time_ms >= self.time_ms
    }

    fn in_cache(self, state: &LogState) -> Option<Entry> {
        let cached = state.cache.entries_from_offset(self.from);
        let mut below = cached.take_while(|entry| entry.base_offset < self.below);
        let is_found = |entry: &&Entry| {
            let proposal = &entry.proposal;
            self.matches(proposal.kind, entry.next_offset(), proposal.max_time_ms)
        };
        below.find(is_found).cloned()
    }
}

impl LogState {
    fn candidates(&self, search: TimeSearch) -> Candidates {
        let TimeSearch {
            time_ms,
            from: above,
            below,
        } = search;
        let cached_index = self.cache.first_index();
        let extents = self.segments.iter().enumerate();
        let late_enough = extents.filter(|(_, extent)| {
            extent.max_time_ms >= time_ms
                && extent.next_offset > above
                && extent.segment.base_offset < below
        });
        let is_cached = |end: LogIndex| cached_index.is_some_and(|first| first < end);
        let mut may_be_cached = false;
        let segments = late_enough
            .inspect(|(_, extent)| may_be_cached |= is_cached(extent.end_index()))
            .map(|(at, _)| self.disk_range(ReadFrom::Time { time_ms, above }, at))
            .collect();
        Candidates {
            segments,
            cached_from: self.cache.first_offset().filter(|_| may_be_cached),
        }
    }
}

impl OpenGroup {
    /// Finds the first batch that ends above the start of `offsets`, starts below their end, and
    /// has a record of `time_ms` or later.
    pub(super) fn find_time(
        &self,
        time_ms: i64,
        offsets: Range<Offset>,
    ) -> Result<Option<Entry>, StorageError> {
        let mut attempts = ReadAttempts::default();
        let mut search = TimeSearch {
            time_ms,
            from: offsets.start,
            below: offsets.end,
        };
        loop {
            let candidates = {
                let state = self.state.lock();
                // The cache may still hold batches of purged segments.
                search.from = search.from.max(state.first_offset());
                state.candidates(search)
            };
            let mut found = None;
            let outcome = self.find_on_disk(&candidates, search, &mut attempts, &mut found)?;
            if outcome == ReadOutcome::Repeat {
                continue;
            }
            let Some(cached_from) = candidates.cached_from.filter(|_| found.is_none()) else {
                return Ok(found);
            };
            // The cache is searched last, because it is locked meanwhile. What left it during the
            // search of the files is searched for in the files then.
            search.from = search.from.max(cached_from);
            let state = self.state.lock();
            let is_still_cached = |first: Offset| first <= cached_from;
            if state.cache.first_offset().is_some_and(is_still_cached) {
                return Ok(search.in_cache(&state));
            }
        }
    }

    fn find_on_disk(
        &self,
        candidates: &Candidates,
        search: TimeSearch,
        attempts: &mut ReadAttempts,
        found: &mut Option<Entry>,
    ) -> Result<ReadOutcome, StorageError> {
        for disk in &candidates.segments {
            let mut is_past_end = false;
            let outcome = self.read_segment(disk, attempts, |disk| {
                self.walk(disk, HEADERS_CHUNK_BYTES, |walker, header| {
                    is_past_end = header.base_offset >= search.below;
                    if is_past_end {
                        return Ok(false);
                    }
                    if search.matches(header.kind, header.next_offset(), header.max_time_ms) {
                        let payload = self.checked_payload(disk, walker, header)?;
                        *found = Some(header.into_entry(payload));
                        return Ok(false);
                    }
                    walker.skip(header);
                    Ok(true)
                })
            })?;
            if found.is_some() || is_past_end || outcome == ReadOutcome::Repeat {
                return Ok(outcome);
            }
        }
        Ok(ReadOutcome::Complete)
    }
}
