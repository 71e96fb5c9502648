//! openraft's log storage, implemented on a [`GroupLog`].
//!
//! openraft's core task awaits `append`, `truncate_after`, `purge` and `save_committed` inline, so
//! these only queue work for the group's writer. Only `save_vote` waits for a flush.
//!
//! The writer executes votes, appends and truncations of a group in the order of the calls, as
//! openraft requires: a vote that was saved before an append is on disk before it. Otherwise a
//! crash could keep an entry and lose the vote of its leader's term, and the restarted replica
//! could vote for another candidate in that term.
//!
//! A read for which the host has no descriptor or memory is repeated until it succeeds: an error
//! would end openraft's core, and the log is sound. A read that meets damage ends the core where it
//! needs the entry (apply, truncation, start), and only stops the replication to one follower where
//! it does not. The log remembers the damage ([`GroupLog::damage`]), so that the replica is set
//! aside in both cases.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds, RangeInclusive};

use bytes::Bytes;
use futures_util::{Stream, stream};
use lograft_core::limits::{APPEND_MAX_BYTES, APPLY_CHUNK_MAX_COUNT, LOG_READ_RETRY_INTERVAL};
use lograft_core::{Entry, EntryKind, LogId, LogIndex, Offset, Proposal, Term};
use lograft_storage::{GroupLog, StorageError};
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use crate::convert::{
    entry_from_raft, entry_to_raft, log_id_from_raft, log_id_to_raft, vote_from_raft, vote_to_raft,
};
use crate::fence::FenceCheck;
use crate::flush::flushed;
use crate::read::read_for_raft;
use crate::types::{RaftEntry, RaftLogId, RaftVote, Types};

/// The log of one group, as openraft's core writes it and its replication tasks read it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: GroupLog,
    /// Used by the writing clone only.
    fences: FenceCheck,
}

impl LogStore {
    pub(crate) fn new(log: GroupLog) -> Self {
        Self {
            log,
            fences: FenceCheck::default(),
        }
    }

    /// The bounds of a range as `[start, end)`, limited to the entries in the log.
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

/// Converts a new entry for the log. A proposal that its fence does not admit is voided.
fn fenced_entry(fences: &mut FenceCheck, entry: RaftEntry, next_offset: Offset) -> Entry {
    // A voided proposal becomes a blank entry: it takes an index and no offset, so that the offsets
    // of the log stay without gaps. Voiding is safe because it happens before the entry is written
    // or sent: all replicas store the same blank entry, the proposer gets `Response::None`, and the
    // records were acknowledged to no client. Only a leader's own proposals carry a fence; entries
    // from a peer or from disk have none, so a follower never voids an entry by itself.
    let fence = match &entry.payload {
        EntryPayload::Normal(data) => data.fence,
        EntryPayload::Blank | EntryPayload::Membership(_) => None,
    };
    let mut entry = entry_from_raft(entry);
    if let Some(fence) = fence
        && !fences.admits(fence, next_offset)
    {
        let append_time_ms = entry.proposal.append_time_ms;
        entry.proposal = Proposal::control(EntryKind::Blank, append_time_ms, Bytes::new());
    }
    entry
}

/// Runs a read on a thread for reads, and repeats it while the host has no resources for it.
async fn patiently<T: Send + 'static>(
    log: &GroupLog,
    read: impl Fn(&GroupLog) -> Result<T, StorageError> + Clone + Send + 'static,
) -> Result<T, StorageError> {
    loop {
        let result = read_for_raft(log, read.clone()).await;
        match result.and_then(|read| read) {
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(LOG_READ_RETRY_INTERVAL).await;
            }
            outcome => return outcome,
        }
    }
}

fn to_raft(entries: Vec<Entry>) -> io::Result<Vec<RaftEntry>> {
    entries
        .into_iter()
        .map(|entry| entry_to_raft(entry).map_err(io::Error::other))
        .collect()
}

/// Reads entries of a range from its start: from the cache at once, else on a thread for reads.
async fn read_entries(log: &GroupLog, range: Range<LogIndex>) -> Result<Vec<Entry>, StorageError> {
    if log.is_cached(range.start) {
        return log.read(range, APPEND_MAX_BYTES);
    }
    patiently(log, move |log| log.read(range.clone(), APPEND_MAX_BYTES)).await
}

