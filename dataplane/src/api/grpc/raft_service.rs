//! Raft's requests from the other nodes, on the peer port. A request for another node, another
//! cluster or from a node that was removed is refused before any group hears of it.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, Stream, StreamExt};
use lograft_core::limits::GRPC_MESSAGE_MAX_BYTES;
use lograft_core::{GroupId, NodeId, NodeState};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::raft_service_server::{RaftService, RaftServiceServer};
use lograft_raft::wire::AppendRequest;
use lograft_raft::{RaftError, RaftGroup};
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use crate::api::grpc::heartbeats::{self, HeartbeatsReplies};
use crate::control::Control;
use crate::convert::snapshot::Assembly;
use crate::convert::{self, ConvertError, Route};
use crate::error_text::error_chain;
use crate::identity::{Caller, Member};

/// What the service must know of its node.
pub trait GroupLookup: Send + Sync + 'static {
    /// The node's place in a cluster; `None` while it has none.
    fn member(&self) -> Option<Member>;

    /// The replica of a group on this node.
    fn group(&self, group: GroupId) -> Option<RaftGroup>;

    /// Whether a node has been removed from the cluster: it is refused for ever.
    fn is_removed(&self, node: NodeId) -> bool;
}

impl GroupLookup for Control {
    fn member(&self) -> Option<Member> {
        self.member.get()
    }

    fn group(&self, group: GroupId) -> Option<RaftGroup> {
        self.replicas.raft(group)
    }

    fn is_removed(&self, node: NodeId) -> bool {
        let metadata = self.view.load();
        metadata
            .node(node)
            .is_some_and(|node| node.state == NodeState::Removed)
    }
}

/// Hands requests to the groups.
pub struct RaftApi {
    lookup: Arc<dyn GroupLookup>,
}

impl RaftApi {
    /// The service over a node's groups, with its limits.
    pub fn server(lookup: Arc<dyn GroupLookup>) -> RaftServiceServer<Self> {
        RaftServiceServer::new(Self { lookup })
            .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    fn group(&self, route: Option<&proto::Route>) -> Result<RaftGroup, Status> {
        let route = Route::from_proto(route).map_err(|error| malformed(&error))?;
        admit(&*self.lookup, route)?;
        replica(&*self.lookup, route.group)
    }
}

/// The replica of a group, if there is one here.
pub(super) fn replica(lookup: &dyn GroupLookup, group: GroupId) -> Result<RaftGroup, Status> {
    lookup
        .group(group)
        .ok_or_else(|| Status::not_found(format!("no replica of group {group}")))
}

/// Checks who asks whom: any service of the peer port may use it.
pub fn admit(lookup: &dyn GroupLookup, route: Route) -> Result<(), Status> {
    let Some(me) = lookup.member() else {
        return Err(Status::failed_precondition(
            "this node belongs to no cluster",
        ));
    };
    if route.cluster != me.cluster {
        let text = format!(
            "this node belongs to cluster {}, not {}",
            me.cluster, route.cluster
        );
        return Err(Status::failed_precondition(text));
    }
    if route.to != me.node {
        let text = format!("this is node {}, not {}", me.node, route.to);
        return Err(Status::failed_precondition(text));
    }
    if lookup.is_removed(route.from) {
        let text = format!("node {} has been removed from the cluster", route.from);
        return Err(Status::permission_denied(text));
    }
    Ok(())
}

/// The peer port's handshake lets nodes in alone; this holds should a service be put elsewhere.
pub fn require_node<T>(request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.identity.is_node() => Ok(()),
        Some(caller) => Err(Status::permission_denied(format!(
            "{} is not a node",
            caller.identity
        ))),
        None => Err(Status::unauthenticated("no certificate")),
    }
}

pub(super) fn malformed(error: &ConvertError) -> Status {
    Status::invalid_argument(error_chain(error))
}

pub(super) fn raft_failed(error: &RaftError) -> Status {
    let text = error_chain(error);
    match error {
        RaftError::EntryCorrupt { .. } => Status::data_loss(text),
        RaftError::EntryMalformed { .. } => Status::invalid_argument(text),
        _ => Status::unavailable(text),
    }
}

/// Why a stream's requests ended before their time; told after the last reply.
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

/// The stream's requests up to the first that is not sound.
fn sound_requests(
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
        require_node(&request)?;
        let mut requests = request.into_inner();
        let Some(first) = requests.message().await? else {
            return Ok(Response::new(stream::empty().boxed()));
        };
        let group = self.group(first.route.as_ref())?;
        let first = convert::append_from_proto(first).map_err(|error| malformed(&error))?;
        let failure = Failure::default();
        let requests = stream::once(std::future::ready(first))
            .chain(sound_requests(requests, failure.clone()));
        let id = group.group();
        let replies = group
            .on_append_stream(requests)
            .map(move |reply| match reply {
                Ok(reply) => Ok(convert::append_reply_to_proto(reply)),
                Err(error) => {
                    warn!(group = %id, "append stream ended: {}", error_chain(&error));
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
        require_node(&request)?;
        let replies = heartbeats::answers(&*self.lookup, request.into_inner())?;
        Ok(Response::new(replies))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteReply>, Status> {
        require_node(&request)?;
        let request = request.into_inner();
        let group = self.group(request.route.as_ref())?;
        let request =
            convert::vote_request_from_proto(&request).map_err(|error| malformed(&error))?;
        let reply = group
            .on_vote(request)
            .await
            .map_err(|error| raft_failed(&error))?;
        Ok(Response::new(convert::vote_reply_to_proto(reply)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::SnapshotReply>, Status> {
        require_node(&request)?;
        let mut chunks = request.into_inner();
        let Some(first) = chunks.message().await? else {
            return Err(malformed(&ConvertError::Missing("head")));
        };
        let group = self.group(first.head.as_ref().and_then(|head| head.route.as_ref()))?;
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
        require_node(&request)?;
        let request = request.into_inner();
        let group = self.group(request.route.as_ref())?;
        let request = convert::transfer_from_proto(&request).map_err(|error| malformed(&error))?;
        let reply = group.on_transfer_leader(request).await;
        let reply = reply.map_err(|error| raft_failed(&error))?;
        Ok(Response::new(convert::transfer_reply_to_proto(reply)))
    }
}
