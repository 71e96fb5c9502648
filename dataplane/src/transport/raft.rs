//! Raft's requests to the other replicas.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use lograft_core::limits::GRPC_MESSAGE_MAX_BYTES;
use lograft_core::{GroupId, NodeId, RecoveryEpoch};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::raft_service_client::RaftServiceClient;
use lograft_raft::wire::{
    AppendReply, AppendRequest, SnapshotReply, SnapshotRequest, TransferReply, TransferRequest,
    VoteReply, VoteRequest,
};
use lograft_raft::{AppendReplies, PeerTransport, TransportError};
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::heartbeats::Heartbeats;
use super::status::{learn_epoch, older_disk, raft_error_of};
use super::{ChannelClass, ChannelError, PeerPool};
use crate::convert::{self, ConvertError, Route};
use crate::identity::Member;
use crate::incarnation::Incarnations;

/// Raft's way to the other replicas.
pub struct RaftPeers {
    pool: PeerPool,
    me: Member,
    /// The recovery epoch of the replica whose requests these are.
    epoch: RecoveryEpoch,
    heartbeats: Arc<Heartbeats>,
}

type Client = RaftServiceClient<Channel>;

impl RaftPeers {
    /// The transport of a node that belongs to a cluster. The requests are in recovery epoch zero.
    pub fn new(pool: PeerPool, me: Member) -> Self {
        Self {
            heartbeats: Arc::new(Heartbeats::new(pool.clone(), me)),
            pool,
            me,
            epoch: RecoveryEpoch::ZERO,
        }
    }

    /// The transport of a replica in another recovery epoch. Its heartbeats share calls with those
    /// of this one.
    pub fn in_epoch(&self, epoch: RecoveryEpoch) -> Self {
        Self {
            epoch,
            pool: self.pool.clone(),
            heartbeats: Arc::clone(&self.heartbeats),
            me: self.me,
        }
    }

    fn route(&self, to: NodeId, group: GroupId) -> Route {
        let Member { cluster, node } = self.me;
        Route {
            cluster,
            from: node,
            to,
            group,
            epoch: self.epoch,
        }
    }

    fn client(&self, to: NodeId, class: ChannelClass) -> Result<Client, TransportError> {
        let channel = self.pool.channel(to, class).map_err(|error| match error {
            ChannelError::UnknownNode(node) => TransportError::UnknownNode(node),
            other @ ChannelError::Address { .. } => TransportError::Unreachable {
                node: to,
                source: other.into(),
            },
        })?;
        Ok(RaftServiceClient::new(channel)
            .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES))
    }

    /// One request, one reply, one time limit.
    fn ask<P, R, F>(
        &self,
        (to, group): (NodeId, GroupId),
        (class, timeout): (ChannelClass, Duration),
        call: impl FnOnce(Client) -> F,
        read: fn(P) -> Result<R, ConvertError>,
    ) -> BoxFuture<'static, Result<R, TransportError>>
    where
        F: Future<Output = Result<Response<P>, Status>> + Send + 'static,
        P: 'static,
        R: 'static,
    {
        let answer = self.client(to, class).map(call);
        let recoveries = self.pool.exchange().recoveries().clone();
        Box::pin(async move {
            let reply = tokio::time::timeout(timeout, answer?)
                .await
                .map_err(|_| TransportError::Timeout {
                    node: to,
                    after: timeout,
                })?
                .map_err(|status| {
                    learn_epoch(&recoveries, group, &status);
                    raft_error_of(to, status)
                })?;
            read(reply.into_inner()).map_err(|error| TransportError::Refused {
                node: to,
                source: error.into(),
            })
        })
    }
}

