//! Points in time as the API server and people read them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// The time of the API; none outside of the years that it can have.
pub(crate) fn time(unix_seconds: i64) -> Option<Time> {
    Timestamp::from_second(unix_seconds).ok().map(Time)
}

/// The time in a sentence.
pub(crate) fn time_text(unix_seconds: i64) -> String {
    let time = Timestamp::from_second(unix_seconds);
    time.map_or_else(|_| unix_seconds.to_string(), |time| time.to_string())
}
