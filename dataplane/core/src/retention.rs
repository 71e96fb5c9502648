//! How much of a partition's log is kept: whole segments go, the oldest first.

use serde::{Deserialize, Serialize};

use crate::offset::Offset;

/// What a topic keeps. Nothing set: everything, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionPolicy {
    /// Per partition, bytes: segments go while at least this much stays.
    pub bytes: Option<u64>,
    /// Age of a segment's youngest record, milliseconds: what is older goes.
    pub ms: Option<u64>,
}

/// What retention needs to know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset after its last record.
    pub next_offset: Offset,
    /// Its size, bytes.
    pub bytes: u64,
    /// The greatest record timestamp within, milliseconds since the Unix epoch.
    pub max_time_ms: i64,
    /// Whether it is full and will not be written again.
    pub sealed: bool,
}

/// The offset that the log should start at, if that is further on than where it starts now.
/// `segments` are a partition's, in order. Size never asks for the active segment; age does, as
/// the log's start can move past records whose file stays until it is sealed.
pub fn trim_to(
    segments: &[SegmentSummary],
    policy: RetentionPolicy,
    now_ms: i64,
) -> Option<Offset> {
    let start = segments.first()?.base_offset;
    let by_size = policy
        .bytes
        .map_or(start, |bytes| past_size(segments, bytes, start));
    let by_age = policy
        .ms
        .map_or(start, |ms| past_age(segments, ms, now_ms, start));
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

fn past_age(segments: &[SegmentSummary], keep_ms: u64, now_ms: i64, start: Offset) -> Offset {
    let oldest_kept = now_ms.saturating_sub_unsigned(keep_ms);
    segments
        .iter()
        .take_while(|s| s.next_offset == s.base_offset || s.max_time_ms < oldest_kept)
        .last()
        .map_or(start, |s| s.next_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: u64, next: u64, bytes: u64, time: i64, sealed: bool) -> SegmentSummary {
        SegmentSummary {
            base_offset: Offset(base),
            next_offset: Offset(next),
            bytes,
            max_time_ms: time,
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
    fn nothing_set_keeps_everything() {
        assert_eq!(
            trim_to(&three(), RetentionPolicy::default(), i64::MAX),
            None
        );
        let all = RetentionPolicy {
            bytes: Some(1),
            ms: Some(1),
        };
        assert_eq!(trim_to(&[], all, 0), None);
    }

    #[test]
    fn size_keeps_at_least_what_is_asked_and_never_touches_the_active_segment() {
        let trim = |bytes| {
            trim_to(
                &three(),
                RetentionPolicy {
                    bytes: Some(bytes),
                    ms: None,
                },
                0,
            )
        };
        assert_eq!(trim(250), None);
        assert_eq!(trim(151), None);
        assert_eq!(trim(150), Some(Offset(10)));
        assert_eq!(trim(50), Some(Offset(20)));
        assert_eq!(trim(0), Some(Offset(20)));
    }

    #[test]
    fn age_goes_by_the_youngest_record_of_a_segment() {
        let trim = |now| {
            trim_to(
                &three(),
                RetentionPolicy {
                    bytes: None,
                    ms: Some(500),
                },
                now,
            )
        };
        assert_eq!(trim(1500), None);
        assert_eq!(trim(1501), Some(Offset(10)));
        assert_eq!(trim(2501), Some(Offset(20)));
        assert_eq!(trim(3501), Some(Offset(25)));
    }

    #[test]
    fn the_stricter_of_both_decides() {
        let both = RetentionPolicy {
            bytes: Some(150),
            ms: Some(500),
        };
        assert_eq!(trim_to(&three(), both, 0), Some(Offset(10)));
        assert_eq!(trim_to(&three(), both, 2501), Some(Offset(20)));
    }

    #[test]
    fn a_segment_of_an_older_start_in_the_middle_of_the_order_stops_the_walk() {
        let mut segments = three();
        segments[0].max_time_ms = 9000;
        let policy = RetentionPolicy {
            bytes: None,
            ms: Some(500),
        };
        assert_eq!(trim_to(&segments, policy, 3501), None);
    }
}
