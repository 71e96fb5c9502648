//! Deletes the records of a partition before an offset: its leader moves the log start through
//! raft, as the retention does, and each replica deletes its own whole segments below it.

use std::sync::Arc;

use lograft_core::limits::PRODUCE_TIMEOUT_DEFAULT;
use lograft_core::metadata::MetaError;
use lograft_core::{EntryKind, FeatureLevel, Offset, PartitionState, Proposal, Reason, Term};
use lograft_raft::ProposeError;
use tokio::time::timeout;

use super::engine::LogEngine;
use super::fetch::position;
use super::leadership::Leadership;
use super::locate::{Elsewhere, Safety};
use super::replica::Replica;
use super::request::{DeleteBefore, DeleteRecordsRequest, DeletedRecords};
use crate::error::ApiError;
use crate::state_machine::Watermarks;

/// The feature level from which on all nodes know the call.
const LEVEL: FeatureLevel = FeatureLevel(2);

/// Deletes records at the partition's leader. A TIMEOUT error means that the outcome is unknown;
/// a repeated call changes nothing.
pub(crate) async fn delete_records(
    engine: &LogEngine,
    request: DeleteRecordsRequest,
) -> Result<DeletedRecords, ApiError> {
    check_level(engine)?;
    let request = &request;
    let here = |replica| delete_here(engine, replica, request.before);
    let there = |leader: Elsewhere| engine.forward.delete_records(leader.node, request.clone());
    engine
        .locator
        .at_leader(&request.target, Safety::Repeatable, here, there)
        .await
}

/// Without it, whether records can be deleted would depend on the version of the node that happens
/// to lead.
fn check_level(engine: &LogEngine) -> Result<(), ApiError> {
    let finalized = engine.locator.meta.load().finalized_level();
    if finalized >= LEVEL {
        return Ok(());
    }
    let error = MetaError::NotFinalized {
        feature: "DeleteRecords".to_owned(),
        level: LEVEL,
        finalized,
    };
    Err(error.into())
}

async fn delete_here(
    engine: &LogEngine,
    replica: Arc<Replica>,
    before: DeleteBefore,
) -> Result<DeletedRecords, ApiError> {
    let Leadership::Ready(term) = Leadership::of(&replica.raft) else {
        return Err(ApiError::not_leader(None));
    };
    // The bounds that the offset is checked against must be those of the leader.
    position::catch_up(&replica).await?;
    let Watermarks {
        log_start_offset,
        high_watermark,
        commit_index: _,
    } = replica.state.watermarks();
    let target = match before {
        DeleteBefore::Offset(offset) if offset > high_watermark => {
            let bounds = (log_start_offset, high_watermark);
            return Err(ApiError::above_end(
                "offset to delete before",
                offset,
                bounds,
            ));
        }
        DeleteBefore::Offset(offset) => offset,
        DeleteBefore::HighWatermark => high_watermark,
    };
    if target > log_start_offset {
        let trimmed = timeout(
            PRODUCE_TIMEOUT_DEFAULT,
            trim(engine, &replica, target, term),
        );
        tokio::select! {
            trimmed = trimmed => trimmed.unwrap_or_else(|_| Err(unknown()))?,
            // Raft does not answer while it waits for a disk that hangs.
            () = replica.raft.disk_hangs() => return Err(unknown()),
        }
    }
    let marks = replica.state.watermarks();
    Ok(DeletedRecords {
        log_start_offset: marks.log_start_offset,
        high_watermark: marks.high_watermark,
        term,
    })
}

/// Moves the log start. It is visible to readers of this replica afterwards.
async fn trim(
    engine: &LogEngine,
    replica: &Replica,
    to: Offset,
    term: Term,
) -> Result<(), ApiError> {
    let payload = PartitionState::trim_payload(to);
    let proposal = Proposal::control(EntryKind::Trim, engine.clock.now_ms(), payload);
    let committed = async { replica.raft.propose(proposal, term).await?.await };
    match committed.await {
        Ok(_) => Ok(()),
        // Whether or not another leader has the entry: the call may be repeated there.
        Err(ProposeError::NotLeader { .. } | ProposeError::Discarded { .. }) => {
            Err(ApiError::not_leader(None))
        }
        Err(ProposeError::Stopped) => Err(ApiError::replica_closing()),
    }
}

fn unknown() -> ApiError {
    let text = "not acknowledged in time: the records may or may not be deleted";
    ApiError::new(Reason::Timeout, text)
}
