//! openraft's log store over a [`GroupLog`].
//!
//! RaftCore awaits `append`, `truncate_after`, `purge` and `save_committed` inline, so these only
//! hand work to the group's writer. The one flush that is waited for is a vote's.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use lograft_core::limits::{APPEND_MAX_BYTES, APPLY_CHUNK_MAX_COUNT};
use lograft_core::{Entry, LogId, LogIndex, Term};
use lograft_storage::{GroupLog, StorageError};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use crate::convert::{
    entry_to_raft, log_id_from_raft, log_id_to_raft, vote_from_raft, vote_to_raft,
};
use crate::fence::Gate;
use crate::types::{RaftEntry, RaftLogId, RaftVote, Types};

/// The log of one group, for raft to write and read.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: GroupLog,
    gate: Gate,
}

impl LogStore {
    pub(crate) fn new(log: GroupLog) -> Self {
        Self {
            log,
            gate: Gate::default(),
        }
    }

    /// The bounds of a range as `[start, end)`, cut to what the log holds.
    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(n) => *n,
            Bound::Excluded(n) => n.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(n) => n.saturating_add(1),
            Bound::Excluded(n) => *n,
            Bound::Unbounded => u64::MAX,
        };
        let first = self.log.purged_id().map_or(0, |id| id.index.get() + 1);
        let next = self.log.last_id().map_or(0, |id| id.index.get() + 1);
        (start.max(first), end.min(next))
    }

    fn term_at(&self, index: u64) -> io::Result<Term> {
        self.log
            .term_at(LogIndex(index))
            .ok_or_else(|| io::Error::other(format!("entry {index} is not in the log")))
    }
}

pub(crate) fn to_raft(entries: Vec<Entry>) -> io::Result<Vec<RaftEntry>> {
    entries
        .into_iter()
        .map(|entry| entry_to_raft(entry).map_err(io::Error::other))
        .collect()
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (mut next, end) = self.bounds(&range);
        let mut entries = Vec::new();
        while next < end {
            let chunk = self
                .log
                .read(LogIndex(next)..LogIndex(end), APPEND_MAX_BYTES)
                .map_err(io::Error::other)?;
            let Some(last) = chunk.last() else { break };
            next = last.id.index.get() + 1;
            entries.extend(to_raft(chunk)?);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.log.hard_state().vote.map(vote_to_raft))
    }

    /// Nothing if `start` has been purged meanwhile: the request is then a mere heartbeat, where
    /// later entries behind the same `prev` would be a hole.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        let range = LogIndex(start)..LogIndex(end);
        let entries = if self.log.is_cached(range.start) {
            self.log.read(range, APPEND_MAX_BYTES)
        } else {
            // A follower that is far behind: the disk must not hold up the runtime's threads.
            let log = self.log.clone();
            let read = move || log.read(range, APPEND_MAX_BYTES);
            tokio::task::spawn_blocking(read)
                .await
                .map_err(io::Error::other)?
        };
        let entries = entries.map_err(io::Error::other)?;
        if entries
            .first()
            .is_some_and(|first| first.id.index.get() != start)
        {
            return Ok(Vec::new());
        }
        to_raft(entries)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (next, end) = self.bounds(&range);
        AppliedEntries {
            log: self.log.clone(),
            next,
            end,
            chunk: Vec::new().into_iter(),
        }
    }

    /// The last entry of each term. (The trait's words speak of the first; what openraft builds of
    /// them, and its suite, are about the last.)
    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<RaftLogId>,
    ) -> io::Result<Vec<RaftLogId>> {
        let last = log_id_from_raft(range.end());
        let mut begin = log_id_from_raft(range.start());
        let mut keys = Vec::new();
        while begin.term < last.term {
            // The first index of a later term: what is below `low` is of `begin`'s term, and
            // `high` is not.
            let (mut low, mut high) = (begin.index.get() + 1, last.index.get());
            while low < high {
                let middle = low + (high - low) / 2;
                if self.term_at(middle)? > begin.term {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            keys.push(LogId {
                term: begin.term,
                index: LogIndex(low - 1),
            });
            begin = LogId {
                term: self.term_at(low)?,
                index: LogIndex(low),
            };
        }
        keys.push(last);
        Ok(keys.into_iter().map(log_id_to_raft).collect())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let purged = self.log.purged_id();
        Ok(LogState {
            last_purged_log_id: purged.map(log_id_to_raft),
            last_log_id: self.log.last_id().or(purged).map(log_id_to_raft),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let (done, flushed) = oneshot::channel();
        self.log.save_vote(
            vote_from_raft(vote),
            Box::new(move |result| {
                done.send(result).ok();
            }),
        );
        wait_flushed(flushed).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        self.log
            .save_committed(committed.as_ref().map(log_id_from_raft));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.log.hard_state().committed.map(log_id_to_raft))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        let mut next_offset = self.log.log_end_offset();
        let entries = entries
            .into_iter()
            .map(|entry| {
                let entry = self.gate.pass(entry, next_offset);
                next_offset = next_offset.plus(entry.proposal.record_count);
                entry
            })
            .collect();
        let done = Box::new(move |result: Result<(), StorageError>| {
            callback.io_completed(result.map_err(io::Error::other));
        });
        self.log.append(entries, done).map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        self.log
            .truncate_after(last.as_ref().map(log_id_from_raft))
            .map_err(io::Error::other)
    }

    async fn purge(&mut self, up_to: RaftLogId) -> io::Result<()> {
        self.log.purge_to(log_id_from_raft(&up_to));
        Ok(())
    }
}

/// Waits for the group's writer, also when storage has stopped and dropped the callback.
pub(crate) async fn wait_flushed(
    flushed: oneshot::Receiver<Result<(), StorageError>>,
) -> io::Result<()> {
    match flushed.await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => Err(io::Error::other("storage has stopped")),
    }
}

/// Committed entries for the state machine, without the payloads of records, read in chunks.
struct AppliedEntries {
    log: GroupLog,
    next: u64,
    end: u64,
    chunk: std::vec::IntoIter<Entry>,
}

impl Stream for AppliedEntries {
    type Item = io::Result<RaftEntry>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.chunk.len() == 0 && this.next < this.end {
            let end = this.end.min(this.next + APPLY_CHUNK_MAX_COUNT);
            match this.log.read_meta(LogIndex(this.next)..LogIndex(end)) {
                Ok(chunk) => this.chunk = chunk.into_iter(),
                Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            }
        }
        let item = this.chunk.next().map(|entry| {
            this.next = entry.id.index.get() + 1;
            entry_to_raft(entry).map_err(io::Error::other)
        });
        Poll::Ready(item)
    }
}
