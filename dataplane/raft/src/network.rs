//! openraft's network, implemented on a [`PeerTransport`].

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::{self, BoxStream, StreamExt};
use futures_util::{FutureExt, Stream, pin_mut};
use lograft_core::limits::{
    FOLLOWER_FULL_RETRY_INTERVAL, RAFT_BACKOFF_MAX, RAFT_BACKOFF_MIN, RAFT_SNAPSHOT_TIMEOUT,
};
use lograft_core::{GroupId, NodeId};
use lograft_storage::Checkpoint;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes};

use crate::convert::{log_id_to_raft, vote_from_raft, vote_to_raft};
use crate::membership::decode_membership;
use crate::snapshot::RaftSnapshot;
use crate::transport::{PeerTransport, TransportError};
use crate::types::{RaftVote, Types};
use crate::vote_fence::VoteFence;
use crate::wire::{self, AppendReply};

mod append_stream;
pub(crate) mod stream_abort;
pub(crate) mod wire_form;

use append_stream::windowed;
use stream_abort::AppendStreams;
use wire_form::{request_from_raft, transfer_from_raft, transfer_reply_to_raft, vote_from_request};

/// Creates the clients with which one replica reaches the other replicas of its group.
pub(crate) struct PeerClientFactory {
    pub(crate) group: GroupId,
    pub(crate) node: NodeId,
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) append_streams: AppendStreams,
    pub(crate) fence: VoteFence,
    pub(crate) isolated: Arc<AtomicBool>,
}

impl RaftNetworkFactory<Types> for PeerClientFactory {
    type Network = PeerClient;

    async fn new_client(&mut self, target: NodeId, (): &()) -> PeerClient {
        PeerClient {
            group: self.group,
            node: self.node,
            to: target,
            transport: self.transport.clone(),
            append_streams: self.append_streams.clone(),
            fence: self.fence.clone(),
            isolated: self.isolated.clone(),
            has_no_room: Arc::default(),
        }
    }
}

/// A client of one peer's replica of one group.
#[derive(Clone)]
pub(crate) struct PeerClient {
    group: GroupId,
    node: NodeId,
    to: NodeId,
    transport: Arc<dyn PeerTransport>,
    append_streams: AppendStreams,
    fence: VoteFence,
    /// Whether this replica leads without contact to a majority.
    isolated: Arc<AtomicBool>,
    /// The peer has refused records for lack of room.
    has_no_room: Arc<AtomicBool>,
}

type AppendResult = Result<StreamAppendResult<Types>, RPCError<Types>>;

impl PeerClient {
    fn error(&self, action: RPCTypes, error: &TransportError) -> RPCError<Types> {
        match error {
            TransportError::Timeout { after, .. } => RPCError::Timeout(Timeout {
                action,
                id: self.node,
                target: self.to,
                timeout: *after,
            }),
            other => RPCError::Unreachable(Unreachable::new(other)),
        }
    }

    /// A fenced replica sends nothing: a leader among them ends there, its followers elect another.
    fn check_fence(&self) -> Result<(), RPCError<Types>> {
        let checked = self.fence.check_lifted();
        checked.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }

    async fn heartbeat(
        &self,
        request: AppendEntriesRequest<Types>,
        timeout: Duration,
    ) -> Result<AppendReply, RPCError<Types>> {
        self.check_fence()?;
        let request = request_from_raft(request, self.isolated.load(Ordering::Relaxed));
        let reply = self
            .transport
            .heartbeat(self.to, self.group, request, timeout)
            .await;
        reply.map_err(|error| self.error(RPCTypes::AppendEntries, &error))
    }

