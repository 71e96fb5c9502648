//! The log of one raft group.

mod append;
mod disk_read;
mod group_writer;
mod info;
mod log_state;
mod new_file;
mod open_group;
mod parked;
mod read;
mod run_ops;
mod term_runs;
mod time_search;
mod truncate;
mod write_batch;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lograft_core::limits::{CACHE_COPY_MAX_BYTES, FLUSH_LAG_MAX, READ_LAG_MAX};
use lograft_core::{DiskMark, Entry, GroupId, LogId, LogIndex, Offset, Term, Vote};

use self::read::ReadParts;
use crate::checkpoint::Checkpoint;
use crate::config::ReadLane;
use crate::error::{Damage, ReadError, StorageError};
use crate::hard_state::HardState;
use crate::op::{FlushCallback, Op};
use crate::write_budget::WriteBudget;

pub(crate) use group_writer::{ActiveSegment, GroupWriter};
pub use info::{Recovered, SegmentInfo, TornTail};
pub(crate) use log_state::{LogState, SegmentSizes};
pub(crate) use open_group::OpenGroup;
pub(crate) use term_runs::TermRuns;

/// The log of one raft group, with its hard state and checkpoints. Clones share it, and any thread
/// may call it. Calls that change it return at once, with the change visible to all readers; the
/// writer of the group brings the changes to disk in the order of the calls.
///
/// ```text
///   purged           flushed_index      last_id
///      |                   |               |
/// -----+===================+===============+
///       first_id            in memory only
/// ```
#[derive(Clone)]
pub struct GroupLog(pub(crate) Arc<OpenGroup>);

impl fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupLog").field(&self.0.id).finish()
    }
}

impl GroupLog {
    /// The id of the group.
    pub fn id(&self) -> GroupId {
        self.0.id
    }

    /// The vote and the committed id last saved, on disk or not.
    pub fn hard_state(&self) -> HardState {
        self.0.state.lock().hard
    }

    /// Saves the vote; `done` is called when it is on disk, after all earlier appends. The vote
    /// MUST NOT be sent to a candidate before that: a crash could make this replica vote twice in
    /// one term.
    pub fn save_vote(&self, vote: Vote, done: FlushCallback) {
        let mut state = self.0.state.lock();
        if let Err(error) = self.0.check_writable(&state) {
            drop(state);
            return done(Err(error));
        }
        state.hard.vote = Some(vote);
        self.0.push(&state, [Op::SaveVote { vote, done }]);
    }

    /// Saves how far the log is committed: written soon, without a sync. After a crash the saved id
    /// may be older.
    pub fn save_committed(&self, committed: Option<LogId>) {
        let mut state = self.0.state.lock();
        state.hard.committed = committed;
        if !state.closed && !std::mem::replace(&mut state.committed_queued, true) {
            self.0.push(&state, [Op::SaveCommitted]);
        }
    }

    /// Appends entries. They MUST continue the log without a gap. A `base_offset` of 0 is replaced
    /// by the next offset; any other value must be the next offset. On return the entries can be
    /// read; `done` is called when they are on disk. On an error nothing was appended, and `done`
    /// was called with the error too.
    pub fn append(&self, mut entries: Vec<Entry>, done: FlushCallback) -> Result<(), StorageError> {
        for entry in &mut entries {
            copy_small_payload(&mut entry.proposal.payload);
        }
        let mut ops = Vec::with_capacity(1);
        let mut state = self.0.state.lock();
        let result = match self.0.check_writable(&state) {
            Ok(()) => state.append(entries, done, &self.0.state_inputs(), &mut ops),
            Err(error) => Err((error, done)),
        };
        match result {
            Ok(()) => {
                self.0.push(&state, ops);
                self.0.register_cache(&mut state);
                Ok(())
            }
            Err((error, done)) => {
                drop(state);
                done(Err(error.clone()));
                Err(error)
            }
        }
    }

