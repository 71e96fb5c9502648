//! Reads for clients that may wait for the disk.

use lograft_core::Reason;
use lograft_core::limits::CLIENT_READ_MAX;
use lograft_storage::{GroupLog, ReadLane, StorageError};

use crate::error::ApiError;

/// Runs a read on one of the threads for reads of clients. Fails with TOO_MANY_READS or with
/// TIMEOUT, after which the client may retry.
pub(super) async fn read_from_disk<T: Send + 'static>(
    log: GroupLog,
    read: impl FnOnce(&GroupLog) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let reading = lograft_raft::read_log(&log, ReadLane::Client, read);
    match tokio::time::timeout(CLIENT_READ_MAX, reading).await {
        Ok(Ok(found)) => found,
        Ok(Err(error @ StorageError::ReadsBusy { .. })) => {
            Err(ApiError::new(Reason::TooManyReads, error.to_string()))
        }
        Ok(Err(_)) => Err(ApiError::replica_closing()),
        Err(_) => Err(ApiError::new(
            Reason::Timeout,
            format!("the disk of this node did not answer within {CLIENT_READ_MAX:?}"),
        )),
    }
}
