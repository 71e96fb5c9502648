//! Keeps the cluster's registration of this node, and the node's record of it, up to date.

use lograft_core::NodeState;
use lograft_core::metadata::{Command, Metadata};
use tracing::{info, warn};

use super::disk_fence::is_enforced;
use super::local_member::LocalMember;
use super::node_info::NodeInfo;
use super::registration::{Phase, RegistrationError, RegistrationFile, RegistrationState};
use super::task_registry::{TaskKind, TaskRegistry};
use crate::error_text::error_chain;
use crate::incarnation::Incarnations;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::ReplicaMap;

/// Checks the registration.
pub(crate) struct RegistrationCheck {
    pub(crate) info: NodeInfo,
    pub(crate) member: LocalMember,
    pub(crate) file: RegistrationFile,
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
    pub(crate) known: Incarnations,
    pub(crate) replicas: ReplicaMap,
    /// Whether the file is known to say `Phase::Member`.
    pub(crate) is_settled: bool,
}

impl RegistrationCheck {
    /// Proposes this node's name and addresses if the metadata has others. Not while the disk is
    /// fenced: of two processes on copies of one disk, the others must keep the one that they know.
    pub(crate) fn check_addresses(&self, metadata: &Metadata) {
        let Some(node) = self.member.node().and_then(|node| metadata.node(node)) else {
            return;
        };
        let registration = self.info.registration(node.registration.token);
        if !self.is_current(metadata, registration.name != node.registration.name) {
            return;
        }
        if node.state == NodeState::Removed || registration == node.registration {
            return;
        }
        let (node, proposer) = (node.id, self.proposer.clone());
        self.tasks.spawn_once(TaskKind::Registration, async move {
            let command = Command::UpdateNode { node, registration };
            let updated = proposer.propose(command.into()).await;
            match &updated {
                Ok(_) => info!("node registration updated"),
                Err(error) => {
                    let error = error_chain(error);
                    warn!(error, "cannot update the node registration, will retry");
                }
            }
            updated.is_ok()
        });
    }

    /// Whether another node has seen this process as the current one of the node. Until a renamed
    /// node is registered, the others take over nothing from it: their answer must do, which names
    /// a newer process if they have seen one.
    fn is_current(&self, metadata: &Metadata, is_renamed: bool) -> bool {
        let meta = self.replicas.meta();
        let is_fenced = meta.is_none_or(|meta| !meta.raft.fence_stage().is_lifted());
        let is_alone = metadata.members().count() <= 1;
        let is_confirmed = self.known.is_confirmed() || (is_renamed && self.known.has_answers());
        let is_unknown = is_enforced(metadata) == Some(true) && !is_confirmed;
        !is_fenced && self.known.heard().is_none() && (is_alone || !is_unknown)
    }

    /// Records durably that this node is a member, once the metadata contains it. From then on an
    /// empty meta log is refused at the start (see `meta_replica`). Not earlier: until the node has
    /// replicated its own registration, its log may be empty for a good reason.
    pub(crate) async fn check_phase(&mut self, metadata: &Metadata) {
        let is_known = self
            .member
            .node()
            .is_some_and(|node| metadata.node(node).is_some());
        // Until it has followed its leader it joins, also if it is restarted: see `meta_replica`.
        let is_held = self.replicas.meta().is_none_or(|meta| meta.raft.is_held());
        if !is_known || is_held || self.is_settled {
            return;
        }
        match self.settle().await {
            Ok(()) => self.is_settled = true,
            Err(error) => {
                let error = error_chain(&error);
                warn!(error, "cannot record the membership, will retry");
            }
        }
    }

    async fn settle(&self) -> Result<(), RegistrationError> {
        let state = self.file.load_or_create().await?;
        if state.phase == Phase::Member {
            return Ok(());
        }
        self.file
            .store(RegistrationState {
                phase: Phase::Member,
                ..state
            })
            .await
    }
}
