//! A ProduceStream's own streams to the leaders of partitions elsewhere: one per node, so that the
//! order of its requests is kept on the way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::NodeId;
use lograft_core::limits::FORWARD_WAITING_MAX_COUNT;
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::api::grpc::log::{Access, LogContext};
use crate::api::grpc::status::{ApiError, reason_of, status_to_wire};
use crate::serving::append::unknown;
use crate::serving::forward::{client, is_unsent};

/// The streams of one session.
pub(crate) struct Lanes {
    context: Arc<LogContext>,
    access: Access,
    may_forward: bool,
    open: BTreeMap<NodeId, Lane>,
}

/// A stream to one node.
struct Lane {
    requests: mpsc::Sender<proto::ProduceRequest>,
    waiting: Waiting,
}

/// Who waits for the stream's replies, in order.
type Waiting = Arc<Mutex<VecDeque<oneshot::Sender<Answer>>>>;

/// A reply, or how its stream ended.
type Answer = Box<Result<proto::ProduceReply, Status>>;

/// A reply that another node will give.
pub(crate) type RemoteReply = oneshot::Receiver<Answer>;

impl Lanes {
    pub(crate) fn new(context: Arc<LogContext>, access: Access, may_forward: bool) -> Self {
        Self {
            context,
            access,
            may_forward,
            open: BTreeMap::new(),
        }
    }

    /// What the session's client may do.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether requests of this session may be passed on at all.
    pub(crate) fn may_forward(&self) -> bool {
        self.may_forward
    }

    /// Passes a request on, behind all those passed on to the same node before.
    pub(crate) async fn send(
        &mut self,
        node: NodeId,
        request: proto::ProduceRequest,
    ) -> Result<RemoteReply, ApiError> {
        if self
            .open
            .get(&node)
            .is_none_or(|lane| lane.requests.is_closed())
        {
            let client = client(&*self.context.peers, node)?;
            self.open.insert(node, Lane::open(client));
        }
        let Some(lane) = self.open.get(&node) else {
            return Err(ApiError::not_leader(None));
        };
        let (tx, reply) = oneshot::channel();
        lane.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(tx);
        let request = proto::ProduceRequest {
            forwarded: true,
            ..request
        };
        if lane.requests.send(request).await.is_err() {
            // The lane has just closed; without its sender the reply fails.
            lane.waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_back();
        }
        Ok(reply)
    }
}

impl Lane {
    fn open(client: LogServiceClient<Channel>) -> Self {
        let (requests, receiver) = mpsc::channel(FORWARD_WAITING_MAX_COUNT);
        let waiting = Waiting::default();
        tokio::spawn(run(client, receiver, Arc::clone(&waiting)));
        Self { requests, waiting }
    }
}

/// Carries one lane until its session ends or its stream breaks.
async fn run(
    mut client: LogServiceClient<Channel>,
    requests: mpsc::Receiver<proto::ProduceRequest>,
    waiting: Waiting,
) {
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let end = match client.produce_stream(ReceiverStream::new(requests)).await {
        Ok(replies) => {
            let mut replies = replies.into_inner();
            loop {
                match replies.message().await {
                    Ok(Some(reply)) => {
                        // A session that has gone away does not want to know.
                        next().map(|tx| tx.send(Box::new(Ok(reply))));
                    }
                    Ok(None) => break Status::unavailable("the leader ended the stream"),
                    Err(status) => break status,
                }
            }
        }
        Err(status) => status,
    };
    // By now the requests' receiver is gone, so nobody joins those who wait unless it sees that.
    while let Some(tx) = next() {
        tx.send(Box::new(Err(end.clone()))).ok();
    }
}

/// The reply to a client for what became of its request on another node; `empty` names the
/// request.
pub(crate) async fn reply_of(
    remote: RemoteReply,
    empty: proto::ProduceReply,
) -> proto::ProduceReply {
    let error = match remote.await.map(|answer| *answer) {
        Ok(Ok(reply)) => return reply,
        Ok(Err(status)) if reason_of(&status).is_some() => status_to_wire(&status),
        Ok(Err(status)) if is_unsent(&status) => {
            ApiError::no_leader(&empty.topic, empty.partition).to_wire()
        }
        Ok(Err(_)) | Err(_) => unknown("the stream to the leader broke").to_wire(),
    };
    proto::ProduceReply {
        error: Some(error),
        ..empty
    }
}
