//! Forwarding: requests for partitions that other nodes lead go to their leader, one hop, so that a
//! client may send any request to any node. `transport` implements it.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lograft_core::{NodeId, Reason};

use super::reply_memory::ReplyAccount;
use super::request::{
    AppendRequest, Appended, ConsumeRequest, DeleteRecordsRequest, DeletedRecords, FetchRequest,
    Fetched, ListOffsetsRequest, OffsetBounds,
};
use crate::error::ApiError;

/// The outcome of a forwarded request.
pub(crate) type Forwarded<T> = BoxFuture<'static, Result<T, ForwardError>>;

/// An append of a stream, with the number by which its reply is recognized. Numbers start at 1 and
/// are unique within the stream.
#[derive(Clone, Debug)]
pub(crate) struct NumberedAppend {
    pub(crate) number: u64,
    pub(crate) request: AppendRequest,
}

/// The reply to the append of this number and partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberedReply {
    pub(crate) number: u64,
    pub(crate) partition: u32,
    pub(crate) outcome: Result<Appended, ApiError>,
}

/// Replies to the appends of a stream. An error ends the stream.
pub(crate) type AppendReplies = BoxStream<'static, Result<NumberedReply, ForwardError>>;

/// Chunks of a consume.
pub(crate) type FetchedStream = BoxStream<'static, Result<Fetched, ApiError>>;

/// Sends requests to another node. Implementations MUST mark them as forwarded, so that the
/// receiver does not forward them a second time, and MUST NOT retry by themselves: an append may
/// already have been carried out.
pub(crate) trait Forward: Send + Sync + 'static {
    /// Appends one batch.
    fn append(&self, to: NodeId, request: AppendRequest) -> Forwarded<Appended>;

    /// Appends batches in the order of `requests`. Each reply carries the number of its request.
    /// When the replies end, `requests` MUST be dropped: its sender notices by that.
    fn append_stream(
        &self,
        to: NodeId,
        requests: BoxStream<'static, NumberedAppend>,
    ) -> Forwarded<AppendReplies>;

    /// Reads once. The memory of the reply is reserved before it is received, and given back with
    /// it.
    fn fetch(&self, to: NodeId, request: FetchRequest, replies: ReplyAccount)
    -> Forwarded<Fetched>;

    /// Reads continuously. The memory of each chunk is reserved before it is received, and held
    /// until the next one is asked for.
    fn consume(
        &self,
        to: NodeId,
        request: ConsumeRequest,
        replies: ReplyAccount,
    ) -> Forwarded<FetchedStream>;

    /// Asks for the bounds of partitions.
    fn list_offsets(
        &self,
        to: NodeId,
        request: ListOffsetsRequest,
    ) -> Forwarded<Vec<(u32, Result<OffsetBounds, ApiError>)>>;

    /// Deletes the records before an offset.
    fn delete_records(
        &self,
        to: NodeId,
        request: DeleteRecordsRequest,
    ) -> Forwarded<DeletedRecords>;
}

/// Why a forwarded request has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForwardError {
    /// There was no connection: the request did not leave this node.
    #[error("cannot connect to the leader: {0}")]
    Unsent(String),
    /// The connection broke: the request may or may not have been carried out.
    #[error("connection to the leader lost: {0}")]
    Lost(String),
    /// The call failed for another reason: the request may or may not have been carried out.
    #[error("request to the leader failed: {0}")]
    Failed(String),
    /// The leader's node answered with an error.
    #[error(transparent)]
    Refused(#[from] ApiError),
}

impl ForwardError {
    /// The reason under which the outcome is counted.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Unsent(_) => Reason::NoLeader.as_str(),
            Self::Lost(_) | Self::Failed(_) => Reason::NotReady.as_str(),
            Self::Refused(error) => error.label(),
        }
    }
}
