//! Forwarded requests as calls of the leader's log service.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use hyper::body::Body as HttpBody;
use lograft_core::NodeId;
use lograft_core::limits::GRPC_MESSAGE_MAX_BYTES;
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::group_service_client::GroupServiceClient;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use prometheus::IntCounterVec;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::group_messages as groups;
use super::log_messages as messages;
use super::metered::MeteredChannel;
use super::status::{error_of, is_unknown_call, is_unsent};
use super::{ChannelClass, ChannelError, PeerPool};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::serving::consumer_groups::ForwardGroups;
use crate::serving::consumer_groups::request::{
    GroupAnswer, GroupCall, GroupRequest, ListRequest, ListedGroup,
};
use crate::serving::forward::{
    AppendReplies, FetchedStream, Forward, ForwardError, Forwarded, NumberedAppend, NumberedReply,
};
use crate::serving::reply_memory::ReplyAccount;
use crate::serving::request::{
    AppendRequest, Appended, ConsumeRequest, DeleteRecordsRequest, DeletedRecords, FetchRequest,
    Fetched, ListOffsetsRequest, OffsetBounds,
};

/// Channels for forwarded requests.
pub(crate) trait LeaderChannels: Send + Sync + 'static {
    /// The channel of a class to a node.
    fn channel(&self, node: NodeId, class: ChannelClass) -> Result<Channel, ChannelError>;
}

impl LeaderChannels for PeerPool {
    fn channel(&self, node: NodeId, class: ChannelClass) -> Result<Channel, ChannelError> {
        Self::channel(self, node, class)
    }
}

/// Forwards requests by gRPC and counts their outcomes.
pub(crate) struct GrpcForward {
    channels: Arc<dyn LeaderChannels>,
    outcomes: IntCounterVec,
}

impl GrpcForward {
    pub(crate) fn new(channels: Arc<dyn LeaderChannels>, metrics: &Metrics) -> Self {
        Self {
            channels,
            outcomes: metrics.forwards.clone(),
        }
    }

    /// Makes the call of this name to a node and counts the outcome.
    fn call<P, T, F>(
        &self,
        (to, name, class): (NodeId, &'static str, ChannelClass),
        call: impl FnOnce(Channel) -> F + Send + 'static,
        decode: impl FnOnce(P) -> Result<T, ForwardError> + Send + 'static,
    ) -> Forwarded<T>
    where
        F: Future<Output = Result<Response<P>, Status>> + Send,
        P: Send,
    {
        let channel = self.channels.channel(to, class);
        let outcomes = self.outcomes.clone();
        Box::pin(async move {
            let outcome = match channel {
                Ok(channel) => call(channel)
                    .await
                    .map_err(|status| failed(&status, to, name))
                    .and_then(|reply| decode(reply.into_inner())),
                Err(error) => Err(ForwardError::Unsent(error.to_string())),
            };
            count(&outcomes, &outcome);
            outcome
        })
    }
}

impl GrpcForward {
    /// Makes the call of this name of the group service.
    fn group<P, T, F>(
        &self,
        (to, name): (NodeId, &'static str),
        call: impl FnOnce(GroupServiceClient<Channel>) -> F + Send + 'static,
        decode: impl FnOnce(P) -> Result<T, ForwardError> + Send + 'static,
    ) -> Forwarded<T>
    where
        F: Future<Output = Result<Response<P>, Status>> + Send,
        P: Send,
    {
        let call = |channel| {
            let client = GroupServiceClient::new(channel);
            call(client.max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES))
        };
        self.call((to, name, ChannelClass::ForwardedMembers), call, decode)
    }
}

/// A client whose replies take their memory from an account.
fn metered(channel: Channel, replies: ReplyAccount) -> LogServiceClient<MeteredChannel> {
    client(MeteredChannel::new(channel, replies))
}

fn client<C>(channel: C) -> LogServiceClient<C>
where
    C: GrpcService<Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <C::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    LogServiceClient::new(channel)
        .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
        .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES)
}

