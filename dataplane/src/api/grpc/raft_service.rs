//! The raft service: requests of the other nodes to the raft groups of this node, on the peer port.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, Stream, StreamExt};
use lograft_core::limits::GRPC_MESSAGE_MAX_BYTES;
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::raft_service_server::{RaftService, RaftServiceServer};
use lograft_raft::wire::AppendRequest;
use lograft_raft::{RaftError, RaftGroup};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::heartbeats::{self, HeartbeatsReplies};
use super::peer_checks::{GroupLookup, Sender, VoteClaims, check_incarnations, find_member};
use super::status::{malformed, raft_failed};
use crate::convert::snapshot::Assembly;
use crate::convert::{self, ConvertError};
use crate::error_text::error_chain;
use crate::exchange::NodeExchange;

/// The raft service of a node.
pub(crate) struct RaftApi {
    lookup: Arc<dyn GroupLookup>,
    exchange: NodeExchange,
}

impl RaftApi {
    /// The service over a node's groups, with its limits.
    pub(crate) fn server(
        lookup: Arc<dyn GroupLookup>,
        exchange: NodeExchange,
    ) -> RaftServiceServer<Self> {
        RaftServiceServer::new(Self { lookup, exchange })
            .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    fn group(&self, sender: &Sender, route: Option<&proto::Route>) -> Result<RaftGroup, Status> {
        let route = sender.check_route(&*self.lookup, route)?;
        Ok(find_member(&*self.lookup, route.group, route.epoch)?)
    }
}

/// Why the requests of a stream ended early. It is sent after the last reply: the replies before it
/// are valid.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<Status>>>);

impl Failure {
    fn set(&self, status: Status) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    fn take(&self) -> Option<Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The requests of a stream up to the first that does not decode.
fn decoded_requests(
    requests: Streaming<proto::AppendRequest>,
    failure: Failure,
) -> impl Stream<Item = AppendRequest> + Send + 'static {
    requests
        .map(|request| convert::append_from_proto(request?).map_err(|error| malformed(&error)))
        .map(move |request| request.map_err(|status| failure.set(status)).ok())
        .take_while(|request| std::future::ready(request.is_some()))
        .filter_map(std::future::ready)
}

type AppendReplies = BoxStream<'static, Result<proto::AppendReply, Status>>;

#[tonic::async_trait]
impl RaftService for RaftApi {
    type AppendStreamStream = AppendReplies;
    type HeartbeatsStream = HeartbeatsReplies;

    async fn append_stream(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<AppendReplies>, Status> {
        let sender = Sender::of(request.extensions())?;
        let mut requests = request.into_inner();
        let Some(first) = requests.message().await? else {
            return Ok(Response::new(stream::empty().boxed()));
        };
        let group = self.group(&sender, first.route.as_ref())?;
        let first = convert::append_from_proto(first).map_err(|error| malformed(&error))?;
        let failure = Failure::default();
        let requests = stream::once(std::future::ready(first))
            .chain(decoded_requests(requests, failure.clone()));
        let id = group.group();
        let known = self.exchange.incarnations().clone();
        let replies = group
            .on_append_stream(requests)
            .map(move |reply| match reply {
                Ok(reply) => Ok(proto::AppendReply {
                    follower: known.own().map(convert::reading::incarnation_to_proto),
                    ..convert::append_reply_to_proto(reply)
                }),
                // The leader repeats the stream while the disk is full.
                Err(error @ RaftError::NoRoom) => {
                    debug!(group = %id, "append stream refused: the disk is full");
                    Err(raft_failed(&error))
                }
                Err(error) => {
                    warn!(group = %id, error = %error_chain(&error), "append stream failed");
                    Err(raft_failed(&error))
                }
            });
        let last = async move { failure.take() }.into_stream();
        let last = last.filter_map(|status| std::future::ready(status.map(Err)));
        Ok(Response::new(replies.chain(last).boxed()))
    }

    async fn heartbeats(
        &self,
        request: Request<proto::HeartbeatsRequest>,
    ) -> Result<Response<HeartbeatsReplies>, Status> {
        let sender = Sender::of(request.extensions())?;
        let request = request.into_inner();
        let replies = heartbeats::answers(&*self.lookup, &sender, &self.exchange, request)?;
        Ok(Response::new(replies))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        let request = request.into_inner();
        let route = sender.check_route(&*self.lookup, request.route.as_ref())?;
        let read = convert::reading::incarnation_from_proto;
        let claims = VoteClaims {
            sender: request.sender.map(read),
            receiver_seen: request.receiver_seen.map(read),
        };
        check_incarnations(&*self.lookup, route.from, claims)?;
        let group = find_member(&*self.lookup, route.group, route.epoch)?;
        let request =
            convert::vote_request_from_proto(&request).map_err(|error| malformed(&error))?;
        let reply = group
            .on_vote(request)
            .await
            .map_err(|error| raft_failed(&error))?;
        let own = self.exchange.incarnations().own();
        Ok(Response::new(proto::VoteReply {
            voter: own.map(convert::reading::incarnation_to_proto),
            ..convert::vote_reply_to_proto(reply)
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::SnapshotReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        let mut chunks = request.into_inner();
        let Some(first) = chunks.message().await? else {
            return Err(malformed(&ConvertError::Missing("head")));
        };
        let group = self.group(
            &sender,
            first.head.as_ref().and_then(|head| head.route.as_ref()),
        )?;
        let mut assembly = Assembly::begin(first).map_err(|error| malformed(&error))?;
        while let Some(chunk) = chunks.message().await? {
            assembly
                .push(&chunk.data)
                .map_err(|error| malformed(&error))?;
        }
        let snapshot = assembly.finish().map_err(|error| malformed(&error))?;
        let reply = group
            .on_snapshot(snapshot)
            .await
            .map_err(|error| raft_failed(&error))?;
        let vote = Some(convert::vote_to_proto(reply.vote));
        Ok(Response::new(proto::SnapshotReply { vote }))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        let request = request.into_inner();
        let group = self.group(&sender, request.route.as_ref())?;
        let request = convert::transfer_from_proto(&request).map_err(|error| malformed(&error))?;
        let reply = group.on_transfer_leader(request).await;
        let reply = reply.map_err(|error| raft_failed(&error))?;
        Ok(Response::new(convert::transfer_reply_to_proto(reply)))
    }
}
