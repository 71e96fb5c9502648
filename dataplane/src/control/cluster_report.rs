//! The state of the cluster, from the metadata and the reports of all nodes. Nodes that do not
//! answer in time are described as unreachable.

pub(crate) mod description;
mod partitions;
mod problems;
pub(crate) mod reports;
mod silent_nodes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use lograft_core::check::PlacementFindings;
use lograft_core::limits::DESCRIBE_MAX;
use lograft_core::lost_nodes::LostReplicas;
use lograft_core::metadata::{Metadata, Node};
use lograft_core::{GroupId, NodeId, NodeState};

use self::description::{
    ClusterDescription, LostNode, MetaRole, NodeDescription, PartitionDescription, Problem,
    TopicDescription,
};
use self::problems::{IsNamed, MetaHealth};
use self::reports::{Reports, lacks_meta_voters};
use self::silent_nodes::SilentNodes;
use super::local_member::LocalMember;
use super::node_report::ReplicaReport;
use super::node_reporter::NodeReporter;
use super::peer_calls::PeerCalls;
use crate::clock::Clock;
use crate::config::{CurrentRecovery, TopicDefaultsSource};
use crate::state_machine::MetaView;

/// Collects the reports of all nodes and describes the cluster.
pub(crate) struct ClusterReporter {
    pub(crate) member: LocalMember,
    pub(crate) view: MetaView,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) local: Arc<NodeReporter>,
    pub(crate) defaults: Arc<TopicDefaultsSource>,
    pub(crate) recovery: CurrentRecovery,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ClusterReporter {
    /// Requests the reports of all members. Waits for none longer than `DESCRIBE_MAX`.
    pub(crate) async fn collect(&self) -> Reports {
        let me = self.member.node();
        let metadata = self.view.load();
        let others = metadata
            .members()
            .map(|node| node.id)
            .filter(|id| Some(*id) != me);
        let requested = others.filter_map(|node| {
            let route = self.member.route_to(node)?;
            Some(self.peers.describe(route, DESCRIBE_MAX))
        });
        let answers = futures_util::future::join_all(requested).await;
        Reports::new(answers.into_iter().flatten().chain([self.local.report()]))
    }

    /// Describes the whole cluster. Problems name the topics that `is_named` allows, and count the
    /// others.
    pub(crate) async fn describe_cluster(&self, is_named: IsNamed<'_>) -> ClusterDescription {
        let reports = self.collect().await;
        let metadata = self.view.load();
        let factor = self.defaults.read().await.replication_factor();
        let silent = SilentNodes {
            metadata: &metadata,
            dead_node_after: self.recovery.dead_node_after(),
            now_ms: self.clock.now_ms(),
        };
        let answered_by = self.member.node();
        let mut described = describe_cluster(silent, (&reports, is_named), answered_by);
        let findings = PlacementFindings::new(&metadata, factor);
        let problems = problems::of_placement(&metadata, &findings, is_named);
        described.problems.extend(problems);
        described.problems.sort_by_key(Problem::rank);
        described
    }

    /// Describes a topic; `None` if it does not exist.
    pub(crate) async fn describe_topic(&self, name: &str) -> Option<TopicDescription> {
        // Checked first, so that no reports are requested for a topic that does not exist.
        self.view.load().topic(name)?;
        let reports = self.collect().await;
        describe_topic(&self.view.load(), name, &reports)
    }
}

