//! Eviction from the tail caches of all groups, in turn.

use std::collections::VecDeque;
use std::sync::Weak;

use lograft_core::limits::TAIL_CACHE_EVICT_MIN_BYTES;
use parking_lot::Mutex;

use crate::tail_cache::CacheBudget;

/// Eviction frees 1/8 of the cache of a group per round.
const EVICT_SHARE: usize = 8;

/// A group with a tail cache, as eviction sees it.
pub(crate) trait CacheHolder: Send + Sync {
    /// Evicts flushed entries, about [`share_bytes`] of the cached bytes.
    fn evict(&self, budget: &CacheBudget) -> Evicted;
}

/// The outcome of one eviction from one group.
pub(crate) struct Evicted {
    pub(crate) freed_bytes: usize,
    /// Nothing is cached any more. The group MUST register again when it next caches an entry.
    pub(crate) is_empty: bool,
}

/// The tail caches of all groups and their common budget.
pub(crate) struct TailCaches {
    pub(crate) budget: CacheBudget,
    /// Groups that have cached entries, in the order of eviction.
    holders: Mutex<VecDeque<Weak<dyn CacheHolder>>>,
}

/// The bytes that one round of eviction frees of a cache of `cached_bytes`.
pub(crate) fn share_bytes(cached_bytes: usize) -> usize {
    (cached_bytes / EVICT_SHARE).max(TAIL_CACHE_EVICT_MIN_BYTES)
}

impl TailCaches {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            budget: CacheBudget::new(max_bytes),
            holders: Mutex::default(),
        }
    }

    /// Registers a group that has cached its first entry.
    pub(crate) fn register(&self, holder: Weak<dyn CacheHolder>) {
        self.holders.lock().push_back(holder);
    }

    /// Brings the caches back within their budget, as far as flushed entries allow. Each group in
    /// turn gives up a share of its cache, so that idle groups make room for busy ones.
    pub(crate) fn evict(&self) {
        let mut turns = self.holders.lock().len();
        while self.budget.excess_bytes() > 0 && turns > 0 {
            turns -= 1;
            let Some(next) = self.holders.lock().pop_front() else {
                break;
            };
            let Some(holder) = next.upgrade() else {
                continue;
            };
            let evicted = holder.evict(&self.budget);
            if !evicted.is_empty {
                // Another turn only after progress: a cache of unflushed entries frees nothing.
                turns += usize::from(evicted.freed_bytes > 0);
                self.holders.lock().push_back(next);
            }
        }
    }
}
