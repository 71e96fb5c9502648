//! The transport between the replicas of a group. The node implements it on its peer connections,
//! tests on channels.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lograft_core::{GroupId, NodeId};

use crate::error::BoxError;
use crate::wire::{
    AppendReply, AppendRequest, SnapshotReply, SnapshotRequest, TransferReply, TransferRequest,
    VoteReply, VoteRequest,
};

/// The failure of a request to a peer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The node's address is not known.
    #[error("address of node {0} not found")]
    UnknownNode(NodeId),
    /// The node cannot be reached. An immediate retry is useless.
    #[error("cannot reach node {node}")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The node did not reply in time.
    #[error("no reply from node {node} within {after:?}")]
    Timeout {
        /// The node.
        node: NodeId,
        /// The timeout.
        after: Duration,
    },
    /// The node's disk has no room for records. It is not sent records again before
    /// `limits::FOLLOWER_FULL_RETRY_INTERVAL`.
    #[error("the disk of node {node} has no room for more records")]
    NoRoom {
        /// The node.
        node: NodeId,
    },
    /// This replica aborted the append stream in order to purge entries that the node does not
    /// have.
    #[error("append stream to node {node} was aborted to purge its next entries")]
    Aborted {
        /// The node.
        node: NodeId,
    },
    /// The node replied with an error, for example that it does not have the group.
    #[error("node {node} rejected the request")]
    Refused {
        /// The node.
        node: NodeId,
        /// The node's error.
        #[source]
        source: BoxError,
    },
}

/// Carries requests to the replicas of a group on other nodes.
///
/// Appends, heartbeats with votes, and snapshots SHOULD use separate connections, so that none is
/// queued behind another: a heartbeat behind a snapshot arrives after the election timeout. A
/// method MUST NOT wait for anything except the peer, and MUST return within the given `timeout`.
pub trait PeerTransport: Send + Sync + 'static {
    /// Opens a long-lived stream of append requests. The receiver passes it to
    /// [`crate::RaftGroup::on_append_stream`].
    ///
    /// Replies MUST be in the order of the requests, one for each, and the stream of replies MUST
    /// end when the peer's stream ends or breaks. The implementation MUST drop `requests` once the
    /// replies have ended or were dropped. It MUST NOT buffer `requests` beyond its own flow
    /// control; `requests` itself bounds the number of requests in flight.
    fn append_stream(
        &self,
        to: NodeId,
        group: GroupId,
        requests: BoxStream<'static, AppendRequest>,
    ) -> BoxFuture<'static, Result<AppendReplies, TransportError>>;

    /// Sends a request without entries, for [`crate::RaftGroup::on_heartbeat`]. It may be delayed
    /// by a small part of `timeout` in order to share a call with those of other groups.
    fn heartbeat(
        &self,
        to: NodeId,
        group: GroupId,
        request: AppendRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<AppendReply, TransportError>>;

    /// Sends a vote or pre-vote request, for [`crate::RaftGroup::on_vote`].
    fn vote(
        &self,
        to: NodeId,
        group: GroupId,
        request: VoteRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<VoteReply, TransportError>>;

    /// Sends a whole snapshot, for [`crate::RaftGroup::on_snapshot`]. Returns once it is installed.
    fn install_snapshot(
        &self,
        to: NodeId,
        group: GroupId,
        request: SnapshotRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<SnapshotReply, TransportError>>;

    /// Sends a leadership transfer request, for [`crate::RaftGroup::on_transfer_leader`].
    fn transfer_leader(
        &self,
        to: NodeId,
        group: GroupId,
        request: TransferRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<TransferReply, TransportError>>;
}

/// The replies of an append stream, which ends with the first error, conflict or higher vote.
pub type AppendReplies = BoxStream<'static, Result<AppendReply, TransportError>>;
