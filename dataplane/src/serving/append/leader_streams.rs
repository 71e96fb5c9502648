//! The streams of one client's stream to the leaders of partitions elsewhere: one per node, so that
//! batches keep their order on the way.
//!
//! A reply belongs to the request with its number, never merely to the oldest request. If replies
//! were matched by their order alone, one request that is registered and never sent would give
//! every later request the reply of its predecessor: an acknowledgement of a batch that may not be
//! in the log. Two rules prevent that. A place on the stream is reserved first, and then the
//! request is registered and sent without an await in between, so a caller that is cancelled leaves
//! nothing behind. And a reply that does not fit a waiting request ends the stream: all requests on
//! it get an unknown outcome.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use lograft_core::NodeId;
use lograft_core::limits::FORWARD_WAITING_MAX_COUNT;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use super::or_stored_before;
use crate::error::ApiError;
use crate::serving::append_budget::Reserved;
use crate::serving::forward::{Forward, ForwardError, NumberedAppend, NumberedReply};
use crate::serving::locate::{Safety, final_error};
use crate::serving::request::{AppendRequest, Appended, Target};

/// Streams to leaders, by node.
pub(super) struct LeaderStreams {
    forward: Arc<dyn Forward>,
    open: BTreeMap<NodeId, LeaderStream>,
}

/// A stream to one node.
struct LeaderStream {
    requests: mpsc::Sender<NumberedAppend>,
    waiting: Arc<Mutex<Waiting>>,
}

/// The unanswered requests of a stream.
#[derive(Default)]
struct Waiting {
    /// The number of the newest request.
    last_number: u64,
    requests: VecDeque<WaitingRequest>,
    /// Whether the stream has ended: no request may be added.
    has_ended: bool,
}

struct WaitingRequest {
    number: u64,
    partition: u32,
    record_count: usize,
    reply: oneshot::Sender<Outcome>,
    /// Held while the request may be in a queue, also if nobody waits for its reply any more.
    _reserved: Reserved,
}

/// A reply, or how its stream ended.
type Outcome = Result<Appended, ForwardError>;

/// The reply of another node.
pub(super) type RemoteReply = oneshot::Receiver<Outcome>;

/// A reply that fits no waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ReplyMismatch {
    #[error("the leader answered request {0}, which is not waiting")]
    UnknownRequest(u64),
    #[error("the leader answered request {0} for another partition")]
    Partition(u64),
    #[error("the leader appended another number of records than request {0} has")]
    RecordCount(u64),
}

impl Waiting {
    /// Registers a request and returns its number.
    fn push(
        &mut self,
        request: &AppendRequest,
        reply: oneshot::Sender<Outcome>,
        reserved: Reserved,
    ) -> u64 {
        self.last_number += 1;
        self.requests.push_back(WaitingRequest {
            number: self.last_number,
            partition: request.target.partition,
            record_count: request.content.record_count(),
            reply,
            _reserved: reserved,
        });
        self.last_number
    }

    /// Removes the request that a reply is for.
    fn take(&mut self, reply: &NumberedReply) -> Result<WaitingRequest, ReplyMismatch> {
        let number = reply.number;
        let is_asked = |request: &WaitingRequest| request.number == number;
        let request = self
            .requests
            .iter()
            .position(is_asked)
            .and_then(|at| self.requests.remove(at))
            .ok_or(ReplyMismatch::UnknownRequest(number))?;
        let is_other_size = |appended: &Appended| {
            usize::try_from(appended.record_count) != Ok(request.record_count)
        };
        let mismatch = if request.partition != reply.partition {
            Some(ReplyMismatch::Partition(number))
        } else if reply.outcome.as_ref().is_ok_and(is_other_size) {
            Some(ReplyMismatch::RecordCount(number))
        } else {
            None
        };
        match mismatch {
            // Without its sender the request has an unknown outcome.
            Some(mismatch) => Err(mismatch),
            None => Ok(request),
        }
    }
}

impl LeaderStreams {
    pub(super) fn new(forward: Arc<dyn Forward>) -> Self {
        Self {
            forward,
            open: BTreeMap::new(),
        }
    }

    /// Sends a request to a node, behind all requests sent to it before. Waits while too many are
    /// unanswered. Cancel safe: a request whose call is dropped was not sent.
    pub(super) async fn send(
        &mut self,
        node: NodeId,
        request: AppendRequest,
        reserved: Reserved,
    ) -> RemoteReply {
        let stream = self
            .open
            .remove(&node)
            .filter(|stream| !stream.has_ended())
            .unwrap_or_else(|| LeaderStream::open(Arc::clone(&self.forward), node));
        let stream = self.open.entry(node).or_insert(stream);
        let (tx, reply) = oneshot::channel();
        let place = stream.requests.reserve().await;
        // From here on nothing waits, and the lock is held until the request is sent: its reply
        // finds it registered, and the end of the stream finds all that were sent.
        let mut waiting = lock(&stream.waiting);
        match place {
            Ok(place) if !waiting.has_ended => {
                let number = waiting.push(&request, tx, reserved);
                place.send(NumberedAppend { number, request });
            }
            Ok(_) | Err(_) => {
                let error = "the stream to the leader has just ended".to_owned();
                tx.send(Err(ForwardError::Unsent(error))).ok();
            }
        }
        reply
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LeaderStream {
    fn open(forward: Arc<dyn Forward>, node: NodeId) -> Self {
        let (requests, receiver) = mpsc::channel(FORWARD_WAITING_MAX_COUNT);
        let waiting = Arc::<Mutex<Waiting>>::default();
        tokio::spawn(run(forward, node, receiver, Arc::clone(&waiting)));
        Self { requests, waiting }
    }

    fn has_ended(&self) -> bool {
        self.requests.is_closed() || lock(&self.waiting).has_ended
    }
}

/// Runs one stream until its client's stream ends or its connection breaks.
async fn run(
    forward: Arc<dyn Forward>,
    node: NodeId,
    requests: mpsc::Receiver<NumberedAppend>,
    waiting: Arc<Mutex<Waiting>>,
) {
    let requests = ReceiverStream::new(requests).boxed();
    let end = match forward.append_stream(node, requests).await {
        Ok(mut replies) => loop {
            match replies.next().await {
                Some(Ok(reply)) => match lock(&waiting).take(&reply) {
                    // A client's stream that has ended has no receiver.
                    Ok(request) => {
                        let outcome = or_stored_before(reply.outcome, request.record_count);
                        let outcome = outcome.map_err(ForwardError::from);
                        request.reply.send(outcome).ok();
                    }
                    Err(mismatch) => {
                        warn!(node_id = %node, error = %mismatch, "append stream ended");
                        break ForwardError::Lost(mismatch.to_string());
                    }
                },
                Some(Err(error)) => break error,
                None => break ForwardError::Lost("the leader ended the stream".to_owned()),
            }
        },
        Err(error) => error,
    };
    let mut waiting = lock(&waiting);
    waiting.has_ended = true;
    for request in waiting.requests.drain(..) {
        request.reply.send(Err(end.clone())).ok();
    }
}

/// The outcome of a request that was sent to another node.
pub(super) async fn outcome_of(reply: RemoteReply, target: &Target) -> Result<Appended, ApiError> {
    match reply.await {
        Ok(outcome) => outcome.map_err(|error| final_error(error, target, Safety::Once)),
        Err(_) => Err(ApiError::outcome_unknown(
            "the connection to the leader was lost",
        )),
    }
}
