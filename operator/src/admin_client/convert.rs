//! Conversion of a node's description of the cluster.

use std::collections::BTreeMap;

use lograft_crds::limits::{
    BLOCKED_REASON_MAX_BYTES, CHECK_TEXT_MAX_BYTES, CHECKS_MAX_COUNT, MEMBERS_SEEN_MAX_COUNT,
    NOTES_MAX_COUNT, SOURCES_MAX_COUNT, TEXT_MAX_BYTES,
};
use lograft_crds::log_cluster::MemberRole;
use lograft_operator_desired::cluster::{
    ClusterView, FeatureLevel, NodeState, ObservedCheck, ObservedNode, ObservedNote,
    ObservedPartition, ObservedReplica, SeenNode,
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
        notes: notes(&reply.problems),
        seen: BTreeMap::new(),
    }
}

/// The nodes that the replying node has discovered, with bounds: one that lies must not fill the
/// status.
pub(super) fn seen(reply: &proto::DescribeClusterReply) -> BTreeMap<String, SeenNode> {
    let named = reply.discovered.iter().filter(|it| !it.name.is_empty());
    let members = named.take(MEMBERS_SEEN_MAX_COUNT);
    members
        .map(|member| (member.name.clone(), seen_node(member)))
        .collect()
}

fn seen_node(member: &proto::DiscoveredMember) -> SeenNode {
    let sightings = &member.sightings;
    let mut addresses = sightings.iter().flat_map(|seen| &seen.addresses);
    let fits = |text: &String| text.len() <= TEXT_MAX_BYTES;
    let sources = sightings.iter().map(|seen| seen.source.clone());
    SeenNode {
        address: addresses.find(|address| fits(address)).cloned(),
        sources: sources.filter(fits).take(SOURCES_MAX_COUNT).collect(),
        incarnation: member.gossip.as_ref().map(|gossip| gossip.incarnation),
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

/// The checks of the cluster that do not make it unhealthy, without those that have waits of their
/// own.
fn notes(problems: &[proto::Problem]) -> Vec<ObservedNote> {
    const WAITED_FOR: [&str; 2] = ["NODE_DRAINING", "UPGRADE_NOT_FINALIZED"];
    let raised = problems.iter().filter(|problem| {
        let is_note = !problem.degrades && problem.node_id.is_none();
        is_note && !WAITED_FOR.contains(&problem.kind.as_str())
    });
    raised
        .take(NOTES_MAX_COUNT)
        .map(|problem| ObservedNote {
            check: cut_words(&problem.kind, BLOCKED_REASON_MAX_BYTES),
            text: cut_words(&problem.text, CHECK_TEXT_MAX_BYTES),
            next_step: cut_words(&problem.next_step, CHECK_TEXT_MAX_BYTES),
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
        gossip_key_ids: node.gossip_key_ids.clone(),
        waits_for: cut_words(&node.waits_for, TEXT_MAX_BYTES),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_the_cluster_are_no_checks_and_those_with_a_wait_are_left_out() {
        let problem = |kind: &str, degrades, node_id| proto::Problem {
            kind: kind.to_owned(),
            text: "x".repeat(4000),
            degrades,
            node_id,
            ..proto::Problem::default()
        };
        let reply = proto::DescribeClusterReply {
            problems: vec![
                problem("PARTITION_SINGLE_REPLICA", false, None),
                problem("UPGRADE_NOT_FINALIZED", false, None),
                problem("NODE_UNREACHABLE", true, None),
                problem("CLOCK_UNCONFIRMED", false, Some(1)),
                problem("DISK_LOW", true, Some(2)),
            ],
            ..proto::DescribeClusterReply::default()
        };
        let view = view(&reply);
        assert_eq!((view.notes.len(), view.checks.len()), (1, 1));
        assert_eq!(view.notes[0].check, "PARTITION_SINGLE_REPLICA");
        assert!(view.notes[0].text.len() <= CHECK_TEXT_MAX_BYTES);
    }
}