    /// Removes all entries after `keep`; `None` removes all. Calls that change the end of the log
    /// MUST NOT run concurrently with it. Fails if the group is closed, if the node has stopped
    /// writing, or if the place of the cut cannot be read.
    pub fn truncate_after(&self, keep: Option<LogId>) -> Result<(), StorageError> {
        let first_truncated = {
            let state = self.0.state.lock();
            self.0.check_writable(&state)?;
            state.first_truncated(keep)
        };
        let Some(index) = first_truncated else {
            return Ok(());
        };
        let Some(place) = self.0.entry_place(index)? else {
            return Ok(());
        };
        let mut state = self.0.state.lock();
        let truncation = state.truncate_from(index, place, &self.0.state_inputs());
        self.0.push(&state, [Op::Truncate(Box::new(truncation))]);
        drop(state);
        // The cut may have taken the last append time with it. A failure is met again when it is
        // needed.
        let _ = self.last_append_time();
        Ok(())
    }

    /// Purges the entries up to `id` (inclusive). Files are removed segment by segment, once a
    /// checkpoint covers them; the last segment stays. An `id` beyond the end empties the log,
    /// which then continues after it; to install a snapshot, call [`Self::reset_to`] instead.
    pub fn purge_to(&self, id: LogId) {
        let mut state = self.0.state.lock();
        if state.closed {
            return;
        }
        let op = match state.purge_to(id, &self.0.state_inputs()) {
            Some(reset) => Some(Op::Reset(Box::new(reset))),
            None => state.take_purged(),
        };
        self.0.push(&state, op);
    }

    /// Empties the log, because a snapshot was installed. The log continues after
    /// `checkpoint.last`, at `checkpoint.next_offset`. `done` is called when that is on disk.
    pub fn reset_to(&self, checkpoint: Checkpoint, done: FlushCallback) {
        let mut state = self.0.state.lock();
        if let Err(error) = self.0.check_writable(&state) {
            drop(state);
            return done(Err(error));
        }
        let reset = state.reset_to(checkpoint, &self.0.state_inputs(), done);
        self.0.push(&state, [Op::Reset(Box::new(reset))]);
    }

    /// The first entry that is not purged; `None` if the log is empty.
    pub fn first_id(&self) -> Option<LogId> {
        let state = self.0.state.lock();
        let index = state.first_index();
        Some(LogId {
            term: state.term_at(index)?,
            index,
        })
    }

    /// The last entry, or the last purged one if the log is empty; `None` if there never was one.
    pub fn last_id(&self) -> Option<LogId> {
        self.0.state.lock().last
    }

    /// The last purged entry.
    pub fn purged_id(&self) -> Option<LogId> {
        self.0.state.lock().purged
    }

