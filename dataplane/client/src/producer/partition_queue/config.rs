//! Settings of a partition queue.

use std::sync::Arc;

use lograft_core::PartitionId;
use lograft_core::compression::Compression;
use lograft_core::limits::BATCH_MAX_BYTES;
use tokio::time::Duration;

/// Settings of a partition queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueConfig {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: PartitionId,
    pub(crate) compression: Compression,
    /// Size at which a batch is closed, bytes. The last record may exceed it.
    pub(crate) batch_max_bytes: usize,
    /// Maximum size of a batch of the topic, bytes, if the topic sets one. A batch of several
    /// records never exceeds it.
    pub(crate) topic_max_bytes: Option<u32>,
    pub(crate) linger: Duration,
    pub(crate) delivery_timeout: Duration,
    pub(crate) idempotent: bool,
}

impl QueueConfig {
    /// Maximum size of a batch, bytes.
    pub(super) fn hard_max_bytes(&self) -> usize {
        self.topic_max_bytes
            .map_or(BATCH_MAX_BYTES, |bytes| bytes as usize)
    }
}
