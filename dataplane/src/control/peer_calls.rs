//! What control asks of other nodes, over their peer ports.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lograft_core::NodeId;
use lograft_proto::admin::v1::{JoinReply, JoinRequest};
use lograft_proto::raft::v1::{
    DescribeNodeRequest, LeaderHints, MoveLeaderReply, MoveLeaderRequest, NodeReport,
    ProposeMetaReply, ProposeMetaRequest, WatchLeadersRequest,
};
use tonic::Status;

/// A peer's answer, or why there is none.
pub type Answer<T> = BoxFuture<'static, Result<T, Status>>;

/// Leader hints as they come.
pub type HintStream = BoxStream<'static, Result<LeaderHints, Status>>;

/// Asks other nodes. Each call but the stream gives up after `timeout` by itself.
pub trait PeerCalls: Send + Sync + 'static {
    /// Puts a command before the meta group's leader.
    fn propose_meta(
        &self,
        to: NodeId,
        request: ProposeMetaRequest,
        timeout: Duration,
    ) -> Answer<ProposeMetaReply>;

    /// Asks a node how it is.
    fn describe(
        &self,
        to: NodeId,
        request: DescribeNodeRequest,
        timeout: Duration,
    ) -> Answer<NodeReport>;

    /// Asks the node at an address how it is, whoever it may be.
    fn describe_at(
        &self,
        address: Arc<str>,
        request: DescribeNodeRequest,
        timeout: Duration,
    ) -> Answer<NodeReport>;

    /// Follows which groups a node leads. The stream breaks when the node is gone.
    fn watch_leaders(&self, to: NodeId, request: WatchLeadersRequest) -> Answer<HintStream>;

    /// Asks a node to hand over a leadership.
    fn move_leader(
        &self,
        to: NodeId,
        request: MoveLeaderRequest,
        timeout: Duration,
    ) -> Answer<MoveLeaderReply>;

    /// Asks the node at an address for a place in its cluster.
    fn join(&self, address: Arc<str>, request: JoinRequest, timeout: Duration)
    -> Answer<JoinReply>;
}