    /// The term of the entry at `index`; also known for the last purged entry.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.0.state.lock().term_at(index)
    }

    /// The offset of the next record (the exclusive end of the log).
    pub fn log_end_offset(&self) -> Offset {
        self.0.state.lock().next_offset
    }

    /// The first offset in the files. The log start offset of the partition may be above it, never
    /// below.
    pub fn first_offset(&self) -> Offset {
        self.0.state.lock().first_offset()
    }

    /// The last entry that is on disk.
    pub fn flushed_index(&self) -> Option<LogIndex> {
        self.0.state.lock().flushed_end.prev()
    }

    /// Runs reads of this log on a thread for reads, where they may wait for the disk. `done` is
    /// called there with their result; it is dropped uncalled if the storage is dropped before.
    /// Fails with [`StorageError::ReadsBusy`], after which the caller may retry.
    pub fn run_read<T>(
        &self,
        lane: ReadLane,
        read: impl FnOnce(&Self) -> T + Send + 'static,
        done: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), StorageError> {
        let log = self.clone();
        self.0.env.run_read(lane, move || {
            let result = read(&log);
            // The log first: its caller may close the group as soon as it has the result.
            drop(log);
            done(result);
        })
    }

    /// The age of the oldest write of this group's writer that is not on disk, or the time for
    /// which writes of the group have been waiting for room. Makes no call to the disk.
    pub fn flush_lag(&self) -> Duration {
        let parked = self.0.state.lock().parked_since;
        let parked = parked.map_or(Duration::ZERO, |since| since.elapsed());
        self.0.env.delay_of(self.0.id).lag.max(parked)
    }

    /// Whether writes of this group wait for room on the disk.
    pub fn waits_for_room(&self) -> bool {
        self.0.state.lock().parked_since.is_some()
    }

    /// Whether the disk lags so far that this replica must not lead: a write of it has not been
    /// flushed for `limits::FLUSH_LAG_MAX`, or a read for replication or for the state machine of
    /// any group has been running for `limits::READ_LAG_MAX`. Makes no call to the disk.
    pub fn disk_lags(&self) -> bool {
        self.flush_lag() >= FLUSH_LAG_MAX || self.0.env.raft_read_lag() >= READ_LAG_MAX
    }

    /// The room on the disk at the last check. Makes no call to the disk.
    pub fn disk_mark(&self) -> DiskMark {
        self.0.env.room.mark()
    }

    /// The budget of unflushed bytes, which all groups share.
    pub fn write_budget(&self) -> &Arc<WriteBudget> {
        &self.0.env.write_budget
    }

    /// Reads entries of `range` from its start, up to `max_bytes` of payload, but at least one if
    /// the log has any. Purged entries at its start are skipped. All entries are consecutive and
    /// of one state of the log, also if it is truncated or purged during the read.
    ///
    /// Fails with [`StorageError::Corrupt`] if the files are damaged; the caller may retry if
    /// [`StorageError::is_retryable`] holds.
    pub fn read(
        &self,
        range: Range<LogIndex>,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.0.read_range(range, max_bytes, ReadParts::All)
    }

    /// Whether a read that starts at `index` is served from memory alone.
    pub fn is_cached(&self, index: LogIndex) -> bool {
        let state = self.0.state.lock();
        state
            .cache
            .first_index()
            .is_some_and(|first| first <= index)
    }

    /// Reads all entries of `range` for apply, which needs no records: entries of kind `Records`
    /// may have an empty payload; their CRC and record count are kept.
    pub fn read_meta(&self, range: Range<LogIndex>) -> Result<Vec<Entry>, StorageError> {
        self.0.read_range(range, usize::MAX, ReadParts::Metadata)
    }

    /// Reads entries of kind `Records`. The first one holds `from`, all of them end at or below
    /// `below` (exclusive); up to `max_bytes` of payload and `BATCH_READ_BYTES` for each, but at
    /// least one entry if there is any.
    /// Fails with [`ReadError::Purged`] if `from` is below [`Self::first_offset`].
    pub fn read_from_offset(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let (group, start) = (self.0.id, self.first_offset());
        if from < start {
            return Err(ReadError::Purged { group, from, start });
        }
        let entries = self
            .0
            .read_records(from, below, max_bytes)
            .map_err(|source| ReadError::Storage { group, source })?;
        let start = self.first_offset();
        if entries.is_empty() && from < start {
            return Err(ReadError::Purged { group, from, start }); // during the read
        }
        Ok(entries)
    }

    /// The first cached offset; `None` if nothing is cached.
    pub fn cached_from(&self) -> Option<Offset> {
        self.0.state.lock().cache.first_offset()
    }

    /// The first batch with a record of `time_ms` or later (milliseconds since the Unix epoch), of
    /// those that end above `offsets.start` and start below `offsets.end`. The record may be before
    /// `offsets.start`. Timestamps may be in any order.
    ///
    /// Fails as [`Self::read`] does.
    pub fn batch_for_time(
        &self,
        time_ms: i64,
        offsets: Range<Offset>,
    ) -> Result<Option<Entry>, StorageError> {
        self.0.find_time(time_ms, offsets)
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let state = self.0.state.lock();
        let count = state.segments.len();
        let infos = state
            .segments
            .iter()
            .enumerate()
            .map(|(nth, extent)| SegmentInfo {
                base_index: extent.segment.base,
                last: extent.last,
                base_offset: extent.segment.base_offset,
                next_offset: extent.next_offset,
                bytes: extent.end_position,
                max_time_ms: extent.max_time_ms,
                append_time_ms: extent.append_time_ms,
                sealed: nth + 1 < count,
            });
        infos.collect()
    }

    /// The latest append time of the records in the segment with this base index, read from its
    /// last entries if it is not known; `None` without records, or if there is no such segment.
    /// Fails if the segment cannot be read.
    pub fn read_append_time(&self, base: LogIndex) -> Result<Option<i64>, StorageError> {
        self.0.read_append_time(base)
    }

    /// The latest append time of the records in the last segment with records, read if it is not
    /// known; `None` if the log has no records. Fails if the segment cannot be read.
    pub fn last_append_time(&self) -> Result<Option<i64>, StorageError> {
        self.last_with_records().map_or(Ok(None), |(base, known)| {
            known.map_or_else(|| self.read_append_time(base), |known| Ok(Some(known)))
        })
    }

    /// Whether [`Self::last_append_time`] makes no call to the disk. It does only after a failed
    /// read: the time is read when the log is opened and when it is truncated.
    pub fn is_last_append_time_known(&self) -> bool {
        self.last_with_records()
            .is_none_or(|(_, known)| known.is_some())
    }

    /// The base index of the last segment with records, and the latest append time of those, if it
    /// is known.
    fn last_with_records(&self) -> Option<(LogIndex, Option<i64>)> {
        let state = self.0.state.lock();
        let mut extents = state.segments.iter().rev();
        let last = extents.find(|extent| extent.next_offset > extent.segment.base_offset)?;
        Some((last.segment.base, last.append_time_ms))
    }

    /// The length of all segments on disk, bytes.
    pub fn bytes_on_disk(&self) -> u64 {
        self.0
            .state
            .lock()
            .segments
            .iter()
            .map(|extent| extent.end_position)
            .sum()
    }

    /// The first index above `applied` at which a sealed segment ends; `None` if the next entry to
    /// apply is in the active segment. When the state machine has applied exactly up to the index,
    /// the caller passes a checkpoint to [`Self::put_checkpoint`].
    pub fn next_checkpoint_after(&self, applied: Option<LogIndex>) -> Option<LogIndex> {
        let state = self.0.state.lock();
        let next = applied.map_or(LogIndex::ZERO, LogIndex::next);
        let sealed_count = state.segments.len().checked_sub(1)?;
        let at = state.segment_of(next)?;
        (at < sealed_count)
            .then(|| state.segments[at].last)?
            .map(|last| last.index)
    }

    /// Stores a checkpoint. It can be read at once, and is written in the background.
    pub fn put_checkpoint(&self, checkpoint: Checkpoint) {
        let checkpoint = Arc::new(checkpoint);
        let mut state = self.0.state.lock();
        if state.closed {
            return;
        }
        state
            .checkpoints
            .insert(checkpoint.last.index, Some(Arc::clone(&checkpoint)));
        self.0.push(&state, [Op::PutCheckpoint(checkpoint)]);
    }

    /// The newest checkpoint. Fails as [`Self::checkpoint_at_or_below`] does.
    pub fn latest_checkpoint(&self) -> Result<Option<Checkpoint>, StorageError> {
        self.checkpoint_at_or_below(LogIndex(u64::MAX))
    }

    /// The newest checkpoint whose last entry is at or below `index`. Damaged checkpoints are
    /// skipped. Fails if the host has no resources for the read; the caller may retry.
    pub fn checkpoint_at_or_below(
        &self,
        index: LogIndex,
    ) -> Result<Option<Checkpoint>, StorageError> {
        let candidates: Vec<(LogIndex, Option<Arc<Checkpoint>>)> = {
            let state = self.0.state.lock();
            let below = state.checkpoints.range(..=index).rev();
            below.map(|(last, held)| (*last, held.clone())).collect()
        };
        for (last, held) in candidates {
            let found = match held {
                Some(checkpoint) => Some(Checkpoint::clone(&checkpoint)),
                None => self.0.load_checkpoint(last)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first damage of the group's files that a read has met; `None` if they are sound as far
    /// as is known. The replica MUST be set aside then ([`crate::Storage::set_aside_group`]) and
    /// replicated again: it cannot give others the entries that it has acknowledged.
    pub fn damage(&self) -> Option<&Damage> {
        self.0.damage()
    }

    /// Records damage that only the layers above can find, for example a state that no checkpoint
    /// holds any more. Returns it as an error.
    pub fn report_damage(&self, what: &'static str) -> StorageError {
        self.0.damaged(Damage {
            path: self.0.env.group_dir(self.0.id),
            position: 0,
            index: None,
            what,
        })
    }
}

/// Copies a small payload into a buffer of its own.
// A payload is a slice of the buffer in which it was received. In the tail cache, a small slice
// would keep the whole buffer alive: far more memory than the cache budget accounts for.
fn copy_small_payload(payload: &mut Bytes) {
    if !payload.is_empty() && payload.len() <= CACHE_COPY_MAX_BYTES {
        *payload = Bytes::copy_from_slice(payload);
    }
}
