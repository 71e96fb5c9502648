//! The current leader of a group, from this node's replica or from announcements of other nodes.

use std::sync::Arc;

use lograft_core::{GroupId, NodeId, Term};

use super::known_leaders::KnownLeaders;
use crate::serving::meta_group::LeaderHints;
use crate::serving::replica::ReplicaMap;

/// Finds the leader of a group. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LeaderLookup {
    pub(crate) replicas: ReplicaMap,
    pub(crate) known: Arc<KnownLeaders>,
}

impl LeaderLookup {
    /// The leader and its term, as far as this node knows. Of two answers the newer term counts.
    pub(crate) fn leader_of(&self, group: GroupId) -> Option<(NodeId, Term)> {
        let own = self.replicas.raft(group).and_then(|raft| {
            let status = raft.watch();
            let status = status.borrow();
            status.leader.map(|leader| (leader, status.term))
        });
        let announced = self.known.get(group);
        match (own, announced) {
            (Some(own), Some(announced)) if announced.1 > own.1 => Some(announced),
            (own, announced) => own.or(announced),
        }
    }
}

impl LeaderHints for LeaderLookup {
    fn leader(&self, group: GroupId) -> Option<(NodeId, Term)> {
        self.leader_of(group)
    }
}
