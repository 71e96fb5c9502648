//! Records sent to a partition, their acknowledgements and the pauses between these.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_client::Offset;
use serde::Serialize;
use tokio::time::Instant;

use crate::clock::now_ms;

/// Sent and acknowledged records of one partition. Records are numbered from 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Offset of each record; `None` until it is acknowledged.
    offsets: Vec<Option<Offset>>,
    acked: u64,
    failed: u64,
    /// Time of the last acknowledgement. The time before the first one is not a pause: a new topic
    /// must elect its leaders first.
    last_ack: Option<Instant>,
    longest_pause: Pause,
}

/// A ledger that a writer and the status line share.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time without an acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Pause {
    pub(super) seconds: f64,
    /// Start of the pause, in milliseconds since the Unix epoch.
    pub(super) at_unix_ms: i64,
}

impl Ledger {
    /// Notes that a record is sent, and returns its number.
    pub(super) fn send(&mut self) -> u64 {
        self.offsets.push(None);
        self.offsets.len() as u64 - 1
    }

    /// Notes the acknowledgement of record `number` at `offset`.
    pub(super) fn ack(&mut self, number: u64, offset: Option<Offset>, now: Instant) {
        let last = self.last_ack.replace(now).unwrap_or(now);
        let pause = now.saturating_duration_since(last);
        let seconds = pause.as_secs_f64();
        if seconds > self.longest_pause.seconds {
            let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            self.longest_pause = Pause {
                seconds,
                at_unix_ms: now_ms().saturating_sub(pause_ms),
            };
        }
        self.acked += 1;
        let index = usize::try_from(number).ok();
        if let Some(slot) = index.and_then(|index| self.offsets.get_mut(index)) {
            *slot = offset;
        }
    }

    /// Notes that a record failed.
    pub(super) fn fail(&mut self) {
        self.failed += 1;
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    pub(super) fn longest_pause(&self) -> Pause {
        self.longest_pause
    }

    pub(super) fn offsets(&self) -> &[Option<Offset>] {
        &self.offsets
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_longest_pause_is_recorded() {
        let started = Instant::now();
        let mut ledger = Ledger::default();
        for (number, ms) in [(0, 10), (1, 510), (2, 600)] {
            assert_eq!(ledger.send(), number);
            ledger.ack(
                number,
                Some(Offset(number + 7)),
                started + Duration::from_millis(ms),
            );
        }
        ledger.send();
        ledger.fail();
        assert!((ledger.longest_pause().seconds - 0.5).abs() < 1e-6);
        assert_eq!((ledger.acked(), ledger.failed()), (3, 1));
        assert_eq!(
            ledger.offsets(),
            [Some(Offset(7)), Some(Offset(8)), Some(Offset(9)), None]
        );
    }
}
