//! The cluster as operators see it: the metadata, what each node says of itself, and, in
//! sentences, what is wrong. Nodes that do not answer in time are shown as such.

mod partitions;
mod problems;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lograft_core::assignment::meta_voters;
use lograft_core::limits::{DESCRIBE_MAX, META_VOTERS_MAX_COUNT};
use lograft_core::metadata::{Metadata, Node};
use lograft_core::{GroupId, NodeId, NodeState};
use lograft_proto::admin::v1 as admin;
use lograft_proto::raft::v1::{DescribeNodeRequest, NodeReport, ReplicaReport};

use super::Control;

/// What the nodes said of themselves; who is not here did not answer.
#[derive(Clone, Debug, Default)]
pub struct Reports(BTreeMap<NodeId, Report>);

#[derive(Clone, Debug)]
struct Report {
    node: NodeReport,
    replicas: BTreeMap<GroupId, ReplicaReport>,
}

impl Reports {
    /// From the nodes' reports.
    pub fn new(reports: impl IntoIterator<Item = NodeReport>) -> Self {
        let by_id = |mut node: NodeReport| {
            let replicas = std::mem::take(&mut node.replicas).into_iter();
            let replicas = replicas
                .map(|replica| (GroupId(replica.group_id), replica))
                .collect();
            (NodeId(node.node_id), Report { node, replicas })
        };
        Self(reports.into_iter().map(by_id).collect())
    }

    pub(super) fn is_reachable(&self, node: NodeId) -> bool {
        self.0.contains_key(&node)
    }

    pub(super) fn replica(&self, node: NodeId, group: GroupId) -> Option<&ReplicaReport> {
        self.0.get(&node)?.replicas.get(&group)
    }

    /// The node that says that it leads the group, in the newest term of those that do.
    pub(super) fn leader(&self, group: GroupId) -> Option<(NodeId, &ReplicaReport)> {
        let replicas = self
            .0
            .iter()
            .filter_map(|(id, r)| Some((*id, r.replicas.get(&group)?)));
        let leading = replicas
            .filter(|(id, r)| r.ready_leader && r.leader_node == Some(id.get()) && !r.corrupt);
        leading.max_by_key(|(_, replica)| replica.term)
    }
}

impl Control {
    /// Asks every member how it is. Waits for none longer than `DESCRIBE_MAX`.
    pub async fn gather(&self) -> Reports {
        let me = self.member().map(|member| member.node);
        let metadata = self.view().load();
        let others = metadata
            .members()
            .map(|node| node.id)
            .filter(|id| Some(*id) != me);
        let asked = others.filter_map(|node| {
            let route = Some(self.route(node, GroupId::META)?.to_proto());
            let request = DescribeNodeRequest { route };
            Some(self.parts().peers.describe(node, request, DESCRIBE_MAX))
        });
        let answers = futures_util::future::join_all(asked).await;
        Reports::new(answers.into_iter().flatten().chain([self.report()]))
    }

    /// The whole cluster.
    pub async fn describe_cluster(&self) -> admin::DescribeClusterReply {
        let reports = self.gather().await;
        let metadata = self.view().load();
        let answered_by = self.member().map_or(0, |member| member.node.get());
        describe_cluster(&metadata, &reports, answered_by)
    }
}

