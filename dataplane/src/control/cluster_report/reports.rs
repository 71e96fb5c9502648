//! The reports that the nodes gave, by node and group.

use std::collections::BTreeMap;

use lograft_core::assignment::meta_voters;
use lograft_core::limits::META_VOTERS_MAX_COUNT;
use lograft_core::metadata::Metadata;
use lograft_core::{FeatureLevel, GroupId, NodeId};

use crate::control::node_report::{NodeReport, ReplicaReport};

/// The reports of the nodes that answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(BTreeMap<NodeId, Report>);

#[derive(Clone, Debug)]
struct Report {
    /// Without its replicas.
    node: NodeReport,
    replicas: BTreeMap<GroupId, ReplicaReport>,
}

impl Reports {
    /// From the nodes' reports. A node that belongs to no cluster is ignored.
    pub(crate) fn new(reports: impl IntoIterator<Item = NodeReport>) -> Self {
        let by_id = |mut node: NodeReport| {
            let id = node.member?.node;
            let replicas = std::mem::take(&mut node.replicas).into_iter();
            let replicas = replicas.map(|replica| (replica.group, replica)).collect();
            Some((id, Report { node, replicas }))
        };
        Self(reports.into_iter().filter_map(by_id).collect())
    }

    /// Whether a node answered.
    pub(crate) fn is_reachable(&self, node: NodeId) -> bool {
        self.0.contains_key(&node)
    }

    /// The report of a node, without its replicas.
    pub(crate) fn node(&self, node: NodeId) -> Option<&NodeReport> {
        Some(&self.0.get(&node)?.node)
    }

    /// The newest feature level that all members of the cluster know, or a member that gave no
    /// report.
    pub(crate) fn lowest_level(&self, metadata: &Metadata) -> Result<FeatureLevel, NodeId> {
        let levels = metadata
            .members()
            .map(|node| self.node(node.id).map(|report| report.level).ok_or(node.id));
        let levels: Vec<FeatureLevel> = levels.collect::<Result<_, _>>()?;
        Ok(levels.into_iter().min().unwrap_or_default())
    }

    /// The report of a replica.
    pub(crate) fn replica(&self, node: NodeId, group: GroupId) -> Option<&ReplicaReport> {
        self.0.get(&node)?.replicas.get(&group)
    }

    /// The leader of a group. Of several nodes that report to lead it, the one with the newest
    /// term: the others have not noticed yet that they were replaced (stale leader).
    pub(crate) fn leader(&self, group: GroupId) -> Option<(NodeId, &ReplicaReport)> {
        let replicas = self
            .0
            .iter()
            .filter_map(|(id, report)| Some((*id, report.replicas.get(&group)?)));
        let leading = replicas.filter(|(id, replica)| {
            replica.ready_leader && replica.leader == Some(*id) && !replica.corrupt
        });
        leading.max_by_key(|(_, replica)| replica.term)
    }
}

/// Whether the meta group would have more voters if all members had caught up.
pub(crate) fn lacks_meta_voters(metadata: &Metadata, leader: &ReplicaReport) -> bool {
    let members = metadata.members().map(|node| node.id).collect();
    let goal = meta_voters(metadata, &leader.voters, &members, META_VOTERS_MAX_COUNT);
    goal.len() > leader.voters.len()
}
