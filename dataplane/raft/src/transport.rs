//! How a replica reaches the others. The node implements it over its peers' connections, tests
//! over channels.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lograft_core::{GroupId, NodeId};

use crate::error::BoxError;
use crate::wire::{
    AppendReply, AppendRequest, SnapshotReply, SnapshotRequest, TransferReply, TransferRequest,
    VoteReply, VoteRequest,
};

/// Why a peer could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No address is known for the node.
    #[error("no address of node {0}")]
    UnknownNode(NodeId),
    /// The node cannot be reached; trying again at once is useless.
    #[error("reaching node {node}")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The node did not answer in time.
    #[error("no answer of node {node} within {after:?}")]
    Timeout {
        /// The node.
        node: NodeId,
        /// How long it was given.
        after: Duration,
    },
    /// This replica broke the stream, so that it can purge what the node has not got yet.
    #[error("broke the stream to node {node}, whose next entries are purged")]
    Broken {
        /// The node.
        node: NodeId,
    },
    /// The node answered with an error, for instance that it has no such group.
    #[error("node {node} refused")]
    Refused {
        /// The node.
        node: NodeId,
        /// What it said.
        #[source]
        source: BoxError,
    },
}

/// Carries requests to the replicas of a group on other nodes.
///
/// Appends, heartbeats with votes, and snapshots should travel on separate connections, so that
/// none waits behind the other. No method may wait for anything but the peer, and each must give
/// up by itself within the `timeout` given.
pub trait PeerTransport: Send + Sync + 'static {
    /// Opens a long-lived stream of appends. The receiver hands it to
    /// [`crate::RaftGroup::on_append_stream`].
    ///
    /// Replies MUST come in the order of the requests, one for each, and the stream of replies
    /// MUST end when the peer's ends or breaks. The implementation MUST drop `requests` once the
    /// replies have ended or been dropped. It MUST NOT take more of `requests` than its own flow
    /// control lets through: their number in flight is bounded by `requests` itself.
    fn append_stream(
        &self,
        to: NodeId,
        group: GroupId,
        requests: BoxStream<'static, AppendRequest>,
    ) -> BoxFuture<'static, Result<AppendReplies, TransportError>>;

    /// One request without entries. Goes to [`crate::RaftGroup::on_heartbeat`]. It may wait for
    /// those of other groups to the same node, for a small part of `timeout`, to travel with them.
    fn heartbeat(
        &self,
        to: NodeId,
        group: GroupId,
        request: AppendRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<AppendReply, TransportError>>;

    /// A vote or pre-vote. Goes to [`crate::RaftGroup::on_vote`].
    fn vote(
        &self,
        to: NodeId,
        group: GroupId,
        request: VoteRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<VoteReply, TransportError>>;

    /// A whole snapshot; the reply comes once it is installed. Goes to
    /// [`crate::RaftGroup::on_snapshot`].
    fn install_snapshot(
        &self,
        to: NodeId,
        group: GroupId,
        request: SnapshotRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<SnapshotReply, TransportError>>;

    /// A transfer of leadership. Goes to [`crate::RaftGroup::on_transfer_leader`].
    fn transfer_leader(
        &self,
        to: NodeId,
        group: GroupId,
        request: TransferRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<TransferReply, TransportError>>;
}

/// The replies of an append stream; it ends with its first error, conflict or higher vote.
pub type AppendReplies = BoxStream<'static, Result<AppendReply, TransportError>>;