fn count<T>(outcomes: &IntCounterVec, outcome: &Result<T, ForwardError>) {
    let label = match outcome {
        Ok(_) => "OK",
        Err(error) => error.label(),
    };
    outcomes.with_label_values(&[label]).inc();
}

/// The outcome of a request whose call failed with a status.
fn failed(status: &Status, to: NodeId, call: &str) -> ForwardError {
    if let Some(error) = error_of(status) {
        ForwardError::Refused(error)
    } else if is_unknown_call(status) {
        ForwardError::Refused(ApiError::unknown_call(to, call))
    } else if is_unsent(status) {
        ForwardError::Unsent(status.message().to_owned())
    } else if status.code() == Code::Unavailable {
        ForwardError::Lost(status.message().to_owned())
    } else {
        ForwardError::Failed(status.message().to_owned())
    }
}

impl Forward for GrpcForward {
    fn append(&self, to: NodeId, request: AppendRequest) -> Forwarded<Appended> {
        let request = messages::append(request);
        self.call(
            (to, "Produce", ChannelClass::Forwarding),
            |channel| async move { client(channel).produce(request).await },
            |reply| Ok(messages::appended(reply)?),
        )
    }

    fn append_stream(
        &self,
        to: NodeId,
        requests: BoxStream<'static, NumberedAppend>,
    ) -> Forwarded<AppendReplies> {
        let channel = self.channels.channel(to, ChannelClass::Forwarding);
        let outcomes = self.outcomes.clone();
        Box::pin(open_stream(to, channel, Requests(requests), outcomes))
    }

    fn fetch(
        &self,
        to: NodeId,
        request: FetchRequest,
        replies: ReplyAccount,
    ) -> Forwarded<Fetched> {
        let request = messages::fetch(request);
        self.call(
            (to, "Fetch", ChannelClass::ForwardedReads),
            |channel| async move { metered(channel, replies).fetch(request).await },
            |reply| Ok(messages::fetched(reply)),
        )
    }

    fn consume(
        &self,
        to: NodeId,
        request: ConsumeRequest,
        replies: ReplyAccount,
    ) -> Forwarded<FetchedStream> {
        let request = messages::consume(request);
        self.call(
            (to, "Consume", ChannelClass::ForwardedReads),
            |channel| async move { metered(channel, replies).consume(request).await },
            move |replies| {
                let chunks = replies.map(move |reply| {
                    reply
                        .map(messages::fetched)
                        .map_err(|status| stream_broken(failed(&status, to, "Consume")))
                });
                Ok(chunks.boxed())
            },
        )
    }

    fn list_offsets(
        &self,
        to: NodeId,
        request: ListOffsetsRequest,
    ) -> Forwarded<Vec<(u32, Result<OffsetBounds, ApiError>)>> {
        let request = messages::list_offsets(request);
        self.call(
            (to, "ListOffsets", ChannelClass::Forwarding),
            |channel| async move { client(channel).list_offsets(request).await },
            |reply: proto::ListOffsetsReply| Ok(messages::offsets(reply)),
        )
    }

    fn delete_records(
        &self,
        to: NodeId,
        request: DeleteRecordsRequest,
    ) -> Forwarded<DeletedRecords> {
        let request = messages::delete_records(request);
        self.call(
            (to, "DeleteRecords", ChannelClass::Forwarding),
            |channel| async move { client(channel).delete_records(request).await },
            |reply| Ok(messages::deleted(reply)),
        )
    }
}

