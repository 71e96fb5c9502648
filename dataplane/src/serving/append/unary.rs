//! Appends of one batch each: the caller waits for the acknowledgement.

use std::sync::Arc;

use tokio::time::Instant;

use super::coalesce::Unsent;
use super::{check, or_stored_before, too_late};
use crate::error::ApiError;
use crate::serving::append_budget::Reserved;
use crate::serving::engine::LogEngine;
use crate::serving::locate::{Elsewhere, Safety};
use crate::serving::replica::Replica;
use crate::serving::request::{AppendRequest, Appended, Content};

/// Appends a batch at the partition's leader. A TIMEOUT error means that the outcome is unknown.
pub(crate) async fn append(
    engine: &LogEngine,
    request: AppendRequest,
) -> Result<Appended, ApiError> {
    let started = Instant::now();
    let bytes = check::content_bytes(&request.content);
    let timeout = request.timeout;
    let deadline = started + timeout;
    let appending = append_until(engine, request, deadline);
    let outcome = tokio::time::timeout_at(deadline, appending)
        .await
        .unwrap_or_else(|_| Err(too_late(timeout)));
    engine.count_append(&outcome, bytes, started);
    outcome
}

async fn append_until(
    engine: &LogEngine,
    request: AppendRequest,
    deadline: Instant,
) -> Result<Appended, ApiError> {
    let bytes = check::memory_bytes(&request.content);
    let target = &request.target;
    let reserved = &engine
        .reserve_append(target.is_forwarded, bytes, deadline)
        .await?;
    let request = &request;
    let here = |replica| append_here(engine, replica, request.clone(), reserved.clone());
    let there = |leader: Elsewhere| engine.forward.append(leader.node, request.clone());
    let outcome = engine
        .locator
        .at_leader(&request.target, Safety::Once, here, there)
        .await;
    or_stored_before(outcome, request.content.record_count())
}

async fn append_here(
    engine: &LogEngine,
    replica: Arc<Replica>,
    request: AppendRequest,
    reserved: Reserved,
) -> Result<Appended, ApiError> {
    engine.admit_append(&replica).await?;
    let rules = engine.batch_rules(&request.target.topic, request.stamp)?;
    let AppendRequest { content, stamp, .. } = request;
    let now_ms = replica.appender.append_time(engine.clock.now_ms());
    match content {
        Content::Plain(records) if stamp.is_none() => {
            check::check_plain(&records, now_ms, rules)?;
            let coalescer = &replica.coalescer;
            let unsent = Unsent { records, reserved };
            let max_bytes = rules.sizes.batch_max_bytes;
            coalescer.append(unsent, max_bytes, &engine.clock).await
        }
        content => {
            let batch =
                check::check(content, stamp, now_ms, (rules, &engine.decompression)).await?;
            replica
                .appender
                .append(batch, now_ms, Some(reserved))
                .await?
                .applied()
                .await
        }
    }
}
