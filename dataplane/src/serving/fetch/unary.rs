//! Fetch: one read, which may wait for new records.

use std::sync::Arc;

use lograft_core::limits::FETCH_WAIT_MAX;
use lograft_core::{Offset, Reason};
use tokio::time::Instant;

use super::follower::{self, ensure_as_leader, is_for_leader, routed};
use super::position;
use super::reader::{Origin, ReadOptions, Reader, ReaderMemory};
use crate::error::ApiError;
use crate::serving::engine::LogEngine;
use crate::serving::locate::{Elsewhere, Safety};
use crate::serving::replica::Replica;
use crate::serving::reply_memory::ReplyMemory;
use crate::serving::request::{FetchRequest, Fetched, FetchedData};

/// A reply and its memory, to be held until the client has taken it; none if it has no records.
pub(crate) type HeldReply = (Fetched, Option<ReplyMemory>);

/// Reads once: at the partition's leader, or from this node's replica if the client allows it.
pub(crate) async fn fetch(
    engine: &LogEngine,
    request: FetchRequest,
) -> Result<HeldReply, ApiError> {
    let outcome = fetch_anywhere(engine, &request).await;
    engine.count_fetch(outcome.as_ref().err());
    outcome
}

async fn fetch_anywhere(engine: &LogEngine, request: &FetchRequest) -> Result<HeldReply, ApiError> {
    let FetchRequest {
        target,
        terms,
        position,
        ..
    } = request;
    if let Some(found) = follower::find(engine, target, (terms, *position)).await? {
        let group = found.replica.group;
        let origin = engine.follower_origin(found.check);
        match fetch_here(engine, found.replica, (request, origin)).await {
            Err(error) if is_for_leader(&error, terms) => {}
            outcome => return outcome.map_err(|error| engine.locator.with_leader(error, group)),
        }
    }
    let here = async |replica: Arc<Replica>| {
        ensure_as_leader(&replica, terms).await?;
        let origin = engine.leader_origin(terms);
        fetch_here(engine, replica, (request, origin)).await
    };
    let there = |leader: Elsewhere| {
        let replies = engine.replies.account(target);
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
    let target = routed(target, terms);
    engine
        .locator
        .at_leader(&target, Safety::Repeatable, here, there)
        .await
}

async fn fetch_here(
    engine: &LogEngine,
    replica: Arc<Replica>,
    (request, origin): (&FetchRequest, Origin),
) -> Result<HeldReply, ApiError> {
    let options = ReadOptions::new(request.max_bytes, request.format);
    let at = (request.position, origin.consistency);
    let from = position::resolve(&replica, at, &engine.decompression).await?;
    let counter = engine.read_counter(&replica, &request.terms);
    let deadline = Instant::now() + request.max_wait.min(FETCH_WAIT_MAX);
    let enough = (request.min_bytes.max(1) as usize).min(options.max_bytes);
    let memory = ReaderMemory {
        replies: engine.replies.account(&request.target),
        decompression: engine.decompression.clone(),
    };
    let mut reader = Reader::new(replica, (from, origin), options, memory);
    let mut whole = reader.read(Offset(u64::MAX), u64::MAX).await?;
    reader.join();
    while whole.bytes < enough && may_grow(&whole.fetched.data) {
        let next = match tokio::time::timeout_at(deadline, reader.wait()).await {
            Ok(Ok(())) => reader.read(Offset(u64::MAX), u64::MAX).await,
            Ok(Err(error)) => Err(error),
            Err(_) => break,
        };
        let more = match next {
            // The replica was current when it read what this reply has.
            Err(error) if whole.record_count > 0 && is_not_current(&error) => break,
            next => next?,
        };
        if more.record_count == 0 || !whole.has_room_for(&more) {
            // The next fetch returns it; this reply says that there is more.
            whole.fetched.high_watermark = more.fetched.high_watermark;
            break;
        }
        whole.extend(more);
    }
    counter.count(whole.record_count, whole.bytes);
    Ok((whole.fetched, reader.take_held()))
}

fn is_not_current(error: &ApiError) -> bool {
    error.reason() == Some(Reason::ReplicaNotCurrent)
}

/// Whether the next chunk may be added. A chunk of single records fills a reply by itself.
fn may_grow(data: &FetchedData) -> bool {
    match data {
        FetchedData::Batches(_) => true,
        FetchedData::Records(records) => records.is_empty(),
    }
}
