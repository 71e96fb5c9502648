//! Reads of a log that may wait for its disk, awaited.

use lograft_core::limits::RAFT_READ_RETRY_INTERVAL;
use lograft_storage::{GroupLog, ReadLane, StorageError};
use tokio::sync::oneshot;

/// Runs a read of a log on one of storage's threads for reads and waits for its result. The
/// runtime's own threads are never blocked: a disk that hangs would otherwise take one after the
/// other, and heartbeats with them.
///
/// Fails with [`StorageError::ReadsBusy`] if too many reads wait already.
pub async fn read_log<T: Send + 'static>(
    log: &GroupLog,
    lane: ReadLane,
    read: impl FnOnce(&GroupLog) -> T + Send + 'static,
) -> Result<T, StorageError> {
    let (sender, result) = oneshot::channel();
    log.run_read(lane, read, |found| {
        sender.send(found).ok();
    })?;
    // Dropped without a result: the storage is closing.
    result.await.map_err(|_| StorageError::Closed(log.id()))
}

/// Runs a read for raft, which retries until there is a thread for it.
pub(crate) async fn read_for_raft<T: Send + 'static>(
    log: &GroupLog,
    read: impl Fn(&GroupLog) -> T + Clone + Send + 'static,
) -> Result<T, StorageError> {
    loop {
        match read_log(log, ReadLane::Raft, read.clone()).await {
            Err(StorageError::ReadsBusy { .. }) => {
                tokio::time::sleep(RAFT_READ_RETRY_INTERVAL).await;
            }
            result => return result,
        }
    }
}
