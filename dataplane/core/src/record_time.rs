//! Bounds of the timestamps that clients give to their records, relative to the append time.
//!
//! The append time alone decides when records expire. Timestamps are for searching, so a wrong one
//! harms no other record; the bounds find producers whose clock or unit is wrong.

/// Bounds of a record's timestamp, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimestampBounds {
    /// Maximum time after the append time.
    pub after_max_ms: u64,
    /// Maximum time before the append time; `None`: no bound.
    pub before_max_ms: Option<u64>,
}

/// The earliest and the latest timestamp of a batch, milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampRange {
    /// The earliest.
    pub min_ms: i64,
    /// The latest.
    pub max_ms: i64,
}

/// A timestamp is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record timestamp must be {}, got {found_ms} ms", self.bound())]
pub struct TimestampError {
    /// The first bound that is violated, as a timestamp, milliseconds since the Unix epoch.
    limit_ms: i64,
    is_upper: bool,
    found_ms: i64,
}

impl TimestampError {
    /// The invalid field.
    pub const FIELD: &str = "record timestamp";

    /// The violated bound.
    pub fn bound(&self) -> String {
        let Self { limit_ms, .. } = self;
        if self.is_upper {
            format!("at most {limit_ms} ms since the Unix epoch (timestamp.after.max.ms)")
        } else {
            format!("at least {limit_ms} ms since the Unix epoch (timestamp.before.max.ms)")
        }
    }
}

impl TimestampBounds {
    /// Checks the timestamps of a batch that is appended at this time.
    pub fn check(&self, range: TimestampRange, append_time_ms: i64) -> Result<(), TimestampError> {
        let latest = append_time_ms.saturating_add_unsigned(self.after_max_ms);
        if range.max_ms > latest {
            return Err(TimestampError {
                limit_ms: latest,
                is_upper: true,
                found_ms: range.max_ms,
            });
        }
        let before = self.before_max_ms;
        let earliest = before.map(|ms| append_time_ms.saturating_sub_unsigned(ms));
        match earliest.filter(|earliest| range.min_ms < *earliest) {
            None => Ok(()),
            Some(limit_ms) => Err(TimestampError {
                limit_ms,
                is_upper: false,
                found_ms: range.min_ms,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const NOW_MS: i64 = 1_800_000_000_000;

    fn at(ms: i64) -> TimestampRange {
        TimestampRange {
            min_ms: ms,
            max_ms: ms,
        }
    }

    #[test]
    fn a_timestamp_may_be_a_bit_in_the_future_and_long_ago() {
        let bounds = TimestampBounds {
            after_max_ms: HOUR_MS,
            before_max_ms: None,
        };
        let hour = 3_600_000;
        // Zero, in seconds, two hours old, the last allowed.
        for ms in [0, NOW_MS / 1000, NOW_MS - 2 * hour, NOW_MS + hour, i64::MIN] {
            assert_eq!(bounds.check(at(ms), NOW_MS), Ok(()), "{ms}");
        }
        // In microseconds, of the year 2100, one too late.
        for ms in [
            NOW_MS * 1000,
            4_102_444_800_000,
            NOW_MS + hour + 1,
            i64::MAX,
        ] {
            let error = bounds.check(at(ms), NOW_MS).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("record timestamp must be at most 1800003600000 ms"));
            assert!(text.ends_with(&format!("got {ms} ms")), "{text}");
        }
    }

    #[test]
    fn the_bound_before_the_append_time_is_optional() {
        let bounds = TimestampBounds {
            after_max_ms: HOUR_MS,
            before_max_ms: Some(1000),
        };
        let range = TimestampRange {
            min_ms: NOW_MS - 1001,
            max_ms: NOW_MS,
        };
        let error = bounds.check(range, NOW_MS).unwrap_err();
        assert!(error.bound().contains("timestamp.before.max.ms"));
        assert_eq!(bounds.check(at(NOW_MS - 1000), NOW_MS), Ok(()));
        assert!(bounds.check(at(0), NOW_MS).is_err());
    }
}
