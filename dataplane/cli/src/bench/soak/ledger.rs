//! What was sent to a partition and what was acknowledged, and when.

use lograft_client::Offset;
use serde::Serialize;
use tokio::time::Instant;

use crate::produce::now_ms;

/// The acknowledgements of one partition, by the records' numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Each record's offset; none while it is not acknowledged.
    offsets: Vec<Option<Offset>>,
    acked: u64,
    failed: u64,
    /// When the last came; none before the first: a topic that is new has to get its leaders.
    last: Option<Instant>,
    longest: Longest,
}

/// The longest time without an acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Longest {
    pub(super) seconds: f64,
    /// When it began, milliseconds since the Unix epoch.
    pub(super) at_unix_ms: i64,
}

impl Ledger {
    /// The number of a record that is sent now.
    pub(super) fn send(&mut self) -> u64 {
        self.offsets.push(None);
        self.offsets.len() as u64 - 1
    }

    pub(super) fn ack(&mut self, number: u64, offset: Offset, now: Instant) {
        let last = self.last.replace(now).unwrap_or(now);
        let pause = now.saturating_duration_since(last);
        let seconds = pause.as_secs_f64();
        if seconds > self.longest.seconds {
            let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            self.longest = Longest {
                seconds,
                at_unix_ms: now_ms().saturating_sub(pause_ms),
            };
        }
        self.acked += 1;
        let place = usize::try_from(number).ok();
        if let Some(place) = place.and_then(|at| self.offsets.get_mut(at)) {
            *place = Some(offset);
        }
    }

    pub(super) fn fail(&mut self) {
        self.failed += 1;
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    pub(super) fn longest(&self) -> Longest {
        self.longest
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
    fn the_longest_pause_is_kept() {
        let begun = Instant::now();
        let mut ledger = Ledger::default();
        for (number, ms) in [(0, 10), (1, 510), (2, 600)] {
            assert_eq!(ledger.send(), number);
            ledger.ack(
                number,
                Offset(number + 7),
                begun + Duration::from_millis(ms),
            );
        }
        ledger.send();
        ledger.fail();
        assert!((ledger.longest().seconds - 0.5).abs() < 1e-6);
        assert_eq!((ledger.acked(), ledger.failed()), (3, 1));
        assert_eq!(
            ledger.offsets(),
            [Some(Offset(7)), Some(Offset(8)), Some(Offset(9)), None]
        );
    }
}
