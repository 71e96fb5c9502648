//! Retention of a partition's log: whole segments are deleted, the oldest first.
//!
//! Retention is computed by the leader only, and its result is proposed as a `Trim` entry. Each
//! replica deletes segments below the log start offset of its applied state. If each replica
//! decided by its own clock and segment sizes, replicas would serve different ranges, and a
//! consumer could get OFFSET_OUT_OF_RANGE after a change of leader for an offset that it has just
//! read.

use serde::{Deserialize, Serialize};

use crate::offset::Offset;

/// The retention of a topic. Without any bound, all records are retained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionPolicy {
    /// Size per partition, in bytes. Segments are deleted while at least this much remains.
    pub bytes: Option<u64>,
    /// Age in milliseconds since the append, by the clocks of the leaders. Segments whose last
    /// record is older are deleted. Timestamps of clients do not count.
    pub ms: Option<u64>,
}

/// The properties of a segment that retention depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset after the last record.
    pub next_offset: Offset,
    /// The size of the segment, bytes.
    pub bytes: u64,
    /// The latest append time of its records, milliseconds since the Unix epoch; `None` if it has
    /// not been read from the segment yet, or there are no records.
    pub append_time_ms: Option<i64>,
    /// Whether the segment is sealed, so that no more records are written to it.
    pub sealed: bool,
}

/// The new log start offset, if it is after the current one. `segments` are all segments of a
/// partition, in order.
///
/// Retention by size never covers the active segment. Retention by age may: the log start then
/// moves past records whose file remains until it is sealed. Without `now_ms` the age is not known,
/// and only the size counts.
///
/// The age is that of the append by the leader. A timestamp of a client is a claim: records with
/// timestamp 0 would be deleted at once, and one of a later year would retain all records after it.
pub fn trim_to(
    segments: &[SegmentSummary],
    policy: RetentionPolicy,
    now_ms: Option<i64>,
) -> Option<Offset> {
    let start = segments.first()?.base_offset;
    let by_size = policy
        .bytes
        .map_or(start, |bytes| past_size(segments, bytes, start));
    let oldest_kept = oldest_kept(policy, now_ms);
    let by_age = oldest_kept.map_or(start, |oldest| past_age(segments, oldest, start));
    let target = by_size.max(by_age);
    (target > start).then_some(target)
}

fn past_size(segments: &[SegmentSummary], keep_bytes: u64, start: Offset) -> Offset {
    let mut left: u64 = segments.iter().map(|s| s.bytes).sum();
    let mut target = start;
    for segment in segments.iter().take_while(|s| s.sealed) {
        left -= segment.bytes;
        if left < keep_bytes {
            break;
        }
        target = segment.next_offset;
    }
    target
}

/// The append time of the oldest records that are retained, if there is a bound of the age and the
/// time is known.
pub fn oldest_kept(policy: RetentionPolicy, now_ms: Option<i64>) -> Option<i64> {
    Some(now_ms?.saturating_sub_unsigned(policy.ms?))
}

/// A segment whose append time is not known is retained, with all after it.
fn past_age(segments: &[SegmentSummary], oldest_kept: i64, start: Offset) -> Offset {
    let is_old = |s: &&SegmentSummary| {
        let is_older = |append_time_ms| append_time_ms < oldest_kept;
        s.next_offset == s.base_offset || s.append_time_ms.is_some_and(is_older)
    };
    let old = segments.iter().take_while(is_old);
    old.last().map_or(start, |s| s.next_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: u64, next: u64, bytes: u64, time: i64, sealed: bool) -> SegmentSummary {
        SegmentSummary {
            base_offset: Offset(base),
            next_offset: Offset(next),
            bytes,
            append_time_ms: Some(time),
            sealed,
        }
    }

    fn three() -> [SegmentSummary; 3] {
        [
            segment(5, 10, 100, 1000, true),
            segment(10, 20, 100, 2000, true),
            segment(20, 25, 50, 3000, false),
        ]
    }

    #[test]
    fn no_bound_retains_everything() {
        assert_eq!(
            trim_to(&three(), RetentionPolicy::default(), Some(i64::MAX)),
            None
        );
        let all = RetentionPolicy {
            bytes: Some(1),
            ms: Some(1),
        };
        assert_eq!(trim_to(&[], all, Some(0)), None);
    }

    #[test]
    fn size_retains_at_least_the_bound_and_never_covers_the_active_segment() {
        let trim = |bytes| {
            trim_to(
                &three(),
                RetentionPolicy {
                    bytes: Some(bytes),
                    ms: None,
                },
                None,
            )
        };
        assert_eq!(trim(250), None);
        assert_eq!(trim(151), None);
        assert_eq!(trim(150), Some(Offset(10)));
        assert_eq!(trim(50), Some(Offset(20)));
        assert_eq!(trim(0), Some(Offset(20)));
    }

    #[test]
    fn age_is_that_of_the_last_append_to_a_segment() {
        let trim = |now| {
            trim_to(
                &three(),
                RetentionPolicy {
                    bytes: None,
                    ms: Some(500),
                },
                Some(now),
            )
        };
        assert_eq!(trim(1500), None);
        assert_eq!(trim(1501), Some(Offset(10)));
        assert_eq!(trim(2501), Some(Offset(20)));
        assert_eq!(trim(3501), Some(Offset(25)));
    }

    #[test]
    fn the_stricter_bound_applies() {
        let both = RetentionPolicy {
            bytes: Some(150),
            ms: Some(500),
        };
        assert_eq!(trim_to(&three(), both, Some(0)), Some(Offset(10)));
        assert_eq!(trim_to(&three(), both, Some(2501)), Some(Offset(20)));
    }

    #[test]
    fn a_segment_with_a_newer_record_retains_all_segments_after_it() {
        let mut segments = three();
        segments[0].append_time_ms = Some(9000);
        let policy = RetentionPolicy {
            bytes: None,
            ms: Some(500),
        };
        assert_eq!(trim_to(&segments, policy, Some(3501)), None);
    }

    #[test]
    fn without_a_known_time_nothing_is_trimmed_by_age() {
        let policy = RetentionPolicy {
            bytes: None,
            ms: Some(500),
        };
        assert_eq!(trim_to(&three(), policy, None), None);
        let mut segments = three();
        segments[1].append_time_ms = None;
        let trim = trim_to(&segments, policy, Some(i64::MAX));
        assert_eq!(
            trim,
            Some(Offset(10)),
            "retains the second and all after it"
        );
    }
}
