//! Protection against floods and replays: rate limits and sequence windows, both of bounded size.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lograft_core::limits::{
    GOSSIP_RATE_MAX_COUNT, GOSSIP_SESSIONS_MAX_COUNT, GOSSIP_SOURCE_RATE_MAX_COUNT,
    GOSSIP_SOURCES_MAX_COUNT, GOSSIP_UNKNOWN_RATE_MAX_COUNT,
};

use super::seal::SessionId;

/// A token bucket that holds one second's worth of datagrams.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate_count: u32,
    /// Tokens, in nanoseconds of refill time: exact, and without floating point.
    filled: Duration,
    refilled: Duration,
}

impl Bucket {
    const FULL: Duration = Duration::from_secs(1);

    fn full(rate_count: u32, now: Duration) -> Self {
        Self {
            rate_count,
            filled: Self::FULL,
            refilled: now,
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        self.filled = (self.filled + now.saturating_sub(self.refilled)).min(Self::FULL);
        self.refilled = now;
        let cost = Self::FULL / self.rate_count;
        let Some(left) = self.filled.checked_sub(cost) else {
            return false;
        };
        self.filled = left;
        true
    }
}

/// Limits the rate of datagrams before they are decrypted.
///
/// A source that has sent an authentic datagram has a bucket of its own. All others share one, so
/// that forged source addresses need no memory, and cannot use up the share of the members.
#[derive(Debug)]
pub(crate) struct RateLimit {
    all: Bucket,
    unknown: Bucket,
    sources: BTreeMap<SocketAddr, Bucket>,
}

impl RateLimit {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            all: Bucket::full(GOSSIP_RATE_MAX_COUNT, now),
            unknown: Bucket::full(GOSSIP_UNKNOWN_RATE_MAX_COUNT, now),
            sources: BTreeMap::new(),
        }
    }

    /// Whether a datagram of `source` may be decrypted.
    pub(crate) fn admit(&mut self, source: SocketAddr, now: Duration) -> bool {
        let own = self.sources.get_mut(&source).unwrap_or(&mut self.unknown);
        own.take(now) && self.all.take(now)
    }

    /// Gives a source that sent an authentic datagram a bucket of its own.
    pub(crate) fn authenticated(&mut self, source: SocketAddr, now: Duration) {
        if self.sources.contains_key(&source) {
            return;
        }
        if self.sources.len() >= GOSSIP_SOURCES_MAX_COUNT {
            let oldest = self
                .sources
                .iter()
                .min_by_key(|(_, bucket)| bucket.refilled);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                self.sources.remove(&oldest);
            }
        }
        let bucket = Bucket::full(GOSSIP_SOURCE_RATE_MAX_COUNT, now);
        self.sources.insert(source, bucket);
    }
}

/// The sequence numbers of a session that were received.
#[derive(Clone, Copy, Debug)]
struct Sequences {
    highest: u64,
    /// Bit n: `highest - n` was received.
    received: u64,
    used: Duration,
}

/// Detects datagrams that were received before.
#[derive(Debug, Default)]
pub(crate) struct ReplayWindow {
    sessions: BTreeMap<SessionId, Sequences>,
}

impl ReplayWindow {
    /// Records a sequence number, and returns whether it is new. One that is 64 or more below the
    /// highest counts as received before.
    pub(crate) fn is_new(&mut self, session: SessionId, sequence: u64, now: Duration) -> bool {
        let Some(seen) = self.sessions.get_mut(&session) else {
            self.insert(session, sequence, now);
            return true;
        };
        seen.used = now;
        if sequence > seen.highest {
            let ahead = sequence - seen.highest;
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            seen.received = seen.received.checked_shl(shift).unwrap_or(0) | 1;
            seen.highest = sequence;
            return true;
        }
        let behind = seen.highest - sequence;
        let Some(bit) = u32::try_from(behind)
            .ok()
            .and_then(|at| 1_u64.checked_shl(at))
        else {
            return false;
        };
        let is_new = seen.received & bit == 0;
        seen.received |= bit;
        is_new
    }

    fn insert(&mut self, session: SessionId, sequence: u64, now: Duration) {
        if self.sessions.len() >= GOSSIP_SESSIONS_MAX_COUNT {
            let oldest = self.sessions.iter().min_by_key(|(_, seen)| seen.used);
            if let Some(oldest) = oldest.map(|(session, _)| *session) {
                self.sessions.remove(&oldest);
            }
        }
        let seen = Sequences {
            highest: sequence,
            received: 1,
            used: now,
        };
        self.sessions.insert(session, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn source(at: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], at))
    }

    #[test]
    fn unknown_sources_share_one_bucket_and_leave_the_members_theirs() {
        let now = SECOND;
        let mut limit = RateLimit::new(now);
        limit.authenticated(source(1), now);
        let flood = (2..=60_000)
            .filter(|at| limit.admit(source(*at), now))
            .count();
        assert_eq!(flood, GOSSIP_UNKNOWN_RATE_MAX_COUNT as usize);
        let member = (0..1000).filter(|_| limit.admit(source(1), now)).count();
        assert_eq!(member, GOSSIP_SOURCE_RATE_MAX_COUNT as usize);
        assert!(limit.admit(source(7), now + SECOND), "refilled");
        assert_eq!(limit.sources.len(), 1);
    }

    #[test]
    fn all_sources_together_are_bounded_and_so_is_their_table() {
        let now = SECOND;
        let mut limit = RateLimit::new(now);
        for at in 1..=5000 {
            limit.authenticated(source(at), now);
        }
        assert_eq!(limit.sources.len(), GOSSIP_SOURCES_MAX_COUNT);
        let all = (0..20_u16).flat_map(|_| 1..=5000);
        let admitted = all.filter(|at| limit.admit(source(*at), now)).count();
        assert_eq!(admitted, GOSSIP_RATE_MAX_COUNT as usize);
    }

    #[test]
    fn a_sequence_number_is_new_once_in_any_order() {
        let mut window = ReplayWindow::default();
        let mut is_new = |sequence| window.is_new([1; 7], sequence, SECOND);
        assert!(is_new(100) && !is_new(100));
        assert!(is_new(98) && !is_new(98), "reordered");
        assert!(is_new(163) && is_new(101) && !is_new(101));
        assert!(!is_new(99), "64 below the highest");
        assert!(!is_new(1), "far below the highest");
        assert!(is_new(u64::MAX) && !is_new(163));
        assert!(window.is_new([2; 7], 100, SECOND), "another session");
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_gives_way() {
        let mut window = ReplayWindow::default();
        for at in 0..10_000_u32 {
            let mut session = [0; 7];
            session[..4].copy_from_slice(&at.to_be_bytes());
            assert!(window.is_new(session, 1, Duration::from_millis(at.into())));
        }
        assert_eq!(window.sessions.len(), GOSSIP_SESSIONS_MAX_COUNT);
    }
}
