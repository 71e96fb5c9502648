//! Phi-accrual failure detection (Hayashibara et al., "The phi accrual failure detector", 2004),
//! with exponentially distributed intervals between heartbeats: phi is the negative decimal
//! logarithm of the probability that a heartbeat is later than it is now.

use std::time::Duration;

use lograft_core::limits::GOSSIP_INTERVAL;

use crate::gossip_member::PHI_UNREACHABLE_MILLI;

/// Upper bound of the mean interval: one long pause must not make the detector blind.
const MEAN_MAX: Duration = Duration::from_secs(2);

/// The decimal logarithm of e, thousandths.
const LOG10_E_MILLI: u128 = 434;

/// The heartbeats of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detector {
    last: Duration,
    mean: Duration,
}

impl Detector {
    /// A node whose last heartbeat was at `last`.
    pub(crate) const fn new(last: Duration) -> Self {
        Self {
            last,
            mean: GOSSIP_INTERVAL,
        }
    }

    /// Records a heartbeat.
    pub(crate) fn heartbeat(&mut self, now: Duration) {
        let interval = now.saturating_sub(self.last).min(MEAN_MAX);
        self.mean = (self.mean * 7 / 8 + interval / 8).clamp(GOSSIP_INTERVAL, MEAN_MAX);
        self.last = self.last.max(now);
    }

    /// Time since the last heartbeat.
    pub(crate) fn silent(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last)
    }

    /// Phi now, thousandths.
    pub(crate) fn phi_milli(&self, now: Duration) -> u64 {
        let phi = self.silent(now).as_millis() * LOG10_E_MILLI / self.mean.as_millis();
        u64::try_from(phi).unwrap_or(u64::MAX)
    }

    /// Whether the node counts as reachable.
    pub(crate) fn is_alive(&self, now: Duration) -> bool {
        self.phi_milli(now) < PHI_UNREACHABLE_MILLI
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phi_grows_with_silence_and_falls_with_a_heartbeat() {
        let mut detector = Detector::new(Duration::ZERO);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += GOSSIP_INTERVAL;
            assert!(detector.phi_milli(now) < 1000);
            detector.heartbeat(now);
        }
        assert!(detector.is_alive(now + Duration::from_secs(9)));
        assert!(!detector.is_alive(now + Duration::from_secs(10)));
        detector.heartbeat(now + Duration::from_secs(10));
        assert!(detector.is_alive(now + Duration::from_secs(11)));
    }

    #[test]
    fn rare_heartbeats_make_it_patient_within_a_bound() {
        let mut detector = Detector::new(Duration::ZERO);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += Duration::from_hours(1);
            detector.heartbeat(now);
        }
        assert!(detector.is_alive(now + Duration::from_secs(30)));
        assert!(!detector.is_alive(now + Duration::from_secs(40)));
    }
}
