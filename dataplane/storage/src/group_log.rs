//! A group's log.

mod group_writer;
mod log_state;
mod read;
mod run_ops;
mod term_runs;
mod write_batch;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use lograft_core::limits::CACHE_COPY_MAX_BYTES;
use lograft_core::{Entry, GroupId, LogId, LogIndex, Offset, Term, Vote};
use parking_lot::Mutex;

use crate::checkpoint::Checkpoint;
use crate::error::{ReadError, StorageError};
use crate::format::decode_checkpoint;
use crate::hard_state::HardState;
use crate::op::{FlushCallback, Op};
use crate::storage_env::{Node, checkpoint_path};

use self::log_state::Context;
use self::read::Want;

pub(crate) use crate::tail_cache::CacheBudget;
pub(crate) use group_writer::{Active, GroupWriter};
pub(crate) use log_state::{LogState, SegmentSizes};
pub(crate) use term_runs::TermRuns;

/// What opening a group found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The group had no files yet.
    pub created: bool,
    /// What was cut off the log's end.
    pub torn: Option<TornTail>,
}

/// An unfinished write at the log's end, cut off at recovery. Its entries were never reported as
/// flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The index from which on entries are gone.
    pub index: LogIndex,
    /// Where in the segment's file it began, bytes.
    pub position: u64,
}

/// A segment as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The index of its first entry.
    pub base_index: LogIndex,
    /// Its last entry; that before the segment while it is empty.
    pub last: Option<LogId>,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last record.
    pub next_offset: Offset,
    /// Its file's part in use, bytes.
    pub bytes: u64,
    /// The greatest record time, milliseconds since the Unix epoch; `i64::MIN` without records.
    pub max_time_ms: i64,
    /// Whether it gets no more entries.
    pub sealed: bool,
}

/// The log of one raft group, and its hard state and checkpoints. Clones share it; every call may
/// come from any thread. Calls that change it return at once, with the change visible to all
/// readers; the group's writer brings the changes to disk in the order of the calls.
///
/// ```text
///   purged           flushed_index      last_id
///      |                   |               |
/// -----+===================+===============+
///       first_id            in memory only
/// ```
#[derive(Clone)]
pub struct GroupLog(pub(crate) Arc<Group>);

pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) node: Arc<Node>,
    pub(crate) state: Mutex<LogState>,
    pub(crate) writer: Mutex<GroupWriter>,
}

impl fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupLog").field(&self.0.id).finish()
    }
}

impl GroupLog {
    /// The group.
    pub fn id(&self) -> GroupId {
        self.0.id
    }

    /// The vote and committed id last saved.
    pub fn hard_state(&self) -> HardState {
        self.0.state.lock().hard
    }

    /// Saves the vote; `done` comes when it is on disk, after all that was appended before.
    pub fn save_vote(&self, vote: Vote, done: FlushCallback) {
        let mut state = self.0.state.lock();
        if let Err(error) = self.0.check_open(&state) {
            drop(state);
            return done(Err(error));
        }
        state.hard.vote = Some(vote);
        self.0.push(&state, [Op::SaveVote { vote, done }]);
    }

    /// Notes how far the log is committed; written with the next write, without a sync.
    pub fn save_committed(&self, committed: Option<LogId>) {
        let mut state = self.0.state.lock();
        state.hard.committed = committed;
        if !state.closed && !std::mem::replace(&mut state.committed_waits, true) {
            self.0.push(&state, [Op::SaveCommitted]);
        }
    }

    /// Puts entries at the log's end. They MUST follow it without a gap. A `base_offset` of 0 is
    /// replaced by the right one, any other must be the right one. On return they can be read;
    /// `done` comes when they are on disk. On an error nothing was appended, and `done` got the
    /// error too.
    pub fn append(&self, mut entries: Vec<Entry>, done: FlushCallback) -> Result<(), StorageError> {
        for entry in &mut entries {
            unpin(&mut entry.proposal.payload);
        }
        let mut ops = Vec::with_capacity(1);
        let mut state = self.0.state.lock();
        let result = match self.0.check_open(&state) {
            Ok(()) => state.append(entries, done, &self.0.context(), &mut ops),
            Err(error) => Err((error, done)),
        };
        match result {
            Ok(()) => {
                self.0.push(&state, ops);
                if !std::mem::replace(&mut state.is_caching, true) {
                    self.0.node.note_caching(&self.0);
                }
                Ok(())
            }
            Err((error, done)) => {
                drop(state);
                done(Err(error.clone()));
                Err(error)
            }
        }
    }

