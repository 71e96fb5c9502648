//! Reads for clients that may wait for the disk.

use lograft_core::Reason;
use lograft_core::limits::CLIENT_READ_MAX;
use lograft_storage::{GroupLog, ReadLane, StorageError};

use crate::error::ApiError;
use crate::error_text::error_chain;

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

/// The error of a client's read of a replica's log. The log remembers damage, and `control` sets
/// the replica aside and repairs it from the others.
pub(super) fn failed_read(log: &GroupLog, action: &'static str, error: &StorageError) -> ApiError {
    if error.is_damage() {
        let (group, error) = (log.id(), error_chain(error));
        tracing::error!(%group, error, "damage met by a read from disk");
        let text = "this node's replica of the partition is corrupt and being repaired";
        return ApiError::new(Reason::ReplicaCorrupt, text);
    }
    if error.is_retryable() {
        let (group, error) = (log.id(), error_chain(error));
        tracing::warn!(%group, error, "no resources for a read from disk");
        let text = "this node has no free file descriptor or memory to read the log; retry";
        return ApiError::new(Reason::NotReady, text);
    }
    if matches!(error, StorageError::Closed(_)) {
        return ApiError::not_leader(None); // the replica was closed during the read
    }
    ApiError::internal(action, error)
}