/// The cluster from the metadata and the reports.
pub fn describe_cluster(
    metadata: &Metadata,
    reports: &Reports,
    answered_by: u64,
) -> admin::DescribeClusterReply {
    let partitions: Vec<admin::PartitionDescription> = metadata
        .partitions()
        .map(|place| partitions::describe(metadata, place, reports))
        .collect();
    let meta_leader = reports.leader(GroupId::META);
    let mut leaders: BTreeMap<u64, u32> = BTreeMap::new();
    let mut held: BTreeMap<u64, u32> = BTreeMap::new();
    let meta_lags = meta_leader.iter().flat_map(|(_, report)| &report.lags);
    let mut lags: BTreeMap<u64, u64> = meta_lags.map(|lag| (lag.node_id, lag.entries)).collect();
    for partition in &partitions {
        if let Some(leader) = partition.leader_node {
            *leaders.entry(leader).or_default() += 1;
        }
        for replica in &partition.replicas {
            *held.entry(replica.node_id).or_default() += 1;
            *lags.entry(replica.node_id).or_default() += replica.lag_entries.unwrap_or(0);
        }
    }
    let count = |of: &BTreeMap<u64, u32>, id: NodeId| of.get(&id.get()).copied().unwrap_or(0);
    let nodes: Vec<admin::NodeDescription> = metadata
        .nodes()
        .map(|node| admin::NodeDescription {
            replicas: count(&held, node.id),
            leaders: count(&leaders, node.id),
            meta_role: meta_role(node.id, meta_leader).into(),
            lag_entries: lags.get(&node.id.get()).copied().unwrap_or(0),
            ..describe_node(node, reports)
        })
        .collect();
    let lacks_voters = meta_leader.is_some_and(|(_, report)| lacks_voters(metadata, report));
    let problems = problems::find(&nodes, &partitions, (meta_leader.is_some(), lacks_voters));
    admin::DescribeClusterReply {
        cluster_id: metadata
            .cluster_id()
            .map(|id| id.to_string())
            .unwrap_or_default(),
        healthy: !problems.iter().any(|problem| problem.degrades),
        meta_leader_node: meta_leader.map(|(node, _)| node.get()),
        answered_by,
        topic_count: u32::try_from(metadata.topics().count()).unwrap_or(u32::MAX),
        partition_count: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        nodes,
        partitions,
        problems,
    }
}

/// Whether the meta group would have more voters were all members caught up.
pub(super) fn lacks_voters(metadata: &Metadata, leader: &ReplicaReport) -> bool {
    let voters = leader.voters.iter().map(|id| NodeId(*id)).collect();
    let members = metadata.members().map(|node| node.id).collect();
    let wished = meta_voters(metadata, &voters, &members, META_VOTERS_MAX_COUNT);
    wished.len() > voters.len()
}

/// A topic from the metadata and the reports.
pub fn describe_topic(
    metadata: &Metadata,
    name: &str,
    reports: &Reports,
) -> Option<admin::TopicDescription> {
    let topic = metadata.topic(name)?;
    let places = metadata
        .partitions()
        .filter(|place| place.topic.id == topic.id);
    Some(admin::TopicDescription {
        name: topic.name.clone(),
        topic_id: topic.id.0,
        replication_factor: topic.replication_factor,
        retention: Some(retention(topic.retention)),
        partitions: places
            .map(|place| partitions::describe(metadata, place, reports))
            .collect(),
    })
}

/// A retention as operators see it.
pub fn retention(policy: lograft_core::RetentionPolicy) -> admin::Retention {
    admin::Retention {
        bytes: policy.bytes,
        ms: policy.ms,
    }
}

fn describe_node(node: &Node, reports: &Reports) -> admin::NodeDescription {
    let Node {
        id,
        registration,
        state,
        rests_until_ms: _,
    } = node;
    let state = node_state(*state);
    let mut description = admin::NodeDescription {
        node_id: id.get(),
        name: registration.name.clone(),
        client_address: registration.client_address.clone(),
        peer_address: registration.peer_address.clone(),
        zone: registration.zone.clone(),
        state: state.into(),
        ..admin::NodeDescription::default()
    };
    if let Some(Report { node, .. }) = reports.0.get(id) {
        description.reachable = true;
        description.version.clone_from(&node.version);
        description.disk_total_bytes = node.disk_total_bytes;
        description.disk_free_bytes = node.disk_free_bytes;
        description.disk_low = node.disk_low;
        description.certificate_not_after_s = node.certificate_not_after_s;
        description
            .ca_fingerprints
            .clone_from(&node.ca_fingerprints);
    }
    description
}

/// A node's state as operators see it.
pub const fn node_state(state: NodeState) -> admin::NodeState {
    match state {
        NodeState::Active => admin::NodeState::Active,
        NodeState::Draining => admin::NodeState::Draining,
        NodeState::Removed => admin::NodeState::Removed,
    }
}

fn meta_role(node: NodeId, leader: Option<(NodeId, &ReplicaReport)>) -> admin::MetaRole {
    let Some((leader, report)) = leader else {
        return admin::MetaRole::Unspecified;
    };
    if leader == node {
        admin::MetaRole::Leader
    } else if report.voters.contains(&node.get()) {
        admin::MetaRole::Voter
    } else if report.learners.contains(&node.get()) {
        admin::MetaRole::Learner
    } else {
        admin::MetaRole::None
    }
}