impl RaftLogReader<Types> for LogStore {
    // openraft calls this only at the start, to apply committed entries and to find the membership:
    // it needs no records, so their payloads are neither read nor returned. Entries to send come
    // from `limited_get_log_entries`.
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (mut next, end) = self.bounds(&range);
        let mut entries = Vec::new();
        while next < end {
            let chunk_end = end.min(next + APPLY_CHUNK_MAX_COUNT);
            let range = LogIndex(next)..LogIndex(chunk_end);
            let chunk = patiently(&self.log, move |log| log.read_meta(range.clone()))
                .await
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

    // Returns no entries if `start` has been purged in the meantime. openraft sends the entries
    // with the log id before `start` as their predecessor: entries that start later would leave a
    // hole in the follower's log. Without entries, the request is only a heartbeat.
    //
    // The same if an entry is damaged, and the follower waits for it. An error would end openraft's
    // core at once, and a leader could not hand its leadership over before it is set aside.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        let range = LogIndex(start)..LogIndex(end);
        let entries = match read_entries(&self.log, range).await {
            Ok(entries) => entries,
            Err(error) if error.is_damage() => {
                // openraft asks again at once.
                tokio::time::sleep(LOG_READ_RETRY_INTERVAL).await;
                return Ok(Vec::new());
            }
            Err(error) => return Err(io::Error::other(error)),
        };
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
        let committed = CommittedEntries {
            log: self.log.clone(),
            next,
            end,
            chunk: Vec::new().into_iter(),
        };
        // Boxed: openraft requires `Unpin`.
        Box::pin(stream::unfold(committed, |mut committed| async move {
            let item = committed.next().await?;
            Some((item, committed))
        }))
    }

    /// The last entry of each term, found by binary search. (The trait's documentation says the
    /// first entry; openraft's use of the result and its test suite expect the last.)
    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<RaftLogId>,
    ) -> io::Result<Vec<RaftLogId>> {
        let last = log_id_from_raft(range.end());
        let mut first = log_id_from_raft(range.start());
        let mut keys = Vec::new();
        while first.term < last.term {
            // Searches for the first index of a later term. Invariant: all entries below `low` have
            // the term of `first`, and the entry at `high` has a later one.
            let (mut low, mut high) = (first.index.get() + 1, last.index.get());
            while low < high {
                let middle = low + (high - low) / 2;
                if self.term_at(middle)? > first.term {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            keys.push(LogId {
                term: first.term,
                index: LogIndex(low - 1),
            });
            first = LogId {
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

    // The vote is on disk before openraft answers the candidate or acts on it. A replica that
    // answered first and crashed could forget its vote and vote for another candidate in the same
    // term: a double vote, with two leaders in one term as its result. (Raft paper, figure 2:
    // `currentTerm` and `votedFor` are updated on stable storage before responding to RPCs.)
    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        flushed(|done| self.log.save_vote(vote_from_raft(vote), done)).await
    }

    // Needs no flush: the committed id is a hint, with which a restart applies entries before the
    // group has a leader. An older value after a crash is safe, since the leader sends its own.
    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        self.log
            .save_committed(committed.as_ref().map(log_id_from_raft));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.log.hard_state().committed.map(log_id_to_raft))
    }

    // On return the entries are readable, and their order is fixed. `callback` is called by the
    // group's writer once they are on disk, in the order of the appends, and only then does this
    // replica count towards the majority of an entry, on a leader as on a follower. A callback
    // before the flush would acknowledge records that a power failure still can lose.
    //
    // Replication does not wait for the callback: followers receive the entries from the tail cache
    // while the leader's own flush is in progress. This is safe since commit counts flushed
    // replicas.
    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        // Fences need the exact end of the log: nothing else appends to it, and openraft's core
        // calls this method once at a time.
        let mut next_offset = self.log.log_end_offset();
        let entries = entries
            .into_iter()
            .map(|entry| {
                let entry = fenced_entry(&mut self.fences, entry, next_offset);
                next_offset = next_offset.plus(entry.proposal.record_count);
                entry
            })
            .collect();
        let done = Box::new(move |result: Result<(), StorageError>| {
            callback.io_completed(result.map_err(io::Error::other));
        });
        self.log.append(entries, done).map_err(io::Error::other)
    }

    // The place of the cut may have to be read from disk.
    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        let keep = last.as_ref().map(log_id_from_raft);
        patiently(&self.log, move |log| log.truncate_after(keep))
            .await
            .map_err(io::Error::other)
    }

    async fn purge(&mut self, up_to: RaftLogId) -> io::Result<()> {
        self.log.purge_to(log_id_from_raft(&up_to));
        Ok(())
    }
}

/// Committed entries for the state machine, without the payloads of records, read in chunks.
struct CommittedEntries {
    log: GroupLog,
    next: u64,
    end: u64,
    chunk: std::vec::IntoIter<Entry>,
}

impl CommittedEntries {
    async fn next(&mut self) -> Option<io::Result<RaftEntry>> {
        if self.chunk.len() == 0 && self.next < self.end {
            match self.read().await {
                Ok(chunk) => self.chunk = chunk.into_iter(),
                Err(error) => return Some(Err(io::Error::other(error))),
            }
        }
        let entry = self.chunk.next()?;
        self.next = entry.id.index.get() + 1;
        Some(entry_to_raft(entry).map_err(io::Error::other))
    }

    async fn read(&self) -> Result<Vec<Entry>, StorageError> {
        let end = self.end.min(self.next + APPLY_CHUNK_MAX_COUNT);
        let range = LogIndex(self.next)..LogIndex(end);
        if self.log.is_cached(range.start) {
            return self.log.read_meta(range);
        }
        patiently(&self.log, move |log| log.read_meta(range.clone())).await
    }
}

#[cfg(test)]
mod tests;
