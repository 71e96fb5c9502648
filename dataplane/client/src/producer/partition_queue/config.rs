//! Settings of a partition queue.

use std::sync::Arc;

use lograft_core::PartitionId;
use lograft_core::compression::Compression;
use lograft_core::limits::{BATCH_DEFAULT_BYTES, RECORD_DEFAULT_BYTES};
use tokio::time::Duration;

/// The limits of a topic for its batches and records, as they are known; none that it does not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicLimits {
    /// Maximum size of a batch, bytes. A batch of several records never exceeds it.
    pub(crate) batch_max_bytes: Option<u32>,
    /// Maximum size of a record, bytes.
    pub(crate) record_max_bytes: Option<u32>,
}

/// Settings of a partition queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueConfig {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: PartitionId,
    pub(crate) compression: Compression,
    /// Size at which a batch is closed, bytes. The last record may exceed it.
    pub(crate) batch_max_bytes: usize,
    /// The limits of the topic.
    pub(crate) topic_limits: TopicLimits,
    pub(crate) linger: Duration,
    pub(crate) delivery_timeout: Duration,
    pub(crate) idempotent: bool,
}

impl QueueConfig {
    /// Maximum size of a batch, bytes.
    pub(super) fn hard_max_bytes(&self) -> usize {
        let bytes = self.topic_limits.batch_max_bytes;
        bytes.map_or(BATCH_DEFAULT_BYTES, |bytes| bytes as usize)
    }

    /// Maximum size of a record, bytes.
    pub(super) fn record_max_bytes(&self) -> usize {
        let bytes = self.topic_limits.record_max_bytes;
        bytes.map_or(RECORD_DEFAULT_BYTES, |bytes| bytes as usize)
    }
}