impl ForwardGroups for GrpcForward {
    fn group_call(&self, to: NodeId, request: GroupRequest) -> Forwarded<GroupAnswer> {
        let GroupRequest { target, call } = request;
        match call {
            GroupCall::Join(spec) => {
                let request = groups::join(target, spec);
                self.group(
                    (to, "JoinGroup"),
                    |mut client| async move { client.join_group(request).await },
                    |reply| Ok(GroupAnswer::Member(groups::member(reply))),
                )
            }
            GroupCall::Heartbeat(heartbeat) => {
                let request = groups::heartbeat(target, heartbeat);
                self.group(
                    (to, "Heartbeat"),
                    |mut client| async move { client.heartbeat(request).await },
                    |reply| Ok(GroupAnswer::Member(groups::member(reply))),
                )
            }
            GroupCall::Leave(member) => {
                let request = groups::leave(target, member);
                self.group(
                    (to, "LeaveGroup"),
                    |mut client| async move { client.leave_group(request).await },
                    |_| Ok(GroupAnswer::Done),
                )
            }
            GroupCall::Commit(offsets) => {
                let request = groups::commit(target, offsets);
                self.group(
                    (to, "CommitOffsets"),
                    |mut client| async move { client.commit_offsets(request).await },
                    |reply| Ok(GroupAnswer::Committed(groups::committed(reply))),
                )
            }
            GroupCall::Offsets(offsets) => {
                let request = groups::fetch_offsets(target, offsets);
                self.group(
                    (to, "FetchOffsets"),
                    |mut client| async move { client.fetch_offsets(request).await },
                    |reply| Ok(GroupAnswer::Offsets(groups::offsets_page(reply)?)),
                )
            }
            GroupCall::DeleteOffsets(offsets) => {
                let request = groups::delete_offsets(target, offsets);
                self.group(
                    (to, "DeleteOffsets"),
                    |mut client| async move { client.delete_offsets(request).await },
                    |reply| Ok(GroupAnswer::Deleted(reply.deleted_count)),
                )
            }
            GroupCall::Describe(page) => {
                let request = groups::describe(target, &page);
                self.group(
                    (to, "DescribeGroup"),
                    |mut client| async move { client.describe_group(request).await },
                    |reply| Ok(GroupAnswer::Described(groups::described(reply)?)),
                )
            }
            GroupCall::Delete => {
                let request = groups::delete(target);
                self.group(
                    (to, "DeleteGroup"),
                    |mut client| async move { client.delete_group(request).await },
                    |_| Ok(GroupAnswer::Done),
                )
            }
        }
    }

    fn list_groups(&self, to: NodeId, request: ListRequest) -> Forwarded<Vec<ListedGroup>> {
        let request = groups::list(request);
        self.group(
            (to, "ListGroups"),
            |mut client| async move { client.list_groups(request).await },
            |reply| Ok(groups::listed(reply)),
        )
    }
}

/// Requests of a stream as messages.
struct Requests(BoxStream<'static, NumberedAppend>);

impl Stream for Requests {
    type Item = proto::ProduceRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.0.as_mut().poll_next(cx));
        Poll::Ready(next.map(messages::numbered_append))
    }
}

async fn open_stream(
    to: NodeId,
    channel: Result<Channel, ChannelError>,
    requests: Requests,
    outcomes: IntCounterVec,
) -> Result<AppendReplies, ForwardError> {
    let channel = channel.map_err(|error| ForwardError::Unsent(error.to_string()))?;
    let opened = client(channel).produce_stream(requests).await;
    let failed = move |status: Status| failed(&status, to, "ProduceStream");
    let replies = opened.map_err(failed)?.into_inner();
    let replies = replies.map(move |reply| {
        let reply = reply.map_err(failed).map(messages::numbered_reply);
        match &reply {
            Ok(NumberedReply {
                outcome: Err(error),
                ..
            }) => outcomes.with_label_values(&[error.label()]).inc(),
            Ok(_) | Err(_) => count(&outcomes, &reply),
        }
        reply
    });
    Ok(replies.boxed())
}

/// The error of a consume that breaks after its start. The client may continue elsewhere.
fn stream_broken(error: ForwardError) -> ApiError {
    match error {
        ForwardError::Refused(error) => error,
        error => ApiError::new(lograft_core::Reason::NotReady, error.to_string()),
    }
}