impl PeerTransport for RaftPeers {
    fn append_stream(
        &self,
        to: NodeId,
        group: GroupId,
        requests: BoxStream<'static, AppendRequest>,
    ) -> BoxFuture<'static, Result<AppendReplies, TransportError>> {
        let client = self.client(to, ChannelClass::Appends);
        let known = self.pool.exchange().incarnations().clone();
        let recoveries = self.pool.exchange().recoveries().clone();
        let route = Some(self.route(to, group));
        let (alive, ended) = oneshot::channel();
        let requests = Requests {
            inner: Some(requests),
            route,
            ended,
        };
        Box::pin(async move {
            let opened = client?.append_stream(requests).await;
            let inner = opened
                .map_err(|status| {
                    learn_epoch(&recoveries, group, &status);
                    raft_error_of(to, status)
                })?
                .into_inner();
            Ok(Replies {
                from: to,
                inner: Some(inner),
                alive: Some(alive),
                known,
            }
            .boxed())
        })
    }

    fn heartbeat(
        &self,
        to: NodeId,
        group: GroupId,
        request: AppendRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<AppendReply, TransportError>> {
        let (heartbeats, epoch) = (Arc::clone(&self.heartbeats), self.epoch);
        Box::pin(async move { heartbeats.ask((to, group, epoch), request, timeout).await })
    }

    fn vote(
        &self,
        to: NodeId,
        group: GroupId,
        request: VoteRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<VoteReply, TransportError>> {
        let known = self.pool.exchange().incarnations();
        let incarnation = convert::reading::incarnation_to_proto;
        let request = proto::VoteRequest {
            sender: known.own().map(incarnation),
            receiver_seen: known.seen(to).map(incarnation),
            ..convert::vote_request_to_proto(request, self.route(to, group))
        };
        let known = known.clone();
        let call = |mut client: Client| async move {
            let reply = client.vote(request).await?;
            // The vote of a node that another process on a newer disk has taken the place of.
            let voter = reply
                .get_ref()
                .voter
                .map(convert::reading::incarnation_from_proto);
            match voter {
                Some(voter) if !known.observe(to, voter) => Err(older_disk(to)),
                _ => Ok(reply),
            }
        };
        self.ask(
            (to, group),
            (ChannelClass::Control, timeout),
            call,
            convert::vote_reply_from_proto,
        )
    }

    fn install_snapshot(
        &self,
        to: NodeId,
        group: GroupId,
        request: SnapshotRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<SnapshotReply, TransportError>> {
        let chunks = convert::snapshot::to_chunks(request, self.route(to, group));
        let chunks = stream::iter(chunks);
        let call = |mut client: Client| async move { client.install_snapshot(chunks).await };
        let read = |reply: proto::SnapshotReply| {
            Ok(SnapshotReply {
                vote: convert::vote_from_proto(reply.vote)?,
            })
        };
        self.ask((to, group), (ChannelClass::Snapshots, timeout), call, read)
    }

    fn transfer_leader(
        &self,
        to: NodeId,
        group: GroupId,
        request: TransferRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<TransferReply, TransportError>> {
        let request = convert::transfer_to_proto(request, self.route(to, group));
        let call = |mut client: Client| async move { client.transfer_leader(request).await };
        self.ask(
            (to, group),
            (ChannelClass::Control, timeout),
            call,
            convert::transfer_reply_from_proto,
        )
    }
}

/// The requests of a stream. They end when the replies have ended: otherwise openraft's replication
/// task would wait for the next entry on a stream that nobody reads, and replication would hang.
struct Requests {
    inner: Option<BoxStream<'static, AppendRequest>>,
    /// For the first request.
    route: Option<Route>,
    ended: oneshot::Receiver<()>,
}

impl Stream for Requests {
    type Item = proto::AppendRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if Pin::new(&mut this.ended).poll(cx).is_ready() {
            this.inner = None;
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let next = std::task::ready!(inner.as_mut().poll_next(cx));
        if next.is_none() {
            this.inner = None;
        }
        Poll::Ready(next.map(|request| convert::append_to_proto(request, this.route.take())))
    }
}

/// The replies of a stream. Its end, or dropping it, ends the requests.
struct Replies {
    from: NodeId,
    inner: Option<Streaming<proto::AppendReply>>,
    alive: Option<oneshot::Sender<()>>,
    known: Incarnations,
}

impl Replies {
    fn read(&self, reply: Result<proto::AppendReply, Status>) -> ReplyResult {
        let node = self.from;
        let reply = reply.map_err(|status| raft_error_of(node, status))?;
        let follower = reply.follower.map(convert::reading::incarnation_from_proto);
        if follower.is_some_and(|follower| !self.known.observe(node, follower)) {
            return Err(raft_error_of(node, older_disk(node)));
        }
        convert::append_reply_from_proto(reply).map_err(|error| TransportError::Refused {
            node,
            source: error.into(),
        })
    }
}

type ReplyResult = Result<AppendReply, TransportError>;

impl Stream for Replies {
    type Item = ReplyResult;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ReplyResult>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let reply = std::task::ready!(Pin::new(inner).poll_next(cx));
        let reply = reply.map(|reply| self.read(reply));
        if !matches!(reply, Some(Ok(AppendReply::Accepted(_)))) {
            self.inner = None;
            self.alive = None;
        }
        Poll::Ready(reply)
    }
}
