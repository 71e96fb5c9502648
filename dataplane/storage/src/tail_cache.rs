//! The tail cache of a group: all entries that are not on disk yet, and as many older ones as the
//! budget of the node allows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use lograft_core::{Entry, LogIndex, Offset};

/// Memory that an entry takes besides its payload, bytes.
const OVERHEAD_BYTES: usize = size_of::<Entry>() + 32;

/// Budget of the tail caches of all groups together, bytes.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    used_bytes: AtomicUsize,
    max_bytes: usize,
}

impl CacheBudget {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            used_bytes: AtomicUsize::new(0),
            max_bytes,
        }
    }

    /// Bytes in use above the budget.
    pub(crate) fn excess_bytes(&self) -> usize {
        self.used_bytes().saturating_sub(self.max_bytes)
    }

    /// Bytes in use.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The cached entries of a group: consecutive, up to the end of its log.
#[derive(Debug, Default)]
pub(crate) struct TailCache {
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// Memory that an entry takes, bytes.
pub(crate) fn cost_bytes(entry: &Entry) -> usize {
    entry.proposal.payload.len() + OVERHEAD_BYTES
}

impl TailCache {
    /// The first cached index.
    pub(crate) fn first_index(&self) -> Option<LogIndex> {
        self.entries.front().map(|entry| entry.id.index)
    }

    /// The first cached offset.
    pub(crate) fn first_offset(&self) -> Option<Offset> {
        self.entries.front().map(|entry| entry.base_offset)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, entry: Entry, budget: &CacheBudget) {
        let cost_bytes = cost_bytes(&entry);
        self.bytes += cost_bytes;
        budget.add(cost_bytes);
        self.entries.push_back(entry);
    }

    /// Removes the entries from `index` (inclusive) to the end.
    pub(crate) fn truncate_from(&mut self, index: LogIndex, budget: &CacheBudget) {
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.id.index >= index)
        {
            let removed = self.entries.pop_back();
            self.release(removed.as_ref(), budget);
        }
    }

    /// Removes the oldest entries below `flushed_end` (exclusive) until about `bytes` are freed.
    /// Returns the number of bytes freed.
    // Entries that are not flushed must stay, even above the budget: no file has them yet, so the
    // cache is the only place from which a reader or a follower can get them.
    pub(crate) fn evict(
        &mut self,
        bytes: usize,
        flushed_end: LogIndex,
        budget: &CacheBudget,
    ) -> usize {
        let before = self.bytes;
        while before - self.bytes < bytes
            && self
                .entries
                .front()
                .is_some_and(|entry| entry.id.index < flushed_end)
        {
            let removed = self.entries.pop_front();
            self.release(removed.as_ref(), budget);
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new(); // frees the buffer of an idle group
        }
        before - self.bytes
    }

    /// Removes all entries.
    pub(crate) fn clear(&mut self, budget: &CacheBudget) {
        budget.sub(std::mem::take(&mut self.bytes));
        self.entries = VecDeque::new();
    }

    fn release(&mut self, removed: Option<&Entry>, budget: &CacheBudget) {
        let bytes = removed.map_or(0, cost_bytes);
        self.bytes -= bytes;
        budget.sub(bytes);
    }

    /// The entries from `index` (inclusive), which must not be below the first cached index.
    pub(crate) fn entries_from_index(&self, index: LogIndex) -> impl Iterator<Item = &Entry> {
        let first = self.first_index().unwrap_or_default();
        let skip = usize::try_from(index.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        self.entries.range(skip.min(self.entries.len())..)
    }

    /// The entries from the one that holds `offset`, which must not be below the first cached one.
    pub(crate) fn entries_from_offset(&self, offset: Offset) -> impl Iterator<Item = &Entry> {
        let skip = self
            .entries
            .partition_point(|entry| entry.next_offset() <= offset);
        self.entries.range(skip..)
    }
}
