//! One stream to one leader: carries the batches of all the lanes that it leads.
//!
//! The requests are a stream that gRPC polls when the connection can take more; it takes batches
//! straight out of the lanes. So there is no task and no channel between a full batch and the
//! connection, and what is not sent yet still grows.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use lograft_core::limits::PRODUCER_PARTIAL_BATCHES_MAX_COUNT;
use lograft_core::{NodeId, Offset, Term};
use lograft_proto::log::NO_FORWARD_HEADER;
use lograft_proto::log::v1 as wire;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use super::lane::{Send, Take, Verdict};
use super::outcome::Ack;
use super::shared::Shared;
use super::topic::LaneSlot;
use crate::client::reach::Node;
use crate::error::ClientError;

/// One stream to one leader.
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) address: Arc<str>,
    state: Mutex<LinkState>,
    /// Ends the stream.
    killed: Notify,
}

#[derive(Default)]
struct LinkState {
    /// Lanes that have something to send.
    ready: VecDeque<Arc<LaneSlot>>,
    /// Lanes whose batch is not full, waiting until fewer such are in flight.
    parked: VecDeque<Arc<LaneSlot>>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    partials: usize,
    /// gRPC's, while there is nothing to send.
    waker: Option<Waker>,
    dead: bool,
}

struct InFlight {
    request_id: u64,
    slot: Arc<LaneSlot>,
    bytes: usize,
    partial: bool,
    sent_at: Instant,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(node: NodeId, address: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            node,
            address,
            state: Mutex::default(),
            killed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a lane into the list of those that have something to send.
    pub(crate) fn list(&self, slot: Arc<LaneSlot>) {
        let mut state = self.state();
        if state.dead {
            return;
        }
        state.ready.push_back(slot);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the request off those in flight; its lane, if it was there.
    fn answered(&self, request_id: u64) -> Option<Arc<LaneSlot>> {
        let mut state = self.state();
        let at = state
            .in_flight
            .iter()
            .position(|r| r.request_id == request_id)?;
        let request = state.in_flight.remove(at)?;
        state.in_flight_bytes -= request.bytes;
        if request.partial {
            state.partials -= 1;
            if let Some(slot) = state.parked.pop_front() {
                state.ready.push_back(slot);
            }
        }
        Some(request.slot)
    }

    /// Sends on, if there is something to send and room for it.
    fn resume(&self) {
        let mut state = self.state();
        let waker = if state.ready.is_empty() {
            None
        } else {
            state.waker.take()
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// When its oldest request was sent.
    pub(crate) fn oldest_sent_at(&self) -> Option<Instant> {
        self.state().in_flight.front().map(|r| r.sent_at)
    }

    /// Ends the stream; its lanes look for their leaders anew.
    pub(crate) fn kill(&self) {
        self.killed.notify_one();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Lets go of everything. Answers `false` if that was done before.
    pub(crate) fn die(&self) -> bool {
        let mut state = self.state();
        let alive = !state.dead;
        let dead = LinkState {
            dead: true,
            ..LinkState::default()
        };
        let waker = std::mem::replace(&mut *state, dead).waker;
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        alive
    }
}

/// The requests of one link, as gRPC polls for them.
struct Requests {
    link: Arc<Link>,
    shared: Arc<Shared>,
}

impl Stream for Requests {
    type Item = wire::ProduceRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let mut state = self.link.state();
            if state.dead {
                return Poll::Ready(None);
            }
            let room = state.in_flight_bytes < self.shared.config.in_flight_max_bytes;
            let next = if room { state.ready.pop_front() } else { None };
            let Some(slot) = next else {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    empty => *empty = Some(cx.waker().clone()),
                }
                return Poll::Pending;
            };
            let partial_free = state.partials < PRODUCER_PARTIAL_BATCHES_MAX_COUNT;
            drop(state);
            if let Some(request) = self.take(&slot, partial_free) {
                return Poll::Ready(Some(request));
            }
        }
    }
}

impl Requests {
    /// The lane's next batch as a request, if it has one.
    fn take(&self, slot: &Arc<LaneSlot>, partial_free: bool) -> Option<wire::ProduceRequest> {
        let now = Instant::now();
        let request_id = self.shared.next_request_id();
        let mut lane = slot.state();
        // It may have gone to another leader since it was listed.
        if !lane
            .link
            .as_ref()
            .is_some_and(|link| Arc::ptr_eq(link, &self.link))
        {
            return None;
        }
        let (send, more) = match lane.lane.take(request_id, partial_free, now) {
            Take::Send { send, more } => (send, more),
            Take::Parked => {
                drop(lane);
                self.park(slot);
                return None;
            }
            Take::Nothing => {
                lane.listed = false;
                return None;
            }
        };
        lane.listed = more;
        let topic = lane.lane.config().topic.as_ref().to_owned();
        drop(lane);
        if send.partial {
            let full = self.shared.config.batch_max_bytes;
            slot.sent_partial(send.encoded.bytes.len(), full);
        }
        if send.resent {
            self.shared.count_resent();
        }
        let mut state = self.link.state();
        // A link that dies meanwhile finds the batch in its lane.
        if !state.dead {
            state.in_flight_bytes += send.encoded.bytes.len();
            state.partials += usize::from(send.partial);
            state.in_flight.push_back(InFlight {
                request_id,
                slot: Arc::clone(slot),
                bytes: send.encoded.bytes.len(),
                partial: send.partial,
                sent_at: now,
            });
            if more {
                state.ready.push_back(Arc::clone(slot));
            }
        }
        drop(state);
        Some(self.request(topic, slot, request_id, send))
    }

    fn park(&self, slot: &Arc<LaneSlot>) {
        let mut state = self.link.state();
        // Those in the way may have been answered meanwhile.
        if state.partials < PRODUCER_PARTIAL_BATCHES_MAX_COUNT {
            state.ready.push_back(Arc::clone(slot));
        } else {
            state.parked.push_back(Arc::clone(slot));
        }
    }

    fn request(
        &self,
        topic: String,
        slot: &LaneSlot,
        request_id: u64,
        send: Send,
    ) -> wire::ProduceRequest {
        let producer =
            self.shared
                .producer_id
                .zip(send.stamp)
                .map(|(id, stamp)| wire::ProducerStamp {
                    producer_id: id.get(),
                    producer_epoch: stamp.epoch.get(),
                    base_sequence: stamp.base_sequence.get(),
                });
        wire::ProduceRequest {
            topic,
            partition: slot.partition.get(),
            records: Vec::new(),
            batch: Some(wire::EncodedBatch {
                data: send.encoded.bytes,
                crc32c: send.encoded.crc32c,
                record_count: send.encoded.record_count,
            }),
            producer,
            timeout_ms: whole_millis(self.shared.config.request_timeout),
            request_id,
            forwarded: false,
        }
    }
}

fn whole_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Runs the stream until it ends; then its lanes are free for the next leader.
pub(crate) async fn run(link: Arc<Link>, node: Node, shared: Arc<Shared>) {
    let requests = Requests {
        link: Arc::clone(&link),
        shared: Arc::clone(&shared),
    };
    let error = tokio::select! {
        status = exchange(&link, &node, requests, &shared) => {
            node.error(status)
        }
        () = link.killed.notified() => {
            shared.reach.leave_produce_node(&link.address);
            ClientError::Broken {
                endpoint: link.address.as_ref().to_owned(),
                status: Arc::new(Status::deadline_exceeded("no reply for too long")),
            }
        }
    };
    shared.on_link_lost(&link, &error);
}

/// Sends requests and takes in replies; how the stream ended.
async fn exchange(link: &Arc<Link>, node: &Node, requests: Requests, shared: &Shared) -> Status {
    let mut request = Request::new(requests);
    // This client finds the leader by itself, where it can: a detour is slower than an answer.
    if !shared.reach.config.endpoints_only {
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
            Ok(Some(reply)) => on_reply(link, shared, reply),
            Ok(None) => return Status::unavailable("the node ended the stream"),
            Err(status) => return status,
        }
    }
}

fn on_reply(link: &Arc<Link>, shared: &Shared, reply: wire::ProduceReply) {
    let request_id = reply.request_id;
    if let Some(slot) = link.answered(request_id) {
        let verdict = verdict(&link.address, reply);
        shared.on_verdict(link, &slot, request_id, verdict);
    }
    link.resume();
}

fn verdict(endpoint: &str, reply: wire::ProduceReply) -> Verdict {
    match reply.error {
        Some(error) => Verdict::of(ClientError::from_wire(endpoint, error)),
        None => Verdict::Stored(Ack {
            base_offset: Offset(reply.base_offset),
            leader_epoch: Term(reply.leader_epoch),
            durability: wire::Durability::try_from(reply.durability).unwrap_or_default(),
            append_time_ms: reply.append_time_ms,
            duplicate: reply.duplicate,
        }),
    }
}
