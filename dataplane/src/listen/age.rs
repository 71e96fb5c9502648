//! When a connection starts to close although its client would go on with it: at its maximum age,
//! and shortly before its certificate expires. Both are spread at random. Clients that connected at
//! the same moment, for example when a node had started, must not all return at the same moment.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lograft_core::limits::{
    CONNECTION_AGE_JITTER_PERCENT, CONNECTION_DRAIN_MAX, CONNECTION_DRAIN_MIN,
};
use lograft_core::random::SplitMix64;
use rustls_pki_types::UnixTime;
use tokio::time::sleep;
use uuid::Uuid;

use super::judge::expiry;

/// Why a connection starts to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// Its maximum age.
    Age,
    /// The end of its certificate.
    Certificate,
}

impl CloseReason {
    /// The reason's name in logs and metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Age => "AGE",
            Self::Certificate => "CERTIFICATE",
        }
    }
}

/// The lifetimes of the connections of a port.
pub(super) struct Lifetimes {
    /// Maximum age, if there is one.
    max_age: Option<Duration>,
    random: Mutex<SplitMix64>,
}

/// The lifetime of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    age: Option<Duration>,
    /// When to close it because of its certificate, seconds since the Unix epoch.
    closes_s: Option<i64>,
}

impl Lifetimes {
    pub(super) fn new(max_age: Option<Duration>) -> Self {
        let (seed, _) = Uuid::new_v4().as_u64_pair();
        Self {
            max_age,
            random: Mutex::new(SplitMix64::new(seed)),
        }
    }

    /// The lifetime of a connection that starts now, with a certificate up to `not_after_s`.
    pub(super) fn next(&self, not_after_s: i64) -> Lifetime {
        let now_s = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let left_s = u64::try_from(not_after_s.saturating_sub(now_s)).unwrap_or(0);
        let lead = drain_before_end(Duration::from_secs(left_s)).map(|lead| self.spread(lead));
        // The certificate is valid in its last second too, which `expiry` waits for.
        let closes_s = |lead: Duration| not_after_s.saturating_sub_unsigned(lead.as_secs() + 1);
        Lifetime {
            age: self.max_age.map(|age| self.spread(age)),
            closes_s: lead.map(closes_s),
        }
    }

    /// The duration, or less by a random part of `CONNECTION_AGE_JITTER_PERCENT`.
    fn spread(&self, longest: Duration) -> Duration {
        const STEPS: u32 = 1 << 16;
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let step = u32::try_from(random.below(STEPS as usize)).unwrap_or(0);
        let jitter = longest * CONNECTION_AGE_JITTER_PERCENT / 100;
        longest.saturating_sub(jitter / STEPS * step)
    }
}

/// How long before the end of a certificate that is valid for this long its connection starts to
/// close. A quarter of the rest at most: a client that has no newer certificate connects again with
/// the same one, a few times and not without end. `None` if there is no time for it.
fn drain_before_end(left: Duration) -> Option<Duration> {
    let lead = CONNECTION_DRAIN_MAX.min(left / 4);
    (lead >= CONNECTION_DRAIN_MIN).then_some(lead)
}

impl Lifetime {
    /// Ready at the end of the lifetime.
    pub(super) async fn ended(self) -> CloseReason {
        let Self { age, closes_s } = self;
        let aged = async {
            match age {
                Some(age) => sleep(age).await,
                None => std::future::pending().await,
            }
        };
        let expires = async {
            match closes_s {
                Some(closes_s) => expiry(closes_s).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = aged => CloseReason::Age,
            () = expires => CloseReason::Certificate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_over_the_last_quarter_and_never_above_the_maximum() {
        let max = Duration::from_hours(12);
        let lifetimes = Lifetimes::new(Some(max));
        let mut in_last_minute = 0;
        for _ in 0..4096 {
            let age = lifetimes.next(i64::MAX).age.unwrap();
            assert!(age <= max && age >= max * 3 / 4, "{age:?}");
            in_last_minute += usize::from(age + Duration::from_mins(1) > max);
        }
        // 23 are expected: all clients of a full port do not return at once.
        assert!(in_last_minute < 100, "{in_last_minute}");
        let peer = Lifetimes::new(None).next(i64::MAX);
        assert_eq!(peer.age, None);
    }

    #[test]
    fn a_client_without_a_newer_certificate_connects_again_a_few_times_only() {
        let mut left = Duration::from_hours(24);
        let mut count = 0;
        while let Some(lead) = drain_before_end(left) {
            assert!(lead <= CONNECTION_DRAIN_MAX && lead * 4 <= left);
            left = lead;
            count += 1;
        }
        assert!((1..10).contains(&count), "{count}");
        assert_eq!(drain_before_end(Duration::ZERO), None);
    }
}
