//! Fetch: one read, which may wait for new records.

use std::sync::Arc;

use lograft_core::Offset;
use lograft_core::limits::FETCH_WAIT_MAX;
use tokio::time::Instant;

use super::position;
use super::reader::{ReadOptions, Reader, ReaderMemory};
use crate::error::ApiError;
use crate::serving::engine::LogEngine;
use crate::serving::locate::{Elsewhere, Safety};
use crate::serving::replica::Replica;
use crate::serving::reply_memory::ReplyMemory;
use crate::serving::request::{FetchRequest, Fetched, FetchedData};

/// A reply and its memory, to be held until the client has taken it; none if it has no records.
pub(crate) type HeldReply = (Fetched, Option<ReplyMemory>);

/// Reads once, at the partition's leader.
pub(crate) async fn fetch(
    engine: &LogEngine,
    request: FetchRequest,
) -> Result<HeldReply, ApiError> {
    let request = &request;
    let here = |replica| fetch_here(engine, replica, request);
    let there = |leader: Elsewhere| {
        let replies = engine.replies.account(&request.target);
        let fetching = engine
            .forward
            .fetch(leader.node, request.clone(), replies.clone());
        async move {
            let fetched = fetching.await?;
            // It was reserved while it was received.
            let memory = replies.count(fetched.data.memory_bytes());
            Ok((fetched, Some(memory)))
        }
    };
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
) -> Result<HeldReply, ApiError> {
    let options = ReadOptions::new(request.max_bytes, request.format);
    let from = position::resolve(&replica, request.position, &engine.decompression).await?;
    let deadline = Instant::now() + request.max_wait.min(FETCH_WAIT_MAX);
    let enough = (request.min_bytes.max(1) as usize).min(options.max_bytes);
    let memory = ReaderMemory {
        replies: engine.replies.account(&request.target),
        decompression: engine.decompression.clone(),
    };
    let mut reader = Reader::new(replica, from, options, memory);
    let mut whole = reader.read(Offset(u64::MAX), u64::MAX).await?;
    reader.join();
    while whole.bytes < enough && may_grow(&whole.fetched.data) {
        match tokio::time::timeout_at(deadline, reader.wait()).await {
            Ok(waited) => waited?,
            Err(_) => break,
        }
        let more = reader.read(Offset(u64::MAX), u64::MAX).await?;
        if more.record_count == 0 || !whole.has_room_for(&more) {
            // The next fetch returns it; this reply says that there is more.
            whole.fetched.high_watermark = more.fetched.high_watermark;
            break;
        }
        whole.extend(more);
    }
    engine.count_read(whole.record_count, whole.bytes);
    Ok((whole.fetched, reader.take_held()))
}

/// Whether the next chunk may be added. A chunk of single records fills a reply by itself.
fn may_grow(data: &FetchedData) -> bool {
    match data {
        FetchedData::Batches(_) => true,
        FetchedData::Records(records) => records.is_empty(),
    }
}
