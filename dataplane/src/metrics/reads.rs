//! The metrics of reads, by the replica that was read.

use prometheus::{IntCounterVec, Opts, Registry};

use super::MetricsError;

/// Reads of this node's replicas.
pub struct ReadMetrics {
    /// Batch bytes, by the role of the replica, `leader` or `follower`, and by the zone of the
    /// client: `same` as this node's, `other`, or `unknown`.
    pub bytes: IntCounterVec,
}

impl ReadMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        let bytes = IntCounterVec::new(
            Opts::new(
                "lograft_fetch_replica_bytes_total",
                "Bytes read for consumers, by the role of the replica and the zone of the client.",
            ),
            &["role", "zone"],
        )?;
        r.register(Box::new(bytes.clone()))?;
        Ok(Self { bytes })
    }
}
