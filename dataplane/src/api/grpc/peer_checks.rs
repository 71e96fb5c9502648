//! Checks of requests between nodes: a request for another node, of another cluster, or from a node
//! that was removed is refused before any group sees it. Otherwise a node that kept an old address
//! could vote in a group that it is no member of. A node is who its certificate says: it cannot
//! vote or lead under the id of another node.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{ClusterId, GroupId, Incarnation, NodeId, NodeState, RecoveryEpoch};
use lograft_proto::raft::v1 as proto;
use lograft_raft::RaftGroup;
use tonic::Extensions;

use crate::api::caller::{authorize_node, identity};
use crate::control::Control;
use crate::control::disk_fence::is_enforced;
use crate::convert::{ConvertError, Route};
use crate::error::ApiError;
use crate::identity::{Member, PeerIdentity};
use crate::incarnation::Incarnations;
use crate::recovery_epochs::Learned;

/// The parts of a node that the checks need.
pub(crate) trait GroupLookup: Send + Sync + 'static {
    /// The node's membership; `None` while it belongs to no cluster.
    fn member(&self) -> Option<Member>;

    /// The local member of a raft group.
    fn group(&self, group: GroupId) -> Option<RaftGroup>;

    /// Compares the id that the sender of a request claims with the name in its certificate.
    fn check_claim(&self, node: NodeId, name: &str) -> Claim;

    /// The latest recovery epoch of a group that this node knows.
    fn recovery_epoch(&self, group: GroupId) -> RecoveryEpoch;

    /// Takes over that another node has a later recovery epoch of a group than the local member.
    fn learn_epoch(&self, group: GroupId, epoch: RecoveryEpoch);

    /// Counts a request that is refused for its recovery epoch.
    fn count_other_epoch(&self);

    /// The known incarnations; `None` while the cluster has nodes that do not report theirs.
    fn incarnations(&self) -> Option<Incarnations>;
}

/// An id that the sender of a request claims, by the metadata of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The id is registered under the name in the certificate.
    Confirmed,
    /// The id is not registered, as far as this node knows: its metadata lag, or are not replayed
    /// yet. They arrive by requests with such ids, from the meta group.
    Unknown,
    /// The node was removed from the cluster. Its id is never used again.
    Removed,
    /// The node was lost when the metadata were recovered.
    Lost(RecoveryEpoch),
    /// The id is registered under another name, and no node has the name in the certificate. A node
    /// that was renamed: it may propose its new registration, and nothing else before that.
    Renamed,
    /// The id is that of another node.
    Other,
}

impl Claim {
    fn new(metadata: &Metadata, node: NodeId, name: &str) -> Self {
        match metadata.node(node) {
            None => Self::Unknown,
            Some(_) if metadata.is_left_behind(node) => {
                Self::Lost(metadata.recovery_epoch(GroupId::META))
            }
            Some(node) if node.state == NodeState::Removed => Self::Removed,
            Some(node) if node.registration.name == name => Self::Confirmed,
            Some(_)
                if metadata
                    .nodes()
                    .any(|other| other.registration.name == name) =>
            {
                Self::Other
            }
            Some(_) => Self::Renamed,
        }
    }
}

impl GroupLookup for Control {
    fn member(&self) -> Option<Member> {
        self.member.get()
    }

    fn group(&self, group: GroupId) -> Option<RaftGroup> {
        self.replicas.raft(group)
    }

    fn check_claim(&self, node: NodeId, name: &str) -> Claim {
        Claim::new(&self.view.load(), node, name)
    }

    fn recovery_epoch(&self, group: GroupId) -> RecoveryEpoch {
        let recoveries = self.exchange.recoveries();
        let learned = recoveries.learned(group).unwrap_or_default().epoch;
        let known = self.view.load().recovery_epoch(group);
        known.max(learned).max(recoveries.own(group))
    }

    fn learn_epoch(&self, group: GroupId, epoch: RecoveryEpoch) {
        let is_lost = false;
        let recoveries = self.exchange.recoveries();
        recoveries.learn(group, Learned { epoch, is_lost });
    }

    fn count_other_epoch(&self) {
        self.exchange.recoveries().count_refused();
    }

    fn incarnations(&self) -> Option<Incarnations> {
        // Before the metadata are replayed, what others have seen counts.
        let is_ignored = is_enforced(&self.view.load()) == Some(false);
        (!is_ignored).then(|| self.exchange.incarnations().clone())
    }
}

