//! Positions in a partition as offsets.

use std::sync::Arc;

use lograft_core::limits::{CLIENT_READ_MAX, READ_CONFIRM_MAX};
use lograft_core::{BatchView, Entry, Offset, Reason};
use lograft_raft::RaftError;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::serving::decompression::{Decompression, undecodable};
use crate::serving::disk_read::{failed_read, read_from_disk};
use crate::serving::replica::Replica;
use crate::serving::request::{Consistency, Position};

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

/// The offset of a position. Positions that depend on the end of the log are linearizable, unless
/// the replica need not lead: then its own end counts.
pub(super) async fn resolve(
    replica: &Arc<Replica>,
    (position, consistency): (Position, Consistency),
    decompression: &Decompression,
) -> Result<Offset, ApiError> {
    let catch_up = async |replica| match consistency {
        Consistency::Session => Ok(()),
        Consistency::Leader | Consistency::Linearizable => catch_up(replica).await,
    };
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
            // The end that was searched, not one read later: records that are written during the
            // search may be of the time.
            let end = replica.state.watermarks().high_watermark;
            let found = at_time(replica, time_ms, end, decompression).await?;
            Ok(found.unwrap_or(end))
        }
    }
}

/// The offset of the first record below `end` whose timestamp is `time_ms` or later. `end` MUST be
/// a high watermark. Fails with TOO_MANY_READS or with TIMEOUT, after which the client may retry.
pub(crate) async fn at_time(
    replica: &Arc<Replica>,
    time_ms: i64,
    end: Offset,
    decompression: &Decompression,
) -> Result<Option<Offset>, ApiError> {
    let search = search_time(replica, time_ms, end, decompression);
    let too_late = |_| {
        let text = format!("the offset of the time was not found within {CLIENT_READ_MAX:?}");
        ApiError::new(Reason::Timeout, text)
    };
    timeout(CLIENT_READ_MAX, search).await.map_err(too_late)?
}

async fn search_time(
    replica: &Arc<Replica>,
    time_ms: i64,
    end: Offset,
    decompression: &Decompression,
) -> Result<Option<Offset>, ApiError> {
    const ACTION: &str = "find the offset of a timestamp";
    let mut from = replica.state.watermarks().log_start_offset;
    // The log start may be inside of a batch whose late records are all before it. The search then
    // continues after that batch, and the next one found has a record of the time.
    loop {
        let batch = read_from_disk(replica.log.clone(), move |log| {
            let found = log.batch_for_time(time_ms, from..end);
            found.map_err(|error| failed_read(log, ACTION, &error))
        });
        let Some(batch) = batch.await? else {
            return Ok(None);
        };
        let next = batch.next_offset();
        let found = first_at(batch, from, time_ms, decompression).await?;
        let log_start = replica.state.watermarks().log_start_offset;
        match found {
            Some(offset) if offset >= log_start => return Ok(Some(offset)),
            // It was deleted during the search.
            Some(_) => from = log_start,
            None => from = next.max(log_start),
        }
    }
}

/// The offset of the first record of a batch, from the offset `from` on, whose timestamp is
/// `time_ms` or later.
async fn first_at(
    batch: Entry,
    from: Offset,
    time_ms: i64,
    decompression: &Decompression,
) -> Result<Option<Offset>, ApiError> {
    let base_offset = batch.base_offset;
    let skipped = from.since(base_offset);
    let view = BatchView::parse(batch.proposal.payload).map_err(|error| undecodable(&error))?;
    let read = move |view: &BatchView| view.decode()?.position_of_time(skipped, time_ms);
    let (position, _) = decompression.read(view, read).await?;
    Ok(position.map(|position| base_offset.plus(position)))
}
