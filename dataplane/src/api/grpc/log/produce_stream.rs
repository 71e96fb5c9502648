//! A produce stream: requests are admitted one after the other, many are in flight, and replies are
//! sent in the order of the requests. It has no task of its own: it runs where gRPC polls it for
//! the next reply.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use lograft_core::acl::Principal;
use lograft_core::limits::{
    PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES, PRODUCE_STREAM_IN_FLIGHT_MAX_COUNT,
};
use lograft_proto::log::v1 as proto;
use tokio::time::{Instant, Sleep};
use tonic::{Status, Streaming};

use super::decode;
use super::encode::{self, ProduceTag};
use crate::access::Grant;
use crate::api::caller::connection_closing;
use crate::api::grpc::principal::{ForwardMarks, on_behalf_of};
use crate::closing::Closing;
use crate::error::ApiError;
use crate::serving::append::{
    AppendPipeline, PendingReply, append_timeout, content_bytes, memory_bytes, too_late,
};
use crate::serving::engine::LogEngine;
use crate::serving::request::{AppendRequest, Appended, Content};

/// A request that is being admitted: resolves to its pending reply once the next may follow.
type Admitting = Pin<Box<dyn Future<Output = (AppendPipeline, PendingReply)> + Send>>;

/// One client's stream. Yields the replies.
pub(crate) struct ProduceStream {
    engine: Arc<LogEngine>,
    caller: StreamCaller,
    /// The source of requests, until the client closes it or the connection is closing.
    requests: Option<Streaming<proto::ProduceRequest>>,
    /// Ready once the connection is closing; `None` from then on.
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Sent after the last reply.
    end: Option<Status>,
    /// The request that is being admitted.
    admitting: Option<(Admitting, InFlight)>,
    /// Admitted requests without a reply, in order.
    in_flight: VecDeque<(PendingReply, InFlight)>,
    in_flight_bytes: usize,
    /// Lent to the request that is being admitted.
    pipeline: Option<AppendPipeline>,
    /// Fires when the next reply is late.
    timer: Pin<Box<Sleep>>,
}

/// The client of a stream.
pub(crate) struct StreamCaller {
    pub(crate) principal: Arc<Principal>,
    /// The last decision about its requests.
    pub(crate) grant: Grant,
    /// Whether requests for other leaders are refused instead of forwarded, as the client asks.
    pub(crate) refuses_to_forward: bool,
    /// Whether its connection is closing.
    pub(crate) closing: Closing,
}

/// A request without a reply.
struct InFlight {
    tag: ProduceTag,
    /// The size of the batch.
    bytes: usize,
    memory_bytes: usize,
    started: Instant,
    deadline: Instant,
}

impl ProduceStream {
    pub(crate) fn new(
        engine: Arc<LogEngine>,
        caller: StreamCaller,
        requests: Streaming<proto::ProduceRequest>,
    ) -> Self {
        Self {
            pipeline: Some(AppendPipeline::new(Arc::clone(&engine))),
            engine,
            closing: Some(Box::pin(caller.closing.clone().started())),
            caller,
            requests: Some(requests),
            end: None,
            admitting: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            timer: Box::pin(tokio::time::sleep_until(Instant::now())),
        }
    }

