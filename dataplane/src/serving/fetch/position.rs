//! Where a client wants to begin, as an offset.

use std::sync::Arc;

use lograft_core::{Offset, Reason};
use lograft_proto::log::v1 as proto;
use lograft_raft::RaftError;

use crate::api::grpc::status::ApiError;
use crate::serving::replica::Replica;

/// Makes sure that all that was acknowledged before this call can be seen here.
pub(crate) async fn catch_up(replica: &Replica) -> Result<(), ApiError> {
    replica
        .raft
        .ensure_linearizable()
        .await
        .map_err(|error| match error {
            RaftError::NotLeader { .. } => ApiError::not_leader(None),
            _ => ApiError::new(Reason::NoLeader, "the partition's replicas do not answer"),
        })
}

/// The offset of a position. What is about the log's end is asked of a quorum first.
pub(crate) async fn resolve(
    replica: &Arc<Replica>,
    position: Option<proto::Position>,
) -> Result<Offset, ApiError> {
    use proto::position::At;
    let at = position.and_then(|position| position.at);
    match at.ok_or_else(|| ApiError::invalid("position", "set"))? {
        At::Offset(offset) => {
            // Only an end that is seen too early makes an offset look too large.
            if Offset(offset) > replica.state.watermarks().high_watermark {
                catch_up(replica).await?;
            }
            Ok(Offset(offset))
        }
        At::Earliest(_) => Ok(replica.state.watermarks().log_start_offset),
        At::Latest(_) => {
            catch_up(replica).await?;
            Ok(replica.state.watermarks().high_watermark)
        }
        At::TimestampMs(time_ms) => {
            catch_up(replica).await?;
            let found = at_time(replica, time_ms).await?;
            Ok(found.unwrap_or_else(|| replica.state.watermarks().high_watermark))
        }
    }
}

/// The offset of the first batch that holds a record of `time_ms` or later.
pub(crate) async fn at_time(
    replica: &Arc<Replica>,
    time_ms: i64,
) -> Result<Option<Offset>, ApiError> {
    let replica = Arc::clone(replica);
    let look = move || {
        let marks = replica.state.watermarks();
        let found = replica.log.offset_for_time(time_ms, marks.high_watermark)?;
        // The files may reach further back than the log.
        Ok(found.map(|offset| offset.max(marks.log_start_offset)))
    };
    let looked = tokio::task::spawn_blocking(look).await;
    let looked = looked.map_err(|error| ApiError::internal("looking for a time", &error))?;
    looked.map_err(|error: lograft_storage::StorageError| {
        ApiError::internal("looking for a time", &error)
    })
}
