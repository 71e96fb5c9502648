//! Delays between retries.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lograft_core::limits::{CLIENT_BACKOFF_MAX, CLIENT_BACKOFF_MIN};

/// A random number generator for jitter; one per client. Simulations seed it, so that a run can be
/// repeated.
#[derive(Debug)]
pub(crate) struct Jitter(AtomicU64);

impl Jitter {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(AtomicU64::new(
            seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8)),
        ))
    }

    /// The next number of a splitmix64 sequence.
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The delay after `failures` consecutive failures: exponential from the minimum to the
    /// maximum, of which a random part between one half and all is taken. The jitter spreads the
    /// clients that lost the same leader, which would otherwise reconnect at the same moment.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let doubled = CLIENT_BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let half = doubled.min(CLIENT_BACKOFF_MAX) / 2;
        let parts = u32::try_from(self.next() % 1024).unwrap_or(0);
        half + half * parts / 1024
    }

    /// A random index below `count`.
    pub(crate) fn pick(&self, count: usize) -> usize {
        let count = u64::try_from(count.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % count).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_maximum_and_vary() {
        let jitter = Jitter::new(Some(7));
        for failures in 1..40 {
            let wait = jitter.backoff(failures);
            assert!(
                wait >= CLIENT_BACKOFF_MIN / 2 && wait <= CLIENT_BACKOFF_MAX,
                "{wait:?}"
            );
        }
        let late: Vec<_> = (0..8).map(|_| jitter.backoff(30)).collect();
        assert!(late.iter().all(|w| *w >= CLIENT_BACKOFF_MAX / 2));
        assert!(late.windows(2).any(|w| w[0] != w[1]));
    }

    #[test]
    fn a_seed_makes_delays_repeatable() {
        let waits = |seed| {
            let jitter = Jitter::new(Some(seed));
            (1..20).map(|n| jitter.backoff(n)).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
