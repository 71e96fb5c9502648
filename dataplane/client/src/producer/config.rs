//! Producer configuration: batching, buffering, delivery.

use std::time::Duration;

use lograft_core::compression::Compression;
use lograft_core::limits;

use crate::error::ClientError;

/// Batching and delivery settings of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Compression of batches.
    pub compression: Compression,
    /// Size at which a batch is closed, bytes before compression.
    pub batch_max_bytes: usize,
    /// Maximum size of the unacknowledged batches at one leader, bytes.
    pub in_flight_max_bytes: usize,
    /// Maximum size of the records accepted and not yet acknowledged, bytes. Sending waits while
    /// the buffer is full.
    pub buffer_max_bytes: usize,
    /// Time for which a batch that is not full waits for more records. With zero a batch is sent as
    /// soon as few batches of its partition are in flight, so batches grow with the load.
    pub linger: Duration,
    /// Time after which undelivered records fail.
    pub delivery_timeout: Duration,
    /// Time that a leader may take to process one batch before the batch is sent again.
    pub request_timeout: Duration,
    /// Whether each record is stored exactly once and in order. If false, a batch whose
    /// acknowledgement was lost is stored again.
    pub idempotent: bool,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            batch_max_bytes: limits::PRODUCER_BATCH_BYTES,
            in_flight_max_bytes: limits::PRODUCER_IN_FLIGHT_MAX_BYTES,
            buffer_max_bytes: limits::PRODUCER_BUFFER_MAX_BYTES,
            linger: Duration::ZERO,
            delivery_timeout: limits::PRODUCER_DELIVERY_TIMEOUT,
            request_timeout: limits::PRODUCER_REQUEST_TIMEOUT,
            idempotent: true,
        }
    }
}

impl ProducerConfig {
    pub(super) fn validate(&self) -> Result<(), ClientError> {
        let batch = limits::PRODUCER_BATCH_MIN_BYTES..=limits::PRODUCER_BATCH_MAX_BYTES;
        if !batch.contains(&self.batch_max_bytes) {
            let bound = format!("between {} and {} bytes", batch.start(), batch.end());
            return Err(ClientError::config(
                "batch_max_bytes",
                bound,
                self.batch_max_bytes,
            ));
        }
        for (field, is_zero) in [
            ("in_flight_max_bytes", self.in_flight_max_bytes == 0),
            ("buffer_max_bytes", self.buffer_max_bytes == 0),
            ("delivery_timeout", self.delivery_timeout.is_zero()),
            ("request_timeout", self.request_timeout.is_zero()),
        ] {
            if is_zero {
                return Err(ClientError::config(field, "more than 0", 0));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_bounds_are_rejected_by_name() {
        let valid = ProducerConfig::default;
        assert!(valid().validate().is_ok());
        let invalid = [
            (
                "batch_max_bytes",
                ProducerConfig {
                    batch_max_bytes: 1,
                    ..valid()
                },
            ),
            (
                "in_flight_max_bytes",
                ProducerConfig {
                    in_flight_max_bytes: 0,
                    ..valid()
                },
            ),
            (
                "buffer_max_bytes",
                ProducerConfig {
                    buffer_max_bytes: 0,
                    ..valid()
                },
            ),
            (
                "delivery_timeout",
                ProducerConfig {
                    delivery_timeout: Duration::ZERO,
                    ..valid()
                },
            ),
            (
                "request_timeout",
                ProducerConfig {
                    request_timeout: Duration::ZERO,
                    ..valid()
                },
            ),
        ];
        for (field, config) in invalid {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field} must be ")), "{error}");
        }
    }
}
