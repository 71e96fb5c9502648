//! Readings and raised checks of nodes on the wire. Both are bounded by whoever keeps them.

use std::time::Duration;

use lograft_core::check::{CheckReport, NodeChecks, Severity};
use lograft_core::{DiskMark, DiskReading, FeatureLevel, Incarnation, NodeReading};
use lograft_proto::raft::v1 as proto;

pub(crate) fn to_proto(reading: NodeReading) -> proto::NodeReading {
    let NodeReading {
        clock_ms,
        disk,
        oldest_unflushed,
        level,
        replicas_max_count,
        incarnation,
    } = reading;
    let DiskReading {
        mark,
        free_bytes,
        total_bytes,
        free_inodes,
        total_inodes,
    } = disk;
    let mark = match mark {
        DiskMark::Unknown => proto::DiskMark::Unspecified,
        DiskMark::Ok => proto::DiskMark::Ok,
        DiskMark::Low => proto::DiskMark::Low,
        DiskMark::Full => proto::DiskMark::Full,
    };
    proto::NodeReading {
        clock_ms,
        disk_mark: mark.into(),
        disk_free_bytes: free_bytes,
        disk_total_bytes: total_bytes,
        disk_free_inodes: free_inodes,
        disk_total_inodes: total_inodes,
        oldest_unflushed_ms: u64::try_from(oldest_unflushed.as_millis()).unwrap_or(u64::MAX),
        feature_level: level.get(),
        replicas_max_count,
        incarnation: incarnation.map(incarnation_to_proto),
    }
}

pub(crate) const fn incarnation_to_proto(incarnation: Incarnation) -> proto::Incarnation {
    let Incarnation { number, session } = incarnation;
    proto::Incarnation { number, session }
}

pub(crate) const fn incarnation_from_proto(incarnation: proto::Incarnation) -> Incarnation {
    let proto::Incarnation { number, session } = incarnation;
    Incarnation { number, session }
}

/// Every value is in its bounds afterwards. An unknown mark is of a later version and counts as
/// unknown.
pub(crate) fn from_proto(reading: proto::NodeReading) -> NodeReading {
    let mark = match reading.disk_mark() {
        proto::DiskMark::Unspecified => DiskMark::Unknown,
        proto::DiskMark::Ok => DiskMark::Ok,
        proto::DiskMark::Low => DiskMark::Low,
        proto::DiskMark::Full => DiskMark::Full,
    };
    let proto::NodeReading {
        clock_ms,
        disk_mark: _,
        disk_free_bytes,
        disk_total_bytes,
        disk_free_inodes,
        disk_total_inodes,
        oldest_unflushed_ms,
        feature_level,
        replicas_max_count,
        incarnation,
    } = reading;
    let reading = NodeReading {
        clock_ms,
        disk: DiskReading {
            mark,
            free_bytes: disk_free_bytes,
            total_bytes: disk_total_bytes,
            free_inodes: disk_free_inodes,
            total_inodes: disk_total_inodes,
        },
        oldest_unflushed: Duration::from_millis(oldest_unflushed_ms),
        level: FeatureLevel(feature_level),
        replicas_max_count,
        incarnation: incarnation.map(incarnation_from_proto),
    };
    reading.bounded()
}

pub(crate) fn checks_to_proto(checks: &NodeChecks) -> Vec<proto::NodeCheck> {
    let to_proto = |check: &CheckReport| {
        let CheckReport {
            name,
            severity,
            not_ready,
            text,
            next_step,
            evidence,
        } = check.clone();
        proto::NodeCheck {
            name,
            severity: severity.as_str().to_owned(),
            not_ready,
            text,
            next_step,
            evidence: evidence.into_iter().collect(),
        }
    };
    checks.iter().map(to_proto).collect()
}

/// Count and texts are in their bounds afterwards.
pub(crate) fn checks_from_proto(checks: Vec<proto::NodeCheck>) -> NodeChecks {
    NodeChecks::new(checks.into_iter().map(|check| {
        let proto::NodeCheck {
            name,
            severity,
            not_ready,
            text,
            next_step,
            evidence,
        } = check;
        let mut evidence: Vec<(String, String)> = evidence.into_iter().collect();
        evidence.sort_unstable();
        CheckReport {
            name,
            severity: Severity::from_wire(&severity),
            not_ready,
            text,
            next_step,
            evidence,
        }
    }))
}

#[cfg(test)]
mod tests {
    use lograft_core::check::{CheckName, Evidence, RaisedCheck};
    use lograft_core::limits::CLOCK_READING_MAX_MS;

    use super::*;

    #[test]
    fn a_reading_survives_the_wire_and_is_bounded() {
        let reading = NodeReading {
            clock_ms: 1_700_000_000_000,
            disk: DiskReading {
                mark: DiskMark::Full,
                free_bytes: 1,
                total_bytes: 2,
                free_inodes: 3,
                total_inodes: 4,
            },
            oldest_unflushed: Duration::from_millis(50),
            level: FeatureLevel(2),
            replicas_max_count: 3000,
            incarnation: Some(Incarnation {
                number: 7,
                session: u64::MAX,
            }),
        };
        assert_eq!(from_proto(to_proto(reading)), reading);
        let later = proto::NodeReading {
            clock_ms: i64::MAX,
            disk_mark: 77,
            ..proto::NodeReading::default()
        };
        let found = from_proto(later);
        assert_eq!(found.disk.mark, DiskMark::Unknown);
        assert_eq!(found.clock_ms, CLOCK_READING_MAX_MS);
    }

    #[test]
    fn checks_survive_the_wire() {
        let evidence = [Evidence::FreeBytes(5), Evidence::FreeInodes(6)];
        let checks = NodeChecks::of(&[RaisedCheck::new(CheckName::DiskLow, evidence)]);
        assert_eq!(checks_from_proto(checks_to_proto(&checks)), checks);
    }
}
