//! The newest entries of a group, in memory: all that are not on disk yet, and as many more as
//! the node's budget allows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use lograft_core::{Entry, LogIndex, Offset};

/// Bytes that an entry takes besides its payload.
const OVERHEAD_BYTES: usize = size_of::<Entry>() + 32;

/// What all groups' caches hold together, bytes.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    used: AtomicUsize,
    max: usize,
}

impl CacheBudget {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// Bytes above the budget.
    pub(crate) fn excess(&self) -> usize {
        self.used.load(Ordering::Relaxed).saturating_sub(self.max)
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A group's part of the cache: consecutive entries up to the log's end.
#[derive(Debug, Default)]
pub(crate) struct TailCache {
    entries: VecDeque<Entry>,
    bytes: usize,
}

fn cost(entry: &Entry) -> usize {
    entry.proposal.payload.len() + OVERHEAD_BYTES
}

impl TailCache {
    /// The first index held.
    pub(crate) fn first(&self) -> Option<LogIndex> {
        self.entries.front().map(|entry| entry.id.index)
    }

    /// The first offset held.
    pub(crate) fn first_offset(&self) -> Option<Offset> {
        self.entries.front().map(|entry| entry.base_offset)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, entry: Entry, budget: &CacheBudget) {
        let cost = cost(&entry);
        self.bytes += cost;
        budget.add(cost);
        self.entries.push_back(entry);
    }

    /// Forgets all from `index` on.
    pub(crate) fn cut_from(&mut self, index: LogIndex, budget: &CacheBudget) {
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.id.index >= index)
        {
            let gone = self.entries.pop_back();
            self.account(gone.as_ref(), budget);
        }
    }

    /// Forgets the oldest entries below `flushed_end`, until about `bytes` are free.
    /// Returns how many bytes that were.
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
            let gone = self.entries.pop_front();
            self.account(gone.as_ref(), budget);
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new(); // an idle group keeps no buffer
        }
        before - self.bytes
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, budget: &CacheBudget) {
        budget.sub(std::mem::take(&mut self.bytes));
        self.entries = VecDeque::new();
    }

    fn account(&mut self, gone: Option<&Entry>, budget: &CacheBudget) {
        let bytes = gone.map_or(0, cost);
        self.bytes -= bytes;
        budget.sub(bytes);
    }

    /// The entries from `index` on, which must not be before the first.
    pub(crate) fn since_index(&self, index: LogIndex) -> impl Iterator<Item = &Entry> {
        let first = self.first().unwrap_or_default();
        let skip = usize::try_from(index.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        self.entries.range(skip.min(self.entries.len())..)
    }

    /// The entries from the one that holds `offset` on, which must not be before the first.
    pub(crate) fn since_offset(&self, offset: Offset) -> impl Iterator<Item = &Entry> {
        let skip = self
            .entries
            .partition_point(|entry| entry.next_offset() <= offset);
        self.entries.range(skip..)
    }
}