    /// Opens the append stream to the peer.
    fn append_stream<S>(&self, input: S) -> BoxStream<'static, AppendResult>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let client = self.clone();
        let (group, to) = (self.group, self.to);
        let opened = async move {
            // A follower with a full disk would refuse each stream after its first requests:
            // without the pause, it would be sent records as fast as the backoff allows.
            if client.has_no_room.swap(false, Ordering::Relaxed) {
                tokio::time::sleep(FOLLOWER_FULL_RETRY_INTERVAL).await;
            }
            let abort = client.append_streams.register(to);
            let isolated = client.isolated.clone();
            let (requests, guard) = windowed(input, to, abort);
            let requests = requests.map(move |request| wire::AppendRequest {
                isolated: isolated.load(Ordering::Relaxed),
                ..request
            });
            let opened = client
                .transport
                .append_stream(to, group, requests.boxed())
                .await;
            match opened {
                Ok(replies) => guard
                    .replies(replies)
                    .map(move |reply| match reply {
                        Ok(reply) => Ok(append_result(reply)),
                        Err(error) => {
                            let no_room = matches!(error, TransportError::NoRoom { .. });
                            client.has_no_room.fetch_or(no_room, Ordering::Relaxed);
                            Err(client.error(RPCTypes::AppendEntries, &error))
                        }
                    })
                    .left_stream(),
                Err(error) => {
                    let error = client.error(RPCTypes::AppendEntries, &error);
                    stream::once(async move { Err(error) }).right_stream()
                }
            }
        };
        opened.flatten_stream().boxed()
    }
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let reply = self.heartbeat(request, option.soft_ttl()).await?;
        Ok(AppendEntriesResponse::from(append_result(reply)))
    }

    // An empty first request is a heartbeat or a probe. It is sent on the connection for heartbeats
    // and votes, ahead of everything that is queued on the append connection: a leader's lease must
    // not expire because entries take long to transfer. The append stream is opened after it, once
    // there are entries to send.
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendResult>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        async move {
            self.check_fence()?;
            let Some(first) = input.next().await else {
                return Ok(stream::empty().boxed());
            };
            if !first.entries.is_empty() {
                let input = stream::once(std::future::ready(first)).chain(input);
                return Ok(self.append_stream(input));
            }
            let result = append_result(self.heartbeat(first, option.soft_ttl()).await?);
            let accepted = result.is_ok();
            let first = stream::once(std::future::ready(Ok(result)));
            if !accepted {
                return Ok(first.boxed());
            }
            let client: &'s Self = self;
            // The first reply must not wait for the next request.
            let rest = async move {
                match input.next().await {
                    Some(next) => {
                        let input = stream::once(std::future::ready(next)).chain(input);
                        client.append_stream(input)
                    }
                    None => stream::empty().boxed(),
                }
            };
            Ok(first.chain(rest.flatten_stream()).boxed())
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.send_vote(&request, false, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.send_vote(&request, true, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        self.check_fence()?;
        let checkpoint = snapshot.snapshot;
        let membership = decode_membership(&checkpoint.membership)
            .map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
        let request = wire::SnapshotRequest {
            vote: vote_from_raft(&vote),
            snapshot: wire::Snapshot {
                last: checkpoint.last,
                next_offset: checkpoint.next_offset,
                membership,
                membership_id: checkpoint.membership_id,
                state: checkpoint.state,
            },
        };
        tracing::info!(
            group = %self.group, node_id = %self.to, last = %request.snapshot.last, "sending snapshot"
        );
        let sent =
            self.transport
                .install_snapshot(self.to, self.group, request, RAFT_SNAPSHOT_TIMEOUT);
        pin_mut!(cancel);
        match select(cancel, sent).await {
            Either::Left((closed, _)) => Err(StreamingError::Closed(closed)),
            Either::Right((Ok(reply), _)) => Ok(SnapshotResponse::new(vote_to_raft(reply.vote))),
            Either::Right((Err(error), _)) => {
                Err(self.error(RPCTypes::InstallSnapshot, &error).into())
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.check_fence()?;
        let sent = transfer_from_raft(&request);
        let reply = self
            .transport
            .transfer_leader(self.to, self.group, sent, option.soft_ttl())
            .await
            .map_err(|error| self.error(RPCTypes::TransferLeader, &error))?;
        Ok(transfer_reply_to_raft(reply, &request))
    }

    fn backoff(&self) -> Option<Backoff> {
        let double = |delay: &Duration| Some((*delay * 2).min(RAFT_BACKOFF_MAX));
        Some(Backoff::new(std::iter::successors(
            Some(RAFT_BACKOFF_MIN),
            double,
        )))
    }
}

impl PeerClient {
    async fn send_vote(
        &self,
        request: &VoteRequest<Types>,
        pre_vote: bool,
        timeout: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.check_fence()?;
        let sent = vote_from_request(request, pre_vote);
        let reply = self
            .transport
            .vote(self.to, self.group, sent, timeout)
            .await
            .map_err(|error| self.error(RPCTypes::Vote, &error))?;
        let wire::VoteReply {
            vote,
            granted,
            last,
        } = reply;
        Ok(VoteResponse::new(
            vote_to_raft(vote),
            last.map(log_id_to_raft),
            granted,
        ))
    }
}

fn append_result(reply: AppendReply) -> StreamAppendResult<Types> {
    match reply {
        AppendReply::Accepted(last) => Ok(last.map(log_id_to_raft)),
        AppendReply::Conflict(at) => Err(StreamAppendError::Conflict(log_id_to_raft(at))),
        AppendReply::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_to_raft(vote))),
    }
}
