//! Consume: a stream of chunks from a position on.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use lograft_core::{GroupId, Offset};

use super::follower::{self, ensure_as_leader, is_for_leader, routed};
use super::position;
use super::read_counter::ReadCounter;
use super::reader::{Origin, ReadOptions, Reader, ReaderMemory};
use crate::error::ApiError;
use crate::serving::engine::LogEngine;
use crate::serving::forward::FetchedStream;
use crate::serving::locate::{Elsewhere, Safety};
use crate::serving::replica::Replica;
use crate::serving::request::{ConsumeRequest, Fetched};

/// Reads continuously: at the partition's leader, or from this node's replica if the client allows
/// it. Only the start is retried: a client continues a stream that breaks at the offset behind its
/// last record.
pub(crate) async fn consume(
    engine: &Arc<LogEngine>,
    request: ConsumeRequest,
) -> Result<FetchedStream, ApiError> {
    let outcome = consume_anywhere(engine, &request).await;
    engine.count_fetch(outcome.as_ref().err());
    outcome
}

async fn consume_anywhere(
    engine: &Arc<LogEngine>,
    request: &ConsumeRequest,
) -> Result<FetchedStream, ApiError> {
    let ConsumeRequest {
        target,
        terms,
        position,
        ..
    } = request;
    if let Some(found) = follower::find(engine, target, (terms, *position)).await? {
        let group = found.replica.group;
        let origin = engine.follower_origin(found.check);
        match consume_here(engine, found.replica, (request, origin)).await {
            Err(error) if is_for_leader(&error, terms) => {}
            outcome => return outcome.map_err(|error| engine.locator.with_leader(error, group)),
        }
    }
    let here = async |replica: Arc<Replica>| {
        ensure_as_leader(&replica, terms).await?;
        let origin = engine.leader_origin(terms);
        consume_here(engine, replica, (request, origin)).await
    };
    let there = |leader: Elsewhere| {
        let replies = engine.replies.account(target);
        let opened = engine
            .forward
            .consume(leader.node, request.clone(), replies);
        async move { Ok(until_leader_moves(engine, leader, opened.await?)) }
    };
    let target = routed(target, terms);
    engine
        .locator
        .at_leader(&target, Safety::Repeatable, here, there)
        .await
}

/// A stream of another node. It ends with NOT_LEADER once that node is silent and leads no more.
fn until_leader_moves(
    engine: &Arc<LogEngine>,
    leader: Elsewhere,
    chunks: FetchedStream,
) -> FetchedStream {
    let engine = Arc::clone(engine);
    stream::unfold(Some(chunks), move |chunks| {
        let engine = Arc::clone(&engine);
        async move {
            let mut chunks = chunks?;
            tokio::select! {
                biased;
                chunk = chunks.next() => chunk.map(|chunk| (chunk, Some(chunks))),
                () = engine.locator.leader_moves(leader) => {
                    let moved = ApiError::not_leader(None);
                    Some((Err(engine.locator.with_leader(moved, leader.group)), None))
                }
            }
        }
    })
    .boxed()
}

/// The state of one consumer. At most one chunk is read ahead of what the client has taken.
struct Consumer {
    engine: Arc<LogEngine>,
    group: GroupId,
    counter: ReadCounter,
    reader: Reader,
    /// Where the stream ends, exclusive.
    end: Offset,
    /// How many records may still be sent.
    left: u64,
}

async fn consume_here(
    engine: &Arc<LogEngine>,
    replica: Arc<Replica>,
    (request, origin): (&ConsumeRequest, Origin),
) -> Result<FetchedStream, ApiError> {
    let options = ReadOptions::new(request.max_bytes, request.format);
    let at = (request.position, origin.consistency);
    let from = position::resolve(&replica, at, &engine.decompression).await?;
    let end = if request.follow {
        Offset(u64::MAX)
    } else {
        // The stream must contain everything that was acknowledged before the call, also by an
        // earlier leader; from a replica that need not lead, everything that it has.
        if origin.follower.is_none() {
            position::catch_up(&replica).await?;
        }
        replica.state.watermarks().high_watermark
    };
    let group = replica.group;
    let memory = ReaderMemory {
        replies: engine.replies.account(&request.target),
        decompression: engine.decompression.clone(),
    };
    let counter = engine.read_counter(&replica, &request.terms);
    let reader = Reader::new(replica, (from, origin), options, memory);
    reader.check_range()?;
    let consumer = Consumer {
        engine: Arc::clone(engine),
        group,
        counter,
        reader,
        end,
        left: request.max_records.unwrap_or(u64::MAX),
    };
    Ok(stream::unfold(Some(consumer), |consumer| async move {
        let mut consumer = consumer?;
        match consumer.next().await {
            Ok(Some(fetched)) => Some((Ok(fetched), Some(consumer))),
            Ok(None) => None,
            Err(error) => {
                let error = consumer.engine.locator.with_leader(error, consumer.group);
                Some((Err(error), None))
            }
        }
    })
    .boxed())
}

impl Consumer {
    /// The next chunk; none at the end.
    async fn next(&mut self) -> Result<Option<Fetched>, ApiError> {
        if self.left == 0 || self.reader.next_offset() >= self.end {
            return Ok(None);
        }
        loop {
            let chunk = self.reader.read(self.end, self.left).await?;
            if chunk.record_count > 0 {
                self.left = self.left.saturating_sub(chunk.record_count);
                self.counter.count(chunk.record_count, chunk.bytes);
                return Ok(Some(chunk.fetched));
            }
            self.reader.wait().await?;
        }
    }
}