fn describe_cluster(
    silent: SilentNodes<'_>,
    (reports, is_named): (&Reports, IsNamed<'_>),
    answered_by: Option<NodeId>,
) -> ClusterDescription {
    let metadata = silent.metadata;
    let partitions: Vec<PartitionDescription> = metadata
        .partitions()
        .map(|place| partitions::describe(place, reports))
        .collect();
    let meta_leader = reports.leader(GroupId::META);
    let counts = NodeCounts::new(&partitions, meta_leader);
    let nodes: Vec<NodeDescription> = metadata
        .nodes()
        .map(|node| NodeDescription {
            lost: lost(metadata, node),
            ..describe_node(node, reports, meta_leader, &counts)
        })
        .collect();
    let meta = MetaHealth {
        has_leader: meta_leader.is_some(),
        lacks_voters: meta_leader.is_some_and(|(_, report)| lacks_meta_voters(metadata, report)),
    };
    let mut problems = problems::find(&nodes, &partitions, (meta, is_named), silent);
    problems.extend(problems::not_finalized(metadata, reports));
    ClusterDescription {
        cluster: metadata.cluster_id(),
        finalized_level: metadata.finalized_level(),
        metadata_recovery: metadata
            .recoveries()
            .metadata
            .as_ref()
            .map(|recovery| (recovery.epoch, recovery.at_ms)),
        healthy: !problems.iter().any(|problem| problem.severity.degrades()),
        meta_leader: meta_leader.map(|(node, _)| node),
        answered_by,
        nodes,
        topic_count: metadata.topics().count(),
        partitions,
        problems,
    }
}

/// Sums over all groups, by node.
#[derive(Debug, Default)]
struct NodeCounts {
    leaders: BTreeMap<NodeId, u32>,
    replicas: BTreeMap<NodeId, u32>,
    lags: BTreeMap<NodeId, u64>,
}

impl NodeCounts {
    fn new(
        partitions: &[PartitionDescription],
        meta_leader: Option<(NodeId, &ReplicaReport)>,
    ) -> Self {
        let mut counts = Self {
            lags: meta_leader.map_or_else(BTreeMap::new, |(_, report)| report.lags.clone()),
            ..Self::default()
        };
        for partition in partitions {
            if let Some(leader) = partition.leader {
                *counts.leaders.entry(leader).or_default() += 1;
            }
            for replica in &partition.replicas {
                *counts.replicas.entry(replica.node).or_default() += 1;
                *counts.lags.entry(replica.node).or_default() += replica.lag_entries.unwrap_or(0);
            }
        }
        counts
    }
}

fn describe_node(
    node: &Node,
    reports: &Reports,
    meta_leader: Option<(NodeId, &ReplicaReport)>,
    counts: &NodeCounts,
) -> NodeDescription {
    let Node {
        id,
        registration,
        state,
        rests_until_ms: _,
        lost_since_ms: _,
    } = node;
    NodeDescription {
        id: *id,
        registration: registration.clone(),
        state: *state,
        report: reports.node(*id).cloned(),
        meta_role: meta_role(*id, meta_leader),
        replica_count: counts.replicas.get(id).copied().unwrap_or(0),
        leader_count: counts.leaders.get(id).copied().unwrap_or(0),
        lag_entries: counts.lags.get(id).copied().unwrap_or(0),
        lost: None,
    }
}

/// The mark of a node and its replicas, if it is lost.
fn lost(metadata: &Metadata, node: &Node) -> Option<LostNode> {
    let since_ms = node
        .lost_since_ms
        .filter(|_| node.state != NodeState::Removed)?;
    let replicas = LostReplicas::new(metadata, node.id);
    Some(LostNode { since_ms, replicas })
}

fn meta_role(node: NodeId, leader: Option<(NodeId, &ReplicaReport)>) -> MetaRole {
    let Some((leader, report)) = leader else {
        return MetaRole::Unknown;
    };
    if leader == node {
        MetaRole::Leader
    } else if report.voters.contains(&node) {
        MetaRole::Voter
    } else if report.learners.contains(&node) {
        MetaRole::Learner
    } else {
        MetaRole::None
    }
}

fn describe_topic(metadata: &Metadata, name: &str, reports: &Reports) -> Option<TopicDescription> {
    let topic = metadata.topic(name)?;
    let places = metadata
        .partitions()
        .filter(|place| place.topic.id == topic.id);
    Some(TopicDescription {
        name: topic.name.clone(),
        id: topic.id,
        replication_factor: topic.replication_factor,
        config: topic.config(),
        partitions: places
            .map(|place| partitions::describe(place, reports))
            .collect(),
    })
}