/// Why a request of a peer is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerRefusal {
    /// The route does not decode.
    #[error("malformed route")]
    Route(#[from] ConvertError),
    /// This node belongs to no cluster.
    #[error("this node does not belong to a cluster")]
    NoCluster,
    /// The request is for another cluster.
    #[error("this node belongs to cluster {actual}, not {asked}")]
    OtherCluster {
        /// The cluster of this node.
        actual: ClusterId,
        /// The cluster of the request.
        asked: ClusterId,
    },
    /// The request is for another node.
    #[error("this is node {actual}, not node {asked}")]
    OtherNode {
        /// This node.
        actual: NodeId,
        /// The node of the request.
        asked: NodeId,
    },
    /// The sender was removed from the cluster.
    #[error("node {0} was removed from the cluster")]
    Removed(NodeId),
    /// The sender was lost when the metadata were recovered.
    #[error("metadata were recovered at epoch {1}, and node {0} is lost: its disk must be wiped")]
    Lost(NodeId, RecoveryEpoch),
    /// The sender claims the id of another node.
    #[error("the certificate of {identity} is not that of node {claimed}")]
    OtherSender {
        /// The identity in the sender's certificate.
        identity: Arc<PeerIdentity>,
        /// The id in its request.
        claimed: NodeId,
    },
    /// This node has no replica of the group.
    #[error("replica of group {0} not found on this node")]
    NoReplica(GroupId),
    /// The request is of another recovery epoch of the group.
    #[error(
        "group {group} was recovered: its recovery epoch is {known}, the request is of {asked}"
    )]
    OtherEpoch {
        /// The group.
        group: GroupId,
        /// The latest epoch that this node knows.
        known: RecoveryEpoch,
        /// The epoch of the request.
        asked: RecoveryEpoch,
    },
    /// The disk of this node is older than another node has seen it.
    #[error("the disk of this node is older than its votes")]
    OlderDisk,
    /// The disk of the sender is older than this node has seen it.
    #[error("the disk of node {0} is older than its votes")]
    OlderSender(NodeId),
    /// Too many heartbeats in one request.
    #[error("heartbeats must be at most {max_count}, got {count}")]
    Heartbeats {
        /// The count in the request.
        count: usize,
        /// The bound, `limits::HEARTBEATS_MAX_COUNT`.
        max_count: usize,
    },
}

impl PeerRefusal {
    /// The recovery epoch that the refused node has to learn; 0 if none.
    pub(super) const fn recovery_epoch(&self) -> RecoveryEpoch {
        match self {
            Self::OtherEpoch { known, .. } | Self::Lost(_, known) => *known,
            _ => RecoveryEpoch::ZERO,
        }
    }
}

/// A node as the sender of requests: the identity in its certificate.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    identity: Arc<PeerIdentity>,
}

impl Sender {
    /// The sender of a request. Fails with PERMISSION_DENIED if it is not a node.
    pub(super) fn of(extensions: &Extensions) -> Result<Self, ApiError> {
        authorize_node(extensions)?;
        let identity = Arc::clone(identity(extensions)?);
        Ok(Self { identity })
    }

    fn name(&self) -> &str {
        match &*self.identity.principal {
            Principal::Node(name) => name,
            Principal::User { .. } | Principal::Operator => "",
        }
    }

    /// The route of a request. Refused if it is not for this node of this cluster, if its sender
    /// was removed from it, or if it is not from the node whose id it has.
    pub(super) fn check_route(
        &self,
        lookup: &dyn GroupLookup,
        route: Option<&proto::Route>,
    ) -> Result<Route, PeerRefusal> {
        match self.check_claim(lookup, route)? {
            (_, Claim::Renamed) => Err(self.refusal(route)),
            (route, _) => Ok(route),
        }
    }

    /// The same for requests that a renamed node may send: MUST not change anything in the name of
    /// the claimed id.
    pub(super) fn check_claim(
        &self,
        lookup: &dyn GroupLookup,
        route: Option<&proto::Route>,
    ) -> Result<(Route, Claim), PeerRefusal> {
        let decoded = Route::from_proto(route)?;
        let Some(member) = lookup.member() else {
            return Err(PeerRefusal::NoCluster);
        };
        if decoded.cluster != member.cluster {
            return Err(PeerRefusal::OtherCluster {
                actual: member.cluster,
                asked: decoded.cluster,
            });
        }
        if decoded.to != member.node {
            return Err(PeerRefusal::OtherNode {
                actual: member.node,
                asked: decoded.to,
            });
        }
        match lookup.check_claim(decoded.from, self.name()) {
            Claim::Removed => Err(PeerRefusal::Removed(decoded.from)),
            Claim::Lost(epoch) => {
                lookup.count_other_epoch();
                Err(PeerRefusal::Lost(decoded.from, epoch))
            }
            Claim::Other => Err(self.refusal(route)),
            claim => Ok((decoded, claim)),
        }
    }

