//! Positions in a partition as offsets.

use std::sync::Arc;

use lograft_core::Offset;
use lograft_core::limits::READ_CONFIRM_MAX;
use lograft_raft::RaftError;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::serving::disk_read::{failed_read, read_from_disk};
use crate::serving::replica::Replica;
use crate::serving::request::Position;

/// Makes sure that everything that was acknowledged before this call is visible on this replica: a
/// leader that was deposed without noticing would otherwise serve a stale end of the log. Fails if
/// this node does not lead, or if a majority does not respond; the client may retry.
pub(crate) async fn catch_up(replica: &Replica) -> Result<(), ApiError> {
    let confirmed = timeout(READ_CONFIRM_MAX, replica.raft.ensure_linearizable());
    let confirmed = tokio::select! {
        confirmed = confirmed => confirmed,
        // Raft does not answer while it waits for a disk that hangs.
        () = replica.raft.disk_hangs() => return Err(ApiError::no_majority()),
    };
    match confirmed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(RaftError::NotLeader { .. })) => Err(ApiError::not_leader(None)),
        Ok(Err(_)) | Err(_) => Err(ApiError::no_majority()),
    }
}

/// The offset of a position. Positions that depend on the end of the log are linearizable.
pub(super) async fn resolve(
    replica: &Arc<Replica>,
    position: Position,
) -> Result<Offset, ApiError> {
    match position {
        Position::Offset(offset) => {
            // Beyond the high watermark: it may be this replica that is behind, not the offset
            // that is too large.
            if offset > replica.state.watermarks().high_watermark {
                catch_up(replica).await?;
            }
            Ok(offset)
        }
        Position::Earliest => Ok(replica.state.watermarks().log_start_offset),
        Position::Latest => {
            catch_up(replica).await?;
            Ok(replica.state.watermarks().high_watermark)
        }
        Position::Timestamp(time_ms) => {
            catch_up(replica).await?;
            let found = at_time(replica, time_ms).await?;
            Ok(found.unwrap_or_else(|| replica.state.watermarks().high_watermark))
        }
    }
}

/// The offset of the first batch with a record of `time_ms` or later.
pub(crate) async fn at_time(
    replica: &Arc<Replica>,
    time_ms: i64,
) -> Result<Option<Offset>, ApiError> {
    const ACTION: &str = "find the offset of a timestamp";
    let replica = Arc::clone(replica);
    read_from_disk(replica.log.clone(), move |log| {
        let marks = replica.state.watermarks();
        let found = log.offset_for_time(time_ms, marks.high_watermark);
        let found = found.map_err(|error| failed_read(log, ACTION, &error))?;
        // The oldest segment may start below the log start offset.
        Ok(found.map(|offset| offset.max(marks.log_start_offset)))
    })
    .await
}
