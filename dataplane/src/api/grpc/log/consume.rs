//! Fetch and Consume.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use lograft_core::limits::FETCH_WAIT_MAX;
use lograft_core::{GroupId, Offset};
use lograft_proto::log::v1 as proto;
use tokio::time::Instant;
use tonic::Status;

use super::LogContext;
use crate::access::{Access, Act};
use crate::api::grpc::status::{ApiError, reason_of};
use crate::serving::fetch::position;
use crate::serving::fetch::reader::{Chunk, Reader, Style};
use crate::serving::forward::{self, Retry};
use crate::serving::locate::{Asked, Place};
use crate::serving::replica::Replica;

/// The replies of a Consume.
pub(crate) type ConsumeStream =
    Pin<Box<dyn Stream<Item = Result<proto::FetchReply, Status>> + Send>>;

/// Reads once.
pub(crate) async fn fetch(
    context: &Arc<LogContext>,
    access: &Access,
    request: proto::FetchRequest,
) -> Result<proto::FetchReply, Status> {
    access.check_forwarded(request.forwarded)?;
    access.check(Act::Read, &request.topic)?;
    let mut retry = Retry::new();
    let result = loop {
        let asked = Asked {
            topic: &request.topic,
            partition: request.partition,
            forwarded: request.forwarded,
        };
        let fetched = match context.locate(asked).await {
            Ok(Place::Here(replica)) => {
                let fetched = fetch_here(context, &replica, &request).await;
                fetched.map_err(|error| context.explained(error, replica.group).into())
            }
            Ok(Place::There(node)) => {
                let mut client = forward::client(&*context.peers, node)?;
                let passed_on = proto::FetchRequest {
                    forwarded: true,
                    ..request.clone()
                };
                client
                    .fetch(passed_on)
                    .await
                    .map(tonic::Response::into_inner)
            }
            Err(error) => break Err(error.into()),
        };
        match fetched {
            Err(status) if !request.forwarded && retry.again_safely(&status).await => {}
            fetched => break fetched,
        }
    };
    context.count_fetch(result.as_ref().err().and_then(reason_of));
    result
}

async fn fetch_here(
    context: &LogContext,
    replica: &Arc<Replica>,
    request: &proto::FetchRequest,
) -> Result<proto::FetchReply, ApiError> {
    let style = Style::of(request.max_bytes, request.format)?;
    let from = position::resolve(replica, request.position).await?;
    let max_wait = Duration::from_millis(u64::from(request.max_wait_ms)).min(FETCH_WAIT_MAX);
    let deadline = Instant::now() + max_wait;
    let enough = (request.min_bytes.max(1) as usize).min(style.max_bytes);
    let mut reader = Reader::new(Arc::clone(replica), from, style);
    let mut whole = reader.read(Offset(u64::MAX), u64::MAX).await?;
    while whole.bytes < enough && reply_is_short(&whole.reply, style) {
        match tokio::time::timeout_at(deadline, reader.wait()).await {
            Ok(waited) => waited?,
            Err(_) => break,
        }
        let more = reader.read(Offset(u64::MAX), u64::MAX).await?;
        join(&mut whole, more);
    }
    context.count_read(whole.record_count, whole.bytes);
    Ok(whole.reply)
}

/// Whether more may be put into a reply that has not enough yet.
fn reply_is_short(reply: &proto::FetchReply, style: Style) -> bool {
    style.as_batches || reply.records.is_empty()
}

fn join(whole: &mut Chunk, more: Chunk) {
    let Chunk {
        reply,
        record_count,
        bytes,
    } = more;
    whole.record_count += record_count;
    whole.bytes += bytes;
    let mut earlier = std::mem::replace(&mut whole.reply, reply);
    earlier.batches.append(&mut whole.reply.batches);
    earlier.records.append(&mut whole.reply.records);
    whole.reply.batches = earlier.batches;
    whole.reply.records = earlier.records;
}

/// Reads on and on.
pub(crate) async fn consume(
    context: &Arc<LogContext>,
    access: &Access,
    request: proto::ConsumeRequest,
) -> Result<ConsumeStream, Status> {
    access.check_forwarded(request.forwarded)?;
    access.check(Act::Read, &request.topic)?;
    let mut retry = Retry::new();
    let result = loop {
        let asked = Asked {
            topic: &request.topic,
            partition: request.partition,
            forwarded: request.forwarded,
        };
        let begun = match context.locate(asked).await {
            Ok(Place::Here(replica)) => {
                let begun = consume_here(context, &replica, &request).await;
                begun.map_err(|error| context.explained(error, replica.group).into())
            }
            Ok(Place::There(node)) => {
                let mut client = forward::client(&*context.peers, node)?;
                let passed_on = proto::ConsumeRequest {
                    forwarded: true,
                    ..request.clone()
                };
                let begun = client.consume(passed_on).await;
                begun.map(|replies| replies.into_inner().boxed())
            }
            Err(error) => break Err(error.into()),
        };
        match begun {
            Err(status) if !request.forwarded && retry.again_safely(&status).await => {}
            begun => break begun,
        }
    };
    context.count_fetch(result.as_ref().err().and_then(reason_of));
    result
}

/// One consumer's place. Nothing is read before gRPC asks for it, but one reply ahead.
struct Consumer {
    context: Arc<LogContext>,
    group: GroupId,
    reader: Reader,
    /// Where the stream ends.
    end: Offset,
    /// How many records are still to be sent.
    left: u64,
}

async fn consume_here(
    context: &Arc<LogContext>,
    replica: &Arc<Replica>,
    request: &proto::ConsumeRequest,
) -> Result<ConsumeStream, ApiError> {
    let style = Style::of(request.max_bytes, request.format)?;
    let from = position::resolve(replica, request.position).await?;
    let end = if request.follow {
        Offset(u64::MAX)
    } else {
        // All that was acknowledged before the call is to be read.
        position::catch_up(replica).await?;
        replica.state.watermarks().high_watermark
    };
    let left = if request.max_records == 0 {
        u64::MAX
    } else {
        request.max_records
    };
    let reader = Reader::new(Arc::clone(replica), from, style);
    reader.check_range()?;
    let group = replica.group;
    let consumer = Consumer {
        context: Arc::clone(context),
        group,
        reader,
        end,
        left,
    };
    Ok(stream::unfold(Some(consumer), |consumer| async move {
        let mut consumer = consumer?;
        match consumer.next().await {
            Ok(Some(reply)) => Some((Ok(reply), Some(consumer))),
            Ok(None) => None,
            Err(error) => {
                let error = consumer.context.explained(error, consumer.group);
                Some((Err(error.into()), None))
            }
        }
    })
    .boxed())
}

impl Consumer {
    /// The next reply; none at the end.
    async fn next(&mut self) -> Result<Option<proto::FetchReply>, ApiError> {
        if self.left == 0 || self.reader.next_offset() >= self.end {
            return Ok(None);
        }
        loop {
            let chunk = self.reader.read(self.end, self.left).await?;
            if chunk.record_count > 0 {
                self.left = self.left.saturating_sub(chunk.record_count);
                self.context.count_read(chunk.record_count, chunk.bytes);
                return Ok(Some(chunk.reply));
            }
            self.reader.wait().await?;
        }
    }
}
