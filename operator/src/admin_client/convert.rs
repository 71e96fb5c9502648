//! Conversion of a node's description of the cluster.

use lograft_crds::limits::{CHECK_TEXT_MAX_BYTES, CHECKS_MAX_COUNT};
use lograft_crds::log_cluster::MemberRole;
use lograft_operator_desired::cluster::{
    ClusterView, FeatureLevel, NodeState, ObservedCheck, ObservedNode, ObservedPartition,
    ObservedReplica,
};
use lograft_operator_desired::cut_words;
use lograft_proto::admin::v1 as proto;

pub(super) fn view(reply: &proto::DescribeClusterReply) -> ClusterView {
    ClusterView {
        nodes: reply.nodes.iter().map(node).collect(),
        partitions: reply.partitions.iter().map(partition).collect(),
        meta_leader: reply.meta_leader_node,
        finalized_level: FeatureLevel(reply.finalized_level),
        checks: checks(&reply.problems),
    }
}

/// The checks that nodes have raised for themselves. Those of the cluster have waits of their own.
fn checks(problems: &[proto::Problem]) -> Vec<ObservedCheck> {
    let raised = problems.iter();
    let raised = raised.filter(|problem| problem.degrades && problem.node_id.is_some());
    let cut = |text: &str| cut_words(text, CHECK_TEXT_MAX_BYTES);
    raised
        .take(CHECKS_MAX_COUNT)
        .map(|problem| ObservedCheck {
            text: cut(&problem.text),
            next_step: cut(&problem.next_step),
        })
        .collect()
}

fn node(node: &proto::NodeDescription) -> ObservedNode {
    ObservedNode {
        id: node.node_id,
        name: node.name.clone(),
        state: match node.state() {
            // An unknown state of a newer node counts as active: the operator must not take the
            // node for removed and delete its pod.
            proto::NodeState::Active | proto::NodeState::Unspecified => NodeState::Active,
            proto::NodeState::Draining => NodeState::Draining,
            proto::NodeState::Removed => NodeState::Removed,
        },
        reachable: node.reachable,
        version: node.version.clone(),
        feature_level: FeatureLevel(node.feature_level),
        disk_total_bytes: node.disk_total_bytes,
        disk_free_bytes: node.disk_free_bytes,
        disk_low: node.disk_low,
        leaders: node.leaders,
        lag_entries: node.lag_entries,
        certificate_not_after: node.certificate_not_after_s,
        roots: node.ca_fingerprints.clone(),
        meta: match node.meta_role() {
            proto::MetaRole::Leader => Some(MemberRole::Leader),
            proto::MetaRole::Voter => Some(MemberRole::Voter),
            proto::MetaRole::Learner => Some(MemberRole::Learner),
            proto::MetaRole::None | proto::MetaRole::Unspecified => None,
        },
    }
}

fn partition(partition: &proto::PartitionDescription) -> ObservedPartition {
    let replica = |replica: &proto::ReplicaDescription| ObservedReplica {
        node: replica.node_id,
        in_sync: replica.state() == proto::ReplicaState::InSync,
        voter: replica.voter,
    };
    ObservedPartition {
        topic: partition.topic.clone(),
        number: partition.partition,
        leader: partition.leader_node,
        replicas: partition.replicas.iter().map(replica).collect(),
    }
}
