//! A ProduceStream: requests are taken one after the other, many are in flight, and replies go out
//! in the order of the requests. No task of its own: it runs where gRPC asks for the next reply.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use lograft_core::limits::{
    PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES, PRODUCE_STREAM_IN_FLIGHT_MAX_COUNT,
};
use lograft_proto::log::v1 as proto;
use tokio::time::{Instant, Sleep};
use tonic::{Status, Streaming};

use crate::api::grpc::log::{self, Access, LogContext};
use crate::api::grpc::status::ApiError;
use crate::serving::append::{check, too_late};
use crate::transport::leader_streams::Lanes;

/// A reply that is still to come.
pub(crate) type PendingReply = Pin<Box<dyn Future<Output = proto::ProduceReply> + Send>>;

/// A request on its way in: gives its reply's future once the next request may follow it.
type Entering = Pin<Box<dyn Future<Output = (Lanes, PendingReply)> + Send>>;

/// One client's stream. Yields the replies.
pub struct Session {
    context: Arc<LogContext>,
    /// Where requests come from, until the client ends them.
    requests: Option<Streaming<proto::ProduceRequest>>,
    /// The request that is being let in, and its tag.
    entering: Option<(Entering, Tag)>,
    /// Those whose replies are to come, in order.
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// Streams to leaders elsewhere; away while a request is being let in.
    lanes: Option<Lanes>,
    /// Fires when the reply that is next is late.
    timer: Pin<Box<Sleep>>,
}

struct InFlight {
    reply: PendingReply,
    tag: Tag,
}

/// What a reply needs of its request, and what the session does.
#[derive(Clone)]
struct Tag {
    topic: String,
    partition: u32,
    request_id: u64,
    bytes: usize,
    started: Instant,
    deadline: Instant,
}

impl Tag {
    fn reply(&self, error: &ApiError) -> proto::ProduceReply {
        log::failed_reply(&self.topic, self.partition, self.request_id, error)
    }
}

impl Session {
    pub(crate) fn new(
        context: Arc<LogContext>,
        requests: Streaming<proto::ProduceRequest>,
        access: Access,
        may_forward: bool,
    ) -> Self {
        Self {
            lanes: Some(Lanes::new(Arc::clone(&context), access, may_forward)),
            context,
            requests: Some(requests),
            entering: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            timer: Box::pin(tokio::time::sleep_until(Instant::now())),
        }
    }

    /// Takes requests in until one has to wait, or there is none, or enough are in flight.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        loop {
            if let Some((entering, _)) = &mut self.entering {
                let Poll::Ready((lanes, reply)) = entering.as_mut().poll(cx) else {
                    return Ok(());
                };
                self.lanes = Some(lanes);
                let tag = self.entering.take().map(|(_, tag)| tag);
                self.in_flight
                    .extend(tag.map(|tag| InFlight { reply, tag }));
            }
            let is_full = self.in_flight_bytes >= PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES
                || self.in_flight.len() >= PRODUCE_STREAM_IN_FLIGHT_MAX_COUNT;
            let Some(requests) = self.requests.as_mut().filter(|_| !is_full) else {
                return Ok(());
            };
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(request)) => self.begin(request?),
            }
        }
    }

    fn begin(&mut self, request: proto::ProduceRequest) {
        let started = Instant::now();
        let tag = Tag {
            topic: request.topic.clone(),
            partition: request.partition,
            request_id: request.request_id,
            bytes: check::request_bytes(&request),
            started,
            deadline: started + log::produce_timeout(request.timeout_ms),
        };
        self.in_flight_bytes += tag.bytes;
        let Some(mut lanes) = self.lanes.take() else {
            return;
        };
        let context = Arc::clone(&self.context);
        let (bytes, deadline, late) = (tag.bytes, tag.deadline, tag.clone());
        let entering = async move {
            let entered = log::enter(&context, &mut lanes, request, bytes);
            let reply = match tokio::time::timeout_at(deadline, entered).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(error)) => ready(late.reply(&error)),
                Err(_) => ready(late.reply(&too_late(deadline - late.started))),
            };
            (lanes, reply)
        };
        self.entering = Some((Box::pin(entering), tag));
    }

    /// The reply of the request that is next, if it has come or is late.
    fn next_reply(&mut self, cx: &mut Context<'_>) -> Poll<proto::ProduceReply> {
        let Some(InFlight { reply, tag }) = self.in_flight.front_mut() else {
            return Poll::Pending;
        };
        let reply = match reply.as_mut().poll(cx) {
            Poll::Ready(reply) => reply,
            Poll::Pending => {
                if self.timer.deadline() != tag.deadline {
                    self.timer.as_mut().reset(tag.deadline);
                }
                if self.timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                tag.reply(&too_late(tag.deadline - tag.started))
            }
        };
        self.context.count_produced(&reply, tag.bytes, tag.started);
        self.in_flight_bytes -= tag.bytes;
        self.in_flight.pop_front();
        Poll::Ready(reply)
    }
}

/// A reply that is there already.
pub(crate) fn ready(reply: proto::ProduceReply) -> PendingReply {
    Box::pin(std::future::ready(reply))
}

impl Stream for Session {
    type Item = Result<proto::ProduceReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Err(status) = this.take_in(cx) {
            // The connection is gone or broken: there is nobody to answer.
            this.requests = None;
            this.in_flight.clear();
            return Poll::Ready(Some(Err(status)));
        }
        match this.next_reply(cx) {
            Poll::Ready(reply) => {
                // A reply makes room: what waited for it is taken in by the next call.
                Poll::Ready(Some(Ok(reply)))
            }
            Poll::Pending => {
                let is_over =
                    this.requests.is_none() && this.entering.is_none() && this.in_flight.is_empty();
                if is_over {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                }
            }
        }
    }
}
