//! Counters of a producer.

use std::sync::atomic::{AtomicU64, Ordering};

use super::outcome::Ack;
use super::partition_queue::batch::Settled;

/// Counters of a producer since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerStats {
    /// Acknowledged records.
    pub acked_records: u64,
    /// Records whose delivery failed.
    pub failed_records: u64,
    /// Acknowledged batches.
    pub acked_batches: u64,
    /// Acknowledged bytes, encoded.
    pub acked_bytes: u64,
    /// Batches that a leader had stored before, because an acknowledgement was lost.
    pub duplicate_batches: u64,
    /// Batches sent again.
    pub resent_batches: u64,
    /// Bytes accepted and not yet acknowledged.
    pub buffered_bytes: usize,
}

/// The counters behind [`ProducerStats`].
#[derive(Default)]
pub(super) struct Counters {
    acked_records: AtomicU64,
    failed_records: AtomicU64,
    acked_batches: AtomicU64,
    acked_bytes: AtomicU64,
    duplicate_batches: AtomicU64,
    resent_batches: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn count_stored(&self, batch: &Settled, ack: &Ack) {
        add(&self.acked_records, batch.record_count.into());
        add(&self.acked_batches, 1);
        add(&self.acked_bytes, batch.encoded_bytes as u64);
        add(&self.duplicate_batches, ack.duplicate.into());
    }

    pub(super) fn count_failed(&self, batch: &Settled) {
        add(&self.failed_records, batch.record_count.into());
    }

    pub(super) fn count_resent(&self) {
        add(&self.resent_batches, 1);
    }

    pub(super) fn snapshot(&self, buffered_bytes: usize) -> ProducerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProducerStats {
            acked_records: read(&self.acked_records),
            failed_records: read(&self.failed_records),
            acked_batches: read(&self.acked_batches),
            acked_bytes: read(&self.acked_bytes),
            duplicate_batches: read(&self.duplicate_batches),
            resent_batches: read(&self.resent_batches),
            buffered_bytes,
        }
    }
}
