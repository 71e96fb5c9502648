//! The gRPC stream to one leader: it carries the batches of all partitions that the node leads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use lograft_core::{Offset, Reason, Term};
use lograft_proto::log::v1 as wire;
use lograft_proto::log::{NO_FORWARD_HEADER, UNKNOWN_OFFSET};
use tokio::time::{Duration, Instant};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use super::outcome::Ack;
use super::partition::{ProduceQueue, ProducerPartition};
use super::partition_queue::outgoing::{OutgoingBatch, Take};
use super::state::ProducerState;
use super::stream_queue::InFlightRequest;
use super::verdict::Verdict;
use crate::cluster::node::Node;
use crate::error::ClientError;

/// The requests of one stream, polled by gRPC.
struct Requests {
    queue: Arc<ProduceQueue>,
    state: Arc<ProducerState>,
}

impl Stream for Requests {
    type Item = wire::ProduceRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let in_flight_max_bytes = self.state.config.in_flight_max_bytes;
        loop {
            match self.queue.poll_ready(cx, in_flight_max_bytes) {
                Poll::Ready(Some((partition, may_send_partial))) => {
                    if let Some(request) = self.take(&partition, may_send_partial) {
                        return Poll::Ready(Some(request));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Requests {
    /// The next batch of a partition as a request, if it has one.
    fn take(
        &self,
        partition: &Arc<ProducerPartition>,
        may_send_partial: bool,
    ) -> Option<wire::ProduceRequest> {
        let now = Instant::now();
        let request_id = self.state.next_request_id();
        let mut queue = partition.queue();
        // The partition may have moved to another leader's stream since it was enqueued here.
        if !queue
            .stream()
            .is_some_and(|own| Arc::ptr_eq(own, &self.queue))
        {
            return None;
        }
        let taken = queue.take(request_id, may_send_partial, now);
        drop(queue);
        let (batch, more) = match taken {
            Take::Send { batch, more } => (batch, more),
            Take::Throttled => {
                self.queue.throttle(Arc::clone(partition));
                return None;
            }
            Take::Nothing => return None,
        };
        let bytes = batch.encoded.bytes.len();
        if batch.partial {
            partition.on_partial_sent(bytes, self.state.config.batch_max_bytes);
        }
        if batch.resent {
            self.state.counters.count_resent();
        }
        let request = InFlightRequest {
            request_id,
            partition: Arc::clone(partition),
            record_count: batch.encoded.record_count,
            bytes,
            partial: batch.partial,
            sent_at: now,
        };
        self.queue
            .push_in_flight(request, more.then(|| Arc::clone(partition)));
        Some(self.request(partition, request_id, batch))
    }

    fn request(
        &self,
        partition: &ProducerPartition,
        request_id: u64,
        batch: OutgoingBatch,
    ) -> wire::ProduceRequest {
        let producer =
            self.state
                .producer_id
                .zip(batch.stamp)
                .map(|(id, stamp)| wire::ProducerStamp {
                    producer_id: id.get(),
                    producer_epoch: stamp.epoch.get(),
                    base_sequence: stamp.base_sequence.get(),
                });
        wire::ProduceRequest {
            principal: String::new(),
            topic: partition.topic.as_ref().to_owned(),
            partition: partition.number.get(),
            records: Vec::new(),
            batch: Some(wire::EncodedBatch {
                data: batch.encoded.bytes,
                crc32c: batch.encoded.crc32c,
                record_count: batch.encoded.record_count,
            }),
            producer,
            timeout_ms: whole_millis(self.state.config.request_timeout),
            request_id,
            forwarded: false,
            topic_id: Some(partition.topic_id),
        }
    }
}

fn whole_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Runs the stream until it ends. The supervisor then searches the leaders of its partitions again.
pub(super) async fn run(queue: Arc<ProduceQueue>, node: Node, state: Arc<ProducerState>) {
    let requests = Requests {
        queue: Arc::clone(&queue),
        state: Arc::clone(&state),
    };
    let error = tokio::select! {
        status = exchange(&queue, &node, requests, &state) => {
            node.error("produce", status)
        }
        () = queue.killed() => {
            state.pool.discard_produce_node(&queue.address);
            ClientError::Broken {
                endpoint: queue.address.as_ref().to_owned(),
                status: Arc::new(Status::deadline_exceeded("no reply within the request timeout")),
            }
        }
    };
    state.on_stream_lost(&queue, &error);
}

/// Sends requests and applies replies. Returns the status with which the stream ended.
async fn exchange(
    queue: &Arc<ProduceQueue>,
    node: &Node,
    requests: Requests,
    state: &ProducerState,
) -> Status {
    let mut request = Request::new(requests);
    // A client that can reach the leader itself gets NOT_LEADER instead of a slower extra hop.
    if !state.pool.config.endpoints_only {
        request
            .metadata_mut()
            .insert(NO_FORWARD_HEADER, MetadataValue::from_static("1"));
    }
    let mut replies = match node.log().produce_stream(request).await {
        Ok(replies) => replies.into_inner(),
        Err(status) => return status,
    };
    loop {
        match replies.message().await {
            Ok(Some(reply)) => {
                if let Err(mismatch) = on_reply(queue, state, reply) {
                    // Nothing that the node says on this stream may be believed any more. The
                    // batches in flight are in doubt, as if the connection had broken.
                    return Status::unavailable(mismatch.to_string());
                }
            }
            Ok(None) => return Status::unavailable("the node ended the stream"),
            Err(status) => return status,
        }
    }
}

/// A reply that fits no request in flight. Applied, it would acknowledge another batch than the one
/// that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ReplyMismatch {
    #[error("the node answered request {0}, which is not in flight")]
    UnknownRequest(u64),
    #[error("the node answered request {0} for another partition")]
    Partition(u64),
    #[error("the node stored {got} records of request {request_id}, which has {expected}")]
    RecordCount {
        request_id: u64,
        expected: u32,
        got: u32,
    },
}

fn on_reply(
    queue: &Arc<ProduceQueue>,
    state: &ProducerState,
    reply: wire::ProduceReply,
) -> Result<(), ReplyMismatch> {
    let request_id = reply.request_id;
    let request = queue
        .remove_in_flight(request_id)
        .ok_or(ReplyMismatch::UnknownRequest(request_id))?;
    let partition = &request.partition;
    if reply.topic != *partition.topic || reply.partition != partition.number.get() {
        return Err(ReplyMismatch::Partition(request_id));
    }
    if reply.error.is_none() && reply.record_count != request.record_count {
        return Err(ReplyMismatch::RecordCount {
            request_id,
            expected: request.record_count,
            got: reply.record_count,
        });
    }
    let verdict = verdict(&queue.address, reply);
    let is_recreated = matches!(&verdict, Verdict::Refused(error) if is_recreated(error));
    // Forgotten before the reply is delivered: who has seen the failure and sends again by name
    // must reach the new topic.
    let former = is_recreated
        .then(|| state.forget_former(&partition.topic, partition.topic_id))
        .flatten();
    state.on_reply(queue, partition, request_id, verdict);
    if let Some(former) = former {
        state.fail_former(&former);
    }
    queue.wake();
    Ok(())
}

fn is_recreated(error: &ClientError) -> bool {
    error.reason() == Some(Reason::TopicRecreated)
}

/// The offset of a stored batch, if the leader knows it.
fn known_offset(reply: &wire::ProduceReply) -> Option<Offset> {
    let is_unknown = reply.duplicate && reply.base_offset == UNKNOWN_OFFSET;
    (!is_unknown).then_some(Offset(reply.base_offset))
}

fn verdict(endpoint: &str, reply: wire::ProduceReply) -> Verdict {
    match reply.error {
        Some(error) => Verdict::from_error(ClientError::from_wire(endpoint, error)),
        None => Verdict::Stored(Ack {
            base_offset: known_offset(&reply),
            leader_epoch: Term(reply.leader_epoch),
            durability: wire::Durability::try_from(reply.durability).unwrap_or_default(),
            append_time_ms: reply.append_time_ms,
            duplicate: reply.duplicate,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_may_have_no_offset() {
        let offset = |duplicate, base_offset| {
            let reply = wire::ProduceReply {
                base_offset,
                duplicate,
                ..wire::ProduceReply::default()
            };
            let Verdict::Stored(ack) = verdict("n1:9400", reply) else {
                panic!("not stored");
            };
            ack.base_offset.map(Offset::get)
        };
        assert_eq!(offset(false, 7), Some(7));
        assert_eq!(offset(true, 7), Some(7));
        assert_eq!(offset(true, UNKNOWN_OFFSET), None);
    }
}
