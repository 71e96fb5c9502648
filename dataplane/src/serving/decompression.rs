//! Memory of batches that are being decompressed, bounded for all clients of a node together. A
//! batch of a few hundred bytes may be megabytes long when it is decompressed.

use std::sync::Arc;

use lograft_core::limits::{BATCH_UNCOMPRESSED_MAX_BYTES, CHECK_INLINE_MAX_BYTES, CLIENT_READ_MAX};
use lograft_core::{BatchError, BatchView, Compression, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::ApiError;

/// The memory of decompressed batches.
///
/// It is reserved for as long as a batch is checked or records are taken from it, never until a
/// client takes something: so everybody who waits gets it soon.
#[derive(Clone, Debug)]
pub(crate) struct Decompression {
    free: Arc<Semaphore>,
}

/// Memory that is reserved until this is dropped.
#[derive(Debug)]
pub(super) struct DecompressionMemory(
    #[expect(dead_code, reason = "held")] Option<OwnedSemaphorePermit>,
);

impl Decompression {
    /// Up to `max_bytes`, and at least one batch.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let max_bytes = max_bytes.clamp(BATCH_UNCOMPRESSED_MAX_BYTES, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(max_bytes)),
        }
    }

    /// Reserves all of it, as others do.
    #[cfg(test)]
    pub(crate) async fn hold_all(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(self.free.available_permits()).unwrap();
        Arc::clone(&self.free)
            .acquire_many_owned(all)
            .await
            .unwrap()
    }

    /// Reserves the memory of a batch; waits while it is used up. The caller MUST bound the wait.
    pub(super) async fn reserve(&self, batch: &BatchView) -> DecompressionMemory {
        if !is_large(batch) {
            // The threads of the runtime bound how many are decompressed at once.
            return DecompressionMemory(None);
        }
        let permits = u32::try_from(batch.uncompressed_len()).unwrap_or(u32::MAX);
        let reserved = Arc::clone(&self.free).acquire_many_owned(permits).await;
        // It is never closed.
        DecompressionMemory(reserved.ok())
    }

    /// Runs `read`, which decompresses a batch of the log. A large one waits for its memory, which
    /// is returned with the result, and is read on a thread for blocking work. Fails with
    /// TOO_MANY_READS if no memory is free for long.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        view: BatchView,
        read: impl FnOnce(&BatchView) -> Result<T, BatchError> + Send + 'static,
    ) -> Result<(T, DecompressionMemory), ApiError> {
        let memory = timeout(CLIENT_READ_MAX, self.reserve(&view)).await;
        let memory = memory.map_err(|_| {
            let text = "the batches that are being decompressed take all the memory for them";
            ApiError::new(Reason::TooManyReads, text)
        })?;
        let (result, memory) = if is_large(&view) {
            // The memory is held to the end of the work, also if nobody waits for it any more.
            let reading = tokio::task::spawn_blocking(move || (read(&view), memory));
            reading.await.map_err(|_| ApiError::replica_closing())?
        } else {
            (read(&view), memory)
        };
        result
            .map(|result| (result, memory))
            .map_err(|error| undecodable(&error))
    }
}

/// The error of a batch of the log that cannot be decoded. Every batch was checked before it was
/// appended, so this is a fault of the node.
pub(super) fn undecodable(error: &BatchError) -> ApiError {
    ApiError::internal("decode a batch of the log", error)
}

/// Whether a batch takes so long to decompress that it is done on a thread for blocking work.
pub(super) fn is_large(batch: &BatchView) -> bool {
    batch.compression() != Compression::None && batch.uncompressed_len() > CHECK_INLINE_MAX_BYTES
}
