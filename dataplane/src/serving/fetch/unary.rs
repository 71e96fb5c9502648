//! Fetch: one read, which may wait for new records.

use std::sync::Arc;

use lograft_core::Offset;
use lograft_core::limits::FETCH_WAIT_MAX;
use tokio::time::Instant;

use super::position;
use super::reader::{ReadOptions, Reader};
use crate::error::ApiError;
use crate::serving::engine::LogEngine;
use crate::serving::locate::{Elsewhere, Safety};
use crate::serving::replica::Replica;
use crate::serving::request::{FetchRequest, Fetched, FetchedData};

/// Reads once, at the partition's leader.
pub(crate) async fn fetch(engine: &LogEngine, request: FetchRequest) -> Result<Fetched, ApiError> {
    let request = &request;
    let here = |replica| fetch_here(engine, replica, request);
    let there = |leader: Elsewhere| engine.forward.fetch(leader.node, request.clone());
    let outcome = engine
        .locator
        .at_leader(&request.target, Safety::Repeatable, here, there)
        .await;
    engine.count_fetch(outcome.as_ref().err());
    outcome
}

async fn fetch_here(
    engine: &LogEngine,
    replica: Arc<Replica>,
    request: &FetchRequest,
) -> Result<Fetched, ApiError> {
    let options = ReadOptions::new(request.max_bytes, request.format);
    let from = position::resolve(&replica, request.position, &engine.decompression).await?;
    let deadline = Instant::now() + request.max_wait.min(FETCH_WAIT_MAX);
    let enough = (request.min_bytes.max(1) as usize).min(options.max_bytes);
    let mut reader = Reader::new(replica, from, options, engine.decompression.clone());
    let mut whole = reader.read(Offset(u64::MAX), u64::MAX).await?;
    while whole.bytes < enough && may_grow(&whole.fetched.data) {
        match tokio::time::timeout_at(deadline, reader.wait()).await {
            Ok(waited) => waited?,
            Err(_) => break,
        }
        let more = reader.read(Offset(u64::MAX), u64::MAX).await?;
        if !whole.has_room_for(&more) {
            // The next fetch returns it; this reply says that there is more.
            whole.fetched.high_watermark = more.fetched.high_watermark;
            break;
        }
        whole.extend(more);
    }
    engine.count_read(whole.record_count, whole.bytes);
    Ok(whole.fetched)
}

/// Whether the next chunk may be added. A chunk of single records fills a reply by itself.
fn may_grow(data: &FetchedData) -> bool {
    match data {
        FetchedData::Batches(_) => true,
        FetchedData::Records(records) => records.is_empty(),
    }
}
