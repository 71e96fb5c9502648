//! Wall-clock time.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since the Unix epoch.
pub(crate) fn now_s() -> i64 {
    now_ms().div_euclid(1000)
}

/// A time in seconds since the Unix epoch as text, in UTC (RFC 3339).
pub(crate) fn format_s(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// A time in milliseconds since the Unix epoch as text, in UTC (RFC 3339).
pub(crate) fn format_ms(millis: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| millis.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_no_date_is_a_number() {
        assert_eq!(format_s(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_s(i64::MAX), i64::MAX.to_string());
        assert_eq!(format_ms(1_250), "1970-01-01T00:00:01.25Z");
        assert_eq!(format_ms(i64::MIN), i64::MIN.to_string());
    }
}
