//! The metrics of the data directory.

use prometheus::{Histogram, IntCounter, Registry};

use super::{MetricsError, counter, histogram};

/// Writes to and reads from the disk. Cheap to clone.
#[derive(Clone)]
pub struct StorageMetrics {
    /// The time of an fdatasync, seconds.
    pub flush_seconds: Histogram,
    /// Bytes written to the data directory.
    pub written_bytes: IntCounter,
    /// Bytes read from it.
    pub read_bytes: IntCounter,
}

impl StorageMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            flush_seconds: histogram(
                r,
                "lograft_storage_flush_duration_seconds",
                "Duration of an fdatasync.",
            )?,
            written_bytes: counter(
                r,
                "lograft_storage_written_bytes_total",
                "Bytes written to the data directory.",
            )?,
            read_bytes: counter(
                r,
                "lograft_storage_read_bytes_total",
                "Bytes read from the data directory.",
            )?,
        })
    }
}
