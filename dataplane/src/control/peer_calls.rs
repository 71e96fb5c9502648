//! Calls that control makes to other nodes, independent of the protocol that carries them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lograft_core::acl::Principal;
use lograft_core::metadata::Registration;
use lograft_core::{FeatureLevel, GroupId, LogId, LogIndex, NodeId, Offset, RecoveryEpoch, Term};

use super::known_leaders::LeaderChange;
use super::node_report::NodeReport;
use crate::error::ApiError;
use crate::identity::Member;

/// Sender and receiver of a call.
///
/// The receiver refuses a call that names another cluster or another node: an address can be
/// reused by a different node, and a call must never act on the wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallRoute {
    /// The sending node and the cluster of both.
    pub(crate) from: Member,
    /// The receiving node.
    pub(crate) to: NodeId,
}

/// Cause of a failed call, as far as the caller reacts to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerFailure {
    /// The peer cannot be reached, cannot serve the call now, or its answer was lost.
    Unavailable,
    /// The peer did not answer within the time limit.
    Timeout,
    /// The peer states that it did not execute the call.
    NotExecuted,
    /// The peer refused the call because it does not apply to the peer's state.
    FailedPrecondition,
    /// The peer refused the call with an error of the API, possibly one of a later version.
    Refused(Box<ApiError>),
    /// The peer does not have the call of this name: it runs an older version.
    UnknownCall(&'static str),
    /// The answer does not decode.
    MalformedAnswer,
}

/// Error of a call to another node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct PeerCallError {
    /// The cause.
    pub(crate) failure: PeerFailure,
    /// The cause as a sentence.
    pub(crate) text: String,
}

impl PeerCallError {
    /// The error for a client on whose behalf the call to `peer` was made, if the peer refused it.
    pub(crate) fn into_refusal(self, peer: NodeId) -> Result<ApiError, Self> {
        match self.failure {
            PeerFailure::Refused(error) => Ok(*error),
            PeerFailure::UnknownCall(call) => Ok(ApiError::unknown_call(peer, call)),
            _ => Err(self),
        }
    }
}

/// Answer of a peer.
pub(crate) type PeerAnswer<T> = BoxFuture<'static, Result<T, PeerCallError>>;

/// Stream of leadership changes on a peer. The first item lists every group that it leads.
pub(crate) type LeaderChangeStream = BoxStream<'static, Result<Vec<LeaderChange>, PeerCallError>>;

/// A metadata command that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppliedCommand {
    /// The log index of the command in the meta group.
    pub(crate) index: LogIndex,
    /// The encoded outcome or refusal.
    pub(crate) outcome: Bytes,
    /// The refusal as clients see it, in case that `outcome` is one of a later version. Version
    /// 0.1.0 does not send it.
    pub(crate) refusal: Option<ApiError>,
}

/// Transfer of a group's leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaderMove {
    /// The group.
    pub(crate) group: GroupId,
    /// The next leader.
    pub(crate) to: NodeId,
}

/// Which fences are lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptedGroups {
    /// Only this group; all if there is none.
    pub(crate) group: Option<GroupId>,
    /// Whether nothing changes.
    pub(crate) is_dry_run: bool,
}

/// A replica that is fenced, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FencedReplica {
    /// The group.
    pub(crate) group: GroupId,
    /// The offset after its last record.
    pub(crate) log_end: Offset,
}

/// A recovery of the metadata that has started, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetaRecovery {
    /// The node that becomes the only voter.
    pub(crate) node: NodeId,
    /// The epoch of the meta group since then.
    pub(crate) epoch: RecoveryEpoch,
    /// The last entry of its log.
    pub(crate) last: Option<LogId>,
    /// The members that answered: they follow.
    pub(crate) following: Vec<NodeId>,
    /// The members that did not.
    pub(crate) lost: Vec<NodeId>,
}

/// Request of an empty node to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinCall {
    /// The node's description of itself.
    pub(crate) registration: Registration,
    /// The newest feature level that it knows.
    pub(crate) level: FeatureLevel,
}

/// Answer to a join request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinAnswer {
    /// The cluster and the id assigned to the new node.
    pub(crate) member: Member,
    /// Peer addresses of the cluster's members.
    pub(crate) members: Vec<(NodeId, Arc<str>)>,
}

/// An encoded metadata command.
#[derive(Clone, Debug)]
pub(crate) struct EncodedProposal {
    pub(crate) command: Bytes,
    /// The principal whose request it carries out.
    pub(crate) on_behalf_of: Option<Arc<Principal>>,
}

/// Calls to other nodes over their peer ports.
///
/// A call with a `timeout` MUST fail after it by itself. Calls MAY be repeated: each of them is
/// idempotent, except `propose_meta`, where the command decides.
pub(crate) trait PeerCalls: Send + Sync + 'static {
    /// Proposes a metadata command on a node that leads the meta group.
    fn propose_meta(
        &self,
        route: CallRoute,
        proposal: EncodedProposal,
        timeout: Duration,
    ) -> PeerAnswer<AppliedCommand>;

    /// Requests the report of a node.
    fn describe(&self, route: CallRoute, timeout: Duration) -> PeerAnswer<NodeReport>;

    /// Requests the report of the node at an address, whichever node that is.
    fn describe_at(&self, address: Arc<str>, timeout: Duration) -> PeerAnswer<NodeReport>;

    /// Subscribes to the leaderships of a node. The stream ends when the connection is lost.
    fn watch_leaders(&self, route: CallRoute) -> PeerAnswer<LeaderChangeStream>;

    /// Requests a node to transfer a leadership. Returns the new leader and its term.
    fn move_leader(
        &self,
        route: CallRoute,
        leader_move: LeaderMove,
        timeout: Duration,
    ) -> PeerAnswer<(NodeId, Term)>;

    /// Requests the leader of the meta group to remove this node from the group.
    fn evict_meta(&self, route: CallRoute, timeout: Duration) -> PeerAnswer<()>;

    /// Asks a node for the end of a group's log, confirmed by a majority after the call: what this
    /// node's fenced replica must have before it votes again. `None` if the node does not lead the
    /// group. In any case, it has seen the incarnation of this node.
    fn catch_up_target(
        &self,
        route: CallRoute,
        group: GroupId,
        timeout: Duration,
    ) -> PeerAnswer<Option<LogId>>;

    /// Lifts fences of a node on the decision of an operator.
    fn accept_older_disk(
        &self,
        route: CallRoute,
        groups: AcceptedGroups,
        timeout: Duration,
    ) -> PeerAnswer<Vec<FencedReplica>>;

    /// Makes a node the only voter of the meta group on the decision of an operator.
    fn recover_metadata(
        &self,
        route: CallRoute,
        is_dry_run: bool,
        timeout: Duration,
    ) -> PeerAnswer<MetaRecovery>;

    /// Registers this node with the cluster of the node at an address.
    fn join(&self, address: Arc<str>, call: JoinCall, timeout: Duration) -> PeerAnswer<JoinAnswer>;
}
