//! The metrics of the connections to the gRPC ports.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::{MetricsError, counters, gauges};

/// The connections that clients and peers have opened.
pub struct ConnectionMetrics {
    /// Open connections, by port.
    pub open: IntGaugeVec,
    /// Connections closed because there were too many, by port.
    pub refused: IntCounterVec,
    /// Those of them that exceeded the share of their address or user.
    pub over_share: IntCounterVec,
    /// Connections closed at the end of their lifetime, by reason.
    pub expired: IntCounterVec,
    /// TLS handshakes that failed, by port.
    pub handshakes_failed: IntCounterVec,
}

impl ConnectionMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            open: gauges(r, "lograft_connections", "Open connections.", &["port"])?,
            refused: counters(
                r,
                "lograft_connections_refused_total",
                "Connections closed because there were too many.",
                "port",
            )?,
            over_share: counters(
                r,
                "lograft_connections_over_share_total",
                "Connections closed because their address or user had too many.",
                "share",
            )?,
            expired: counters(
                r,
                "lograft_connections_expired_total",
                "Connections closed at their maximum age, or before the end of their certificate.",
                "reason",
            )?,
            handshakes_failed: counters(
                r,
                "lograft_handshakes_failed_total",
                "TLS handshakes that failed.",
                "port",
            )?,
        })
    }
}