    /// Checks a metadata command: a node registers itself alone, under the name of its certificate.
    /// A renamed node may do only that, and must know the secret token of its registration: it is
    /// on the disk of the node.
    pub(super) fn check_command(
        &self,
        metadata: &Metadata,
        (from, claim): (NodeId, Claim),
        command: Option<&Command>,
    ) -> Result<(), PeerRefusal> {
        let is_renamed = claim == Claim::Renamed;
        let is_allowed = match command {
            Some(Command::UpdateNode { node, registration }) => {
                let known = metadata.node(from).map(|node| node.registration.token);
                let has_token = !is_renamed || known == Some(registration.token);
                *node == from && registration.name == self.name() && has_token
            }
            // A command that does not decode is refused by the one who applies it.
            Some(_) | None => !is_renamed,
        };
        if is_allowed {
            return Ok(());
        }
        Err(PeerRefusal::OtherSender {
            identity: Arc::clone(&self.identity),
            claimed: from,
        })
    }

    fn refusal(&self, route: Option<&proto::Route>) -> PeerRefusal {
        PeerRefusal::OtherSender {
            identity: Arc::clone(&self.identity),
            claimed: NodeId(route.map_or(0, |route| route.from_node)),
        }
    }
}

/// The incarnations in a vote request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct VoteClaims {
    /// The incarnation of the sender.
    pub(super) sender: Option<Incarnation>,
    /// The newest incarnation of this node that the sender has seen.
    pub(super) receiver_seen: Option<Incarnation>,
}

/// Refuses a vote from or to a node whose disk is older than its votes: it may have voted in this
/// term before. Heartbeats and entries are not refused: the leader checks the log of its follower.
pub(super) fn check_incarnations(
    lookup: &dyn GroupLookup,
    from: NodeId,
    claims: VoteClaims,
) -> Result<(), PeerRefusal> {
    let Some(known) = lookup.incarnations() else {
        return Ok(());
    };
    let VoteClaims {
        sender,
        receiver_seen,
    } = claims;
    if let Some(seen) = receiver_seen {
        known.hear_of_self(from, seen);
    }
    if sender.is_some() {
        known.set_answered(from);
    }
    if known.heard().is_some() {
        return Err(PeerRefusal::OlderDisk);
    }
    check_sender(lookup, from, sender)
}

/// Takes over the incarnation of the sender. Refuses it if a newer one is known.
pub(super) fn check_sender(
    lookup: &dyn GroupLookup,
    from: NodeId,
    sender: Option<Incarnation>,
) -> Result<(), PeerRefusal> {
    match (lookup.incarnations(), sender) {
        (Some(known), Some(sender)) if !known.observe(from, sender) => {
            Err(PeerRefusal::OlderSender(from))
        }
        _ => Ok(()),
    }
}

/// The local member of a group, if it takes part in this recovery epoch. All members of an earlier
/// one together must not be able to vote in a later one, to be counted in it, or to truncate a log
/// of it.
pub(super) fn find_member(
    lookup: &dyn GroupLookup,
    group: GroupId,
    asked: RecoveryEpoch,
) -> Result<RaftGroup, PeerRefusal> {
    let known = lookup.recovery_epoch(group);
    let refused = |known| {
        lookup.count_other_epoch();
        Err(PeerRefusal::OtherEpoch {
            group,
            known,
            asked,
        })
    };
    if asked < known {
        return refused(known);
    }
    let raft = find_group(lookup, group)?;
    if raft.epoch() == asked {
        return Ok(raft);
    }
    lookup.learn_epoch(group, asked);
    refused(known.max(raft.epoch()).max(asked))
}

/// The local member of a group.
pub(super) fn find_group(
    lookup: &dyn GroupLookup,
    group: GroupId,
) -> Result<RaftGroup, PeerRefusal> {
    lookup.group(group).ok_or(PeerRefusal::NoReplica(group))
}