    /// Admits requests until one must wait, none is available, or enough are in flight.
    fn admit(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        loop {
            if let Some((admitting, _)) = &mut self.admitting {
                let Poll::Ready((pipeline, reply)) = admitting.as_mut().poll(cx) else {
                    return Ok(());
                };
                self.pipeline = Some(pipeline);
                let request = self.admitting.take().map(|(_, request)| request);
                self.in_flight
                    .extend(request.map(|request| (reply, request)));
            }
            self.check_closing(cx);
            let is_full = self.in_flight_bytes >= PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES
                || self.in_flight.len() >= PRODUCE_STREAM_IN_FLIGHT_MAX_COUNT;
            let Some(requests) = self.requests.as_mut().filter(|_| !is_full) else {
                return Ok(());
            };
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(request)) => self.start(request?),
            }
        }
    }

    /// Ends the requests once the connection is closing. Those that were admitted get their
    /// replies, and no later one is read: the client knows which ones to send again.
    fn check_closing(&mut self, cx: &mut Context<'_>) {
        let is_closing = self
            .closing
            .as_mut()
            .is_some_and(|closing| closing.as_mut().poll(cx).is_ready());
        if is_closing {
            self.closing = None;
            if self.requests.take().is_some() {
                self.end = Some(connection_closing().into());
            }
        }
    }

    fn start(&mut self, message: proto::ProduceRequest) {
        let Some(mut pipeline) = self.pipeline.take() else {
            return;
        };
        let started = Instant::now();
        let tag = ProduceTag::of(&message);
        let deadline = started + append_timeout(message.timeout_ms);
        let request = self.caller.decode(message, started);
        let measured = |bytes: fn(&Content) -> usize| {
            request
                .as_ref()
                .map_or(0, |request| bytes(&request.content))
        };
        let (bytes, memory_bytes) = (measured(content_bytes), measured(memory_bytes));
        self.in_flight_bytes += memory_bytes;
        let admitting = async move {
            let admitted = async { pipeline.append(request?, deadline).await };
            let reply = match tokio::time::timeout_at(deadline, admitted).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(error)) => failed(error),
                Err(_) => failed(too_late(deadline - started)),
            };
            (pipeline, reply)
        };
        let request = InFlight {
            tag,
            bytes,
            memory_bytes,
            started,
            deadline,
        };
        self.admitting = Some((Box::pin(admitting), request));
    }

    /// The next reply, if it is known or late.
    fn next_reply(&mut self, cx: &mut Context<'_>) -> Poll<proto::ProduceReply> {
        let Some((reply, request)) = self.in_flight.front_mut() else {
            return Poll::Pending;
        };
        let outcome = match reply.as_mut().poll(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                if self.timer.deadline() != request.deadline {
                    self.timer.as_mut().reset(request.deadline);
                }
                if self.timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                Err(too_late(request.deadline - request.started))
            }
        };
        let Some((_, request)) = self.in_flight.pop_front() else {
            return Poll::Pending;
        };
        self.engine
            .count_append(&outcome, request.bytes, request.started);
        self.in_flight_bytes -= request.memory_bytes;
        Poll::Ready(encode_outcome(request.tag, outcome))
    }
}

impl StreamCaller {
    fn decode(
        &mut self,
        message: proto::ProduceRequest,
        now: Instant,
    ) -> Result<AppendRequest, ApiError> {
        let principal = on_behalf_of(&self.principal, ForwardMarks::from(&message))?;
        self.grant.check(&principal, &message.topic, now)?;
        let mut request = decode::append(message, principal)?;
        request.target.is_forwarded |= self.refuses_to_forward;
        Ok(request)
    }
}

fn encode_outcome(tag: ProduceTag, outcome: Result<Appended, ApiError>) -> proto::ProduceReply {
    match outcome {
        Ok(appended) => encode::appended(tag, appended),
        Err(error) => encode::append_failed(tag, &error),
    }
}

fn failed(error: ApiError) -> PendingReply {
    Box::pin(std::future::ready(Err(error)))
}

impl Stream for ProduceStream {
    type Item = Result<proto::ProduceReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Err(status) = this.admit(cx) {
            // The connection is broken: no reply can be delivered.
            this.requests = None;
            this.in_flight.clear();
            return Poll::Ready(Some(Err(status)));
        }
        match this.next_reply(cx) {
            // gRPC polls again after a reply, which admits a request that waited for its place.
            Poll::Ready(reply) => Poll::Ready(Some(Ok(reply))),
            Poll::Pending => {
                let is_done = this.requests.is_none()
                    && this.admitting.is_none()
                    && this.in_flight.is_empty();
                if is_done {
                    Poll::Ready(this.end.take().map(Err))
                } else {
                    Poll::Pending
                }
            }
        }
    }
}
