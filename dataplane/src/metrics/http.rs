//! The metrics of requests over HTTP.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::{LATENCY_BUCKETS_S, MetricsError};

/// Requests over HTTP.
pub struct HttpMetrics {
    /// Requests, by method, route and class of the status.
    pub requests: IntCounterVec,
    /// Time until the head of the answer, by method and route.
    pub seconds: HistogramVec,
}

impl HttpMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        let requests = IntCounterVec::new(
            Opts::new("lograft_http_requests_total", "HTTP requests."),
            &["method", "route", "status"],
        )?;
        let options = HistogramOpts::new(
            "lograft_http_request_duration_seconds",
            "Time from an HTTP request to the head of its answer.",
        );
        let seconds = HistogramVec::new(
            options.buckets(LATENCY_BUCKETS_S.to_vec()),
            &["method", "route"],
        )?;
        r.register(Box::new(requests.clone()))?;
        r.register(Box::new(seconds.clone()))?;
        Ok(Self { requests, seconds })
    }
}
