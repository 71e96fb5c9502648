//! The streams of one client's stream to the leaders of partitions elsewhere: one per node, so that
//! batches keep their order on the way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use lograft_core::NodeId;
use lograft_core::limits::FORWARD_WAITING_MAX_COUNT;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::error::ApiError;
use crate::serving::forward::{Forward, ForwardError};
use crate::serving::locate::{Safety, final_error};
use crate::serving::request::{AppendRequest, Appended, Target};

/// Streams to leaders, by node.
pub(super) struct LeaderStreams {
    forward: Arc<dyn Forward>,
    open: BTreeMap<NodeId, LeaderStream>,
}

/// A stream to one node.
struct LeaderStream {
    requests: mpsc::Sender<AppendRequest>,
    waiting: Waiting,
}

/// The receivers of the stream's replies, in the order of the requests.
type Waiting = Arc<Mutex<VecDeque<oneshot::Sender<Outcome>>>>;

/// A reply, or how its stream ended.
type Outcome = Result<Appended, ForwardError>;

/// The reply of another node.
pub(super) type RemoteReply = oneshot::Receiver<Outcome>;

impl LeaderStreams {
    pub(super) fn new(forward: Arc<dyn Forward>) -> Self {
        Self {
            forward,
            open: BTreeMap::new(),
        }
    }

    /// Sends a request to a node, behind all requests sent to it before. Waits while too many are
    /// unanswered.
    pub(super) async fn send(&mut self, node: NodeId, request: AppendRequest) -> RemoteReply {
        let stream = self
            .open
            .remove(&node)
            .filter(|stream| !stream.requests.is_closed())
            .unwrap_or_else(|| LeaderStream::open(Arc::clone(&self.forward), node));
        let stream = self.open.entry(node).or_insert(stream);
        let (tx, reply) = oneshot::channel();
        // Enqueued before it is sent: its reply may arrive before `send` returns.
        stream
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(tx);
        if stream.requests.send(request).await.is_err() {
            // The stream has just ended. Without its sender the reply fails.
            stream
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_back();
        }
        reply
    }
}

impl LeaderStream {
    fn open(forward: Arc<dyn Forward>, node: NodeId) -> Self {
        let (requests, receiver) = mpsc::channel(FORWARD_WAITING_MAX_COUNT);
        let waiting = Waiting::default();
        tokio::spawn(run(forward, node, receiver, Arc::clone(&waiting)));
        Self { requests, waiting }
    }
}

/// Runs one stream until its client's stream ends or its connection breaks.
async fn run(
    forward: Arc<dyn Forward>,
    node: NodeId,
    requests: mpsc::Receiver<AppendRequest>,
    waiting: Waiting,
) {
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let requests = ReceiverStream::new(requests).boxed();
    let end = match forward.append_stream(node, requests).await {
        Ok(mut replies) => loop {
            match replies.next().await {
                Some(Ok(reply)) => {
                    // A client's stream that has ended has no receiver.
                    next().map(|tx| tx.send(reply.map_err(ForwardError::from)));
                }
                Some(Err(error)) => break error,
                None => break ForwardError::Lost("the leader ended the stream".to_owned()),
            }
        },
        Err(error) => error,
    };
    // The receiver of the requests is dropped by now, so a request that is enqueued from here on
    // fails to be sent, and its sender removes it.
    while let Some(tx) = next() {
        tx.send(Err(end.clone())).ok();
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
