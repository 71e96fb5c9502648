//! The state that nodes exchange continuously, with their heartbeats.

use std::time::Duration;

use crate::feature_level::FeatureLevel;
use crate::incarnation::Incarnation;
use crate::limits::{CLOCK_READING_MAX_MS, UNFLUSHED_AGE_SHOWN_MAX};

/// Whether a node's disk has room, in the order of severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskMark {
    /// The node has not measured its disk, or does not report it.
    #[default]
    Unknown,
    /// There is room.
    Ok,
    /// Below the first mark: no new produce requests.
    Low,
    /// Below the second mark: no entries with records at all.
    Full,
}

/// Space and inodes of the data disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskReading {
    /// Whether there is room.
    pub mark: DiskMark,
    /// Free bytes.
    pub free_bytes: u64,
    /// Size in bytes; 0 if unknown.
    pub total_bytes: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// Number of inodes; 0 if unknown, or if the file system has no fixed number of them.
    pub total_inodes: u64,
}

/// The state of a node at one moment, as the node itself reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeReading {
    /// Its wall clock, milliseconds since the Unix epoch.
    pub clock_ms: i64,
    /// Its data disk.
    pub disk: DiskReading,
    /// Age of its oldest write that is not flushed yet; zero if there is none.
    pub oldest_unflushed: Duration,
    /// The newest feature level that it knows.
    pub level: FeatureLevel,
    /// Number of replicas that it carries at most; 0 if it does not report it.
    pub replicas_max_count: u32,
    /// Its incarnation; `None` if it does not report it.
    pub incarnation: Option<Incarnation>,
}

impl NodeReading {
    /// The reading with every value in its bounds. A peer may send anything, and differences
    /// between readings must not overflow.
    #[must_use]
    pub fn bounded(self) -> Self {
        let Self {
            clock_ms,
            disk,
            oldest_unflushed,
            level,
            replicas_max_count,
            incarnation,
        } = self;
        Self {
            clock_ms: clock_ms.clamp(0, CLOCK_READING_MAX_MS),
            disk: DiskReading {
                mark: disk.mark,
                free_bytes: disk.free_bytes.min(disk.total_bytes),
                total_bytes: disk.total_bytes,
                free_inodes: disk.free_inodes.min(disk.total_inodes),
                total_inodes: disk.total_inodes,
            },
            oldest_unflushed: oldest_unflushed.min(UNFLUSHED_AGE_SHOWN_MAX),
            level,
            replicas_max_count,
            incarnation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_a_peer_is_bounded() {
        let reading = NodeReading {
            clock_ms: i64::MAX,
            disk: DiskReading {
                mark: DiskMark::Low,
                free_bytes: 9,
                total_bytes: 5,
                free_inodes: u64::MAX,
                total_inodes: 7,
            },
            oldest_unflushed: Duration::MAX,
            level: FeatureLevel(u32::MAX),
            replicas_max_count: u32::MAX,
            incarnation: None,
        };
        let bounded = reading.bounded();
        assert_eq!(bounded.clock_ms, CLOCK_READING_MAX_MS);
        assert_eq!((bounded.disk.free_bytes, bounded.disk.free_inodes), (5, 7));
        assert_eq!(bounded.oldest_unflushed, UNFLUSHED_AGE_SHOWN_MAX);
        assert_eq!(bounded.bounded(), bounded);
        let past = NodeReading {
            clock_ms: i64::MIN,
            ..NodeReading::default()
        };
        assert_eq!(past.bounded().clock_ms, 0);
    }
}
