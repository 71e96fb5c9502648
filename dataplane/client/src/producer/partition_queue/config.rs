//! Settings of a partition queue.

use std::sync::Arc;

use lograft_core::PartitionId;
use lograft_core::compression::Compression;
use tokio::time::Duration;

/// Settings of a partition queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueConfig {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: PartitionId,
    pub(crate) compression: Compression,
    pub(crate) batch_max_bytes: usize,
    pub(crate) linger: Duration,
    pub(crate) delivery_timeout: Duration,
    pub(crate) idempotent: bool,
}