    /// Drops all entries after `keep`; `None` drops all. Calls that change the log's end must
    /// not come at the same moment.
    pub fn truncate_after(&self, keep: Option<LogId>) -> Result<(), StorageError> {
        let cut = {
            let state = self.0.state.lock();
            self.0.check_open(&state)?;
            state.cut_index(keep)
        };
        let Some(index) = cut else { return Ok(()) };
        let Some(place) = self.0.locate(index)? else {
            return Ok(());
        };
        let mut state = self.0.state.lock();
        let truncation = state.truncate_from(index, place, &self.0.context());
        self.0.push(&state, [Op::Truncate(Box::new(truncation))]);
        Ok(())
    }

    /// Forgets the entries up to `id`, inclusive. Files go segment by segment, once a checkpoint
    /// covers them; the last segment always stays. An id beyond the end empties the log, which
    /// then goes on after it; where there is a snapshot, [`Self::reset_to`] is the right call.
    pub fn purge_to(&self, id: LogId) {
        let mut state = self.0.state.lock();
        if state.closed {
            return;
        }
        let op = match state.purge_to(id, &self.0.context()) {
            Some(reset) => Some(Op::Reset(Box::new(reset))),
            None => state.take_purged(),
        };
        self.0.push(&state, op);
    }

    /// Empties the log, which goes on after `checkpoint.last`, from `checkpoint.next_offset`: a
    /// snapshot was installed. `done` comes when that is on disk.
    pub fn reset_to(&self, checkpoint: Checkpoint, done: FlushCallback) {
        let mut state = self.0.state.lock();
        if let Err(error) = self.0.check_open(&state) {
            drop(state);
            return done(Err(error));
        }
        let reset = state.reset_to(checkpoint, &self.0.context(), done);
        self.0.push(&state, [Op::Reset(Box::new(reset))]);
    }

    /// The first entry that is not purged; `None` while the log is empty.
    pub fn first_id(&self) -> Option<LogId> {
        let state = self.0.state.lock();
        let index = state.begin();
        Some(LogId {
            term: state.term_at(index)?,
            index,
        })
    }

    /// The last entry, or the last purged one if none is left; `None` if there never was any.
    pub fn last_id(&self) -> Option<LogId> {
        self.0.state.lock().last
    }

    /// The last entry purged.
    pub fn purged_id(&self) -> Option<LogId> {
        self.0.state.lock().purged
    }

