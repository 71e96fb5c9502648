//! Registers, decommissions and recommissions nodes.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::metadata::{Command, MetaError, Outcome, Registration};
use lograft_core::{NodeId, NodeState, Reason};

use super::decommission::replicas_left;
use super::peer_calls::JoinCall;
use crate::error::ApiError;
use crate::identity::Member;
use crate::serving::meta_group::{MetaHandle, MetaProposal, ProposeMetaError};
use crate::state_machine::MetaView;

/// Administers nodes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NodeAdmin {
    pub(crate) view: MetaView,
    pub(crate) proposer: MetaHandle,
}

/// A node that was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegisteredNode {
    /// The cluster, and the id of the node.
    pub(crate) member: Member,
    /// The members of the cluster.
    pub(crate) members: Vec<(NodeId, Registration)>,
}

/// Progress of a decommission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecommissionProgress {
    /// The node's state; `Removed` at the end.
    pub(crate) state: NodeState,
    /// Number of replicas that the node still has.
    pub(crate) replicas_left: usize,
}

impl NodeAdmin {
    /// Registers a node. Idempotent: the same token gets the same node id. A node whose version
    /// does not know the finalized level is refused: it would end at once, with its id used up.
    pub(crate) async fn register(&self, join: JoinCall) -> Result<RegisteredNode, ApiError> {
        let JoinCall {
            registration,
            level,
        } = join;
        let finalized = self.view.load().finalized_level();
        if level < finalized {
            let text = format!(
                "feature level of node {} must be at least {finalized}, which the cluster has \
                 finalized, got {level}: start it with the version of the other nodes",
                registration.name
            );
            return Err(ApiError::new(Reason::VersionTooOld, text)
                .with("node", registration.name)
                .with("field", "feature_level")
                .with("bound", format!("{finalized}..")));
        }
        let registered = self
            .proposer
            .propose(Command::RegisterNode(registration).into())
            .await?;
        let metadata = self.view.load();
        let (Outcome::Node(node), Some(cluster)) = (registered, metadata.cluster_id()) else {
            let text = "the meta group returned no node id";
            return Err(ApiError::new(Reason::Internal, text));
        };
        let members = metadata
            .members()
            .map(|member| (member.id, member.registration.clone()));
        Ok(RegisteredNode {
            member: Member { cluster, node },
            members: members.collect(),
        })
    }

    /// Starts the decommission of a node, or reports its progress. Callers repeat it to follow the
    /// decommission, so a node that is removed by now is a success.
    pub(crate) async fn decommission(
        &self,
        node: NodeId,
        by: &Arc<Principal>,
    ) -> Result<DecommissionProgress, ApiError> {
        let drain = MetaProposal::of(by, Command::DrainNode { node });
        match self.proposer.propose(drain).await {
            Ok(_) | Err(ProposeMetaError::Refused(MetaError::NodeDecommissioned { .. })) => {}
            Err(error) => return Err(error.into()),
        }
        let metadata = self.view.load();
        let state = metadata
            .node(node)
            .map_or(NodeState::Removed, |node| node.state);
        Ok(DecommissionProgress {
            state,
            replicas_left: replicas_left(&metadata, node),
        })
    }

    /// Cancels the decommission of a node that has not been removed yet.
    pub(crate) async fn recommission(
        &self,
        node: NodeId,
        by: &Arc<Principal>,
    ) -> Result<NodeState, ApiError> {
        let undrain = MetaProposal::of(by, Command::UndrainNode { node });
        self.proposer.propose(undrain).await?;
        Ok(NodeState::Active)
    }
}
