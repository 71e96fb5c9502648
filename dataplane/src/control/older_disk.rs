//! Accepts the older disk of a node on the decision of an operator, for groups that have no
//! majority without the node.

use std::sync::Arc;

use lograft_core::limits::ACCEPT_OLDER_DISK_MAX;
use lograft_core::{NodeId, Reason};
use tracing::warn;

use super::local_member::LocalMember;
use super::peer_calls::{AcceptedGroups, FencedReplica, PeerCalls};
use crate::error::ApiError;
use crate::error_text::error_chain;
use crate::incarnation::Incarnations;
use crate::incarnation::group_marks::GroupMarks;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

/// Lifts fences. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OlderDisk {
    pub(crate) member: LocalMember,
    pub(crate) view: MetaView,
    pub(crate) replicas: ReplicaMap,
    pub(crate) marks: GroupMarks,
    pub(crate) known: Incarnations,
    pub(crate) peers: Arc<dyn PeerCalls>,
}

impl OlderDisk {
    /// Lifts fences of any node.
    pub(crate) async fn accept(
        &self,
        node: NodeId,
        groups: AcceptedGroups,
    ) -> Result<Vec<FencedReplica>, ApiError> {
        if self.member.node() == Some(node) {
            return self.accept_own(groups).await;
        }
        if self.view.load().node(node).is_none() {
            return Err(ApiError::unknown_node(node));
        }
        let Some(route) = self.member.route_to(node) else {
            return Err(ApiError::unknown_node(node));
        };
        let asked = self
            .peers
            .accept_older_disk(route, groups, ACCEPT_OLDER_DISK_MAX);
        asked.await.map_err(|error| {
            error.into_refusal(node).unwrap_or_else(|error| {
                let text = format!("cannot reach node {node}: {error}");
                ApiError::new(Reason::NotReady, text).with("node", node)
            })
        })
    }

    /// Lifts fences of this node. Returns the replicas that were fenced.
    pub(crate) async fn accept_own(
        &self,
        AcceptedGroups { group, is_dry_run }: AcceptedGroups,
    ) -> Result<Vec<FencedReplica>, ApiError> {
        if self.known.heard().is_some() {
            let text = "another process runs on a copy of this disk: stop one of them first";
            return Err(ApiError::new(Reason::NotReady, text));
        }
        let fenced = self.replicas.rafts().into_iter().filter(|raft| {
            let is_asked = group.is_none_or(|group| group == raft.group());
            is_asked && raft.fence_stage().is_disk_older()
        });
        let mut accepted = Vec::new();
        for raft in fenced.collect::<Vec<_>>() {
            let replica = FencedReplica {
                group: raft.group(),
                log_end: raft.log().log_end_offset(),
            };
            if !is_dry_run {
                let lifted = self.marks.lift(replica.group).await;
                lifted.map_err(|error| ApiError::new(Reason::Internal, error_chain(&error)))?;
                raft.lift_fence();
                let FencedReplica { group, log_end } = replica;
                warn!(
                    %group, %log_end,
                    "older disk of a replica was accepted: records after its end may be lost"
                );
            }
            accepted.push(replica);
        }
        Ok(accepted)
    }
}