    /// The term of the entry at `index`, also of the last purged one.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.0.state.lock().term_at(index)
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        self.0.state.lock().next_offset
    }

    /// The first offset in the files. The partition's log start may be above it, never below.
    pub fn first_offset(&self) -> Offset {
        let state = self.0.state.lock();
        state
            .segments
            .front()
            .map_or(state.next_offset, |filled| filled.segment.base_offset)
    }

    /// The last entry that is on disk.
    pub fn flushed_index(&self) -> Option<LogIndex> {
        self.0.state.lock().flushed_end.prev()
    }

    /// The entries of `range`, from its start on: at most `max_bytes` of payload, but at least
    /// one entry if the log has any there. Fewer than asked for if the log ends before.
    pub fn read(
        &self,
        range: Range<LogIndex>,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.0.read_range(range, max_bytes, Want::Whole)
    }

    /// Whether a read that begins at `index` needs no file.
    pub fn is_cached(&self, index: LogIndex) -> bool {
        let state = self.0.state.lock();
        state.cache.first().is_some_and(|first| first <= index)
    }

    /// All entries of `range`, but those of kind `Records` may come without their payload (it is
    /// then empty, CRC and count are right). For apply, which needs no records.
    pub fn read_meta(&self, range: Range<LogIndex>) -> Result<Vec<Entry>, StorageError> {
        self.0.read_range(range, usize::MAX, Want::Meta)
    }

    /// Entries of kind `Records`: the first one holds `from`, all end at or before `below`; at
    /// most `max_bytes` of payload, but at least one entry if there is any.
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
        self.0
            .read_records(from, below, max_bytes)
            .map_err(|source| ReadError::Storage { group, source })
    }

    /// The first offset that is read from memory; `None` if nothing is.
    pub fn cached_from(&self) -> Option<Offset> {
        self.0.state.lock().cache.first_offset()
    }

    /// The base offset of the first batch below `below` that holds a record of `time_ms` or
    /// later (milliseconds since the Unix epoch).
    pub fn offset_for_time(
        &self,
        time_ms: i64,
        below: Offset,
    ) -> Result<Option<Offset>, StorageError> {
        self.0.find_time(time_ms, below)
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let state = self.0.state.lock();
        let count = state.segments.len();
        let infos = state
            .segments
            .iter()
            .enumerate()
            .map(|(nth, filled)| SegmentInfo {
                base_index: filled.segment.base,
                last: filled.last,
                base_offset: filled.segment.base_offset,
                next_offset: filled.next_offset,
                bytes: filled.end_position,
                max_time_ms: filled.max_time_ms,
                sealed: nth + 1 < count,
            });
        infos.collect()
    }

    /// What the segments take on disk, bytes.
    pub fn bytes_on_disk(&self) -> u64 {
        self.0
            .state
            .lock()
            .segments
            .iter()
            .map(|filled| filled.end_position)
            .sum()
    }

    /// The first index above `applied` at which a segment ends. When the state machine has
    /// applied exactly up to there, it hands in a checkpoint. `None` until the segment that holds
    /// `applied` is sealed.
    pub fn next_checkpoint_after(&self, applied: Option<LogIndex>) -> Option<LogIndex> {
        let state = self.0.state.lock();
        let next = applied.map_or(LogIndex::ZERO, LogIndex::next);
        let sealed = state.segments.len().checked_sub(1)?;
        let slot = state.slot_of(next)?;
        (slot < sealed)
            .then(|| state.segments[slot].last)?
            .map(|last| last.index)
    }

    /// Keeps a checkpoint. It can be read at once, and is written in the background.
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

    /// The newest checkpoint.
    pub fn latest_checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint_at_or_below(LogIndex(u64::MAX))
    }

    /// The newest checkpoint whose last entry is at or below `index`. One whose file turns out
    /// to be damaged is passed over.
    pub fn checkpoint_at_or_below(&self, index: LogIndex) -> Option<Checkpoint> {
        let candidates: Vec<(LogIndex, Option<Arc<Checkpoint>>)> = {
            let state = self.0.state.lock();
            let below = state.checkpoints.range(..=index).rev();
            below.map(|(last, held)| (*last, held.clone())).collect()
        };
        candidates.into_iter().find_map(|(last, held)| match held {
            Some(checkpoint) => Some(Checkpoint::clone(&checkpoint)),
            None => self.0.load_checkpoint(last),
        })
    }
}

impl Group {
    fn context(&self) -> Context<'_> {
        Context {
            budget: &self.node.budget,
            fs: self.node.fs.as_ref(),
        }
    }

    fn check_open(&self, state: &LogState) -> Result<(), StorageError> {
        if state.closed {
            return Err(StorageError::Closed(self.id));
        }
        self.node.stopped().map_or(Ok(()), Err)
    }

    /// Hands tasks to the writer. The state stays locked meanwhile, so that tasks come in the
    /// order of the changes.
    fn push(self: &Arc<Self>, _state: &LogState, ops: impl IntoIterator<Item = Op>) {
        self.node.lane(self.id).push(self, ops);
    }

    fn load_checkpoint(&self, last: LogIndex) -> Option<Checkpoint> {
        let path = checkpoint_path(&self.node.group_dir(self.id), last);
        let bytes = self.node.read_file(&path).ok()??;
        decode_checkpoint(&bytes, self.id, self.node.cluster_id()?)
    }

    /// Refuses all further calls and waits until the tasks so far are done.
    pub(crate) fn close(self: &Arc<Self>) -> Result<(), StorageError> {
        let (done, result) = mpsc::channel();
        {
            let mut state = self.state.lock();
            state.closed = true;
            let barrier = move |outcome| {
                let _ = done.send(outcome); // the other side waits below
            };
            self.push(&state, [Op::Close(Box::new(barrier))]);
        }
        self.node.step_if_manual();
        result.recv().unwrap_or(Err(StorageError::Closed(self.id)))
    }
}

/// A small payload is copied: as a slice it would keep the whole receive buffer alive.
fn unpin(payload: &mut Bytes) {
    if !payload.is_empty() && payload.len() <= CACHE_COPY_MAX_BYTES {
        *payload = Bytes::copy_from_slice(payload);
    }
}
