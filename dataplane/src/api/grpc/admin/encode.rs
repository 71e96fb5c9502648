//! Descriptions of the cluster in the form of the admin API.

use lograft_core::{NodeId, NodeState, RetentionPolicy, TopicConfig, TopicKey};
use lograft_proto::admin::v1 as proto;

use crate::control::cluster_report::description::{
    ClusterDescription, MetaRole, NodeDescription, PartitionDescription, PartitionHealth, Problem,
    ReplicaDescription, ReplicaState, TopicDescription,
};

pub(super) fn cluster(described: ClusterDescription) -> proto::DescribeClusterReply {
    let ClusterDescription {
        cluster,
        finalized_level,
        metadata_recovery,
        healthy,
        meta_leader,
        answered_by,
        nodes,
        topic_count,
        partitions,
        problems,
    } = described;
    proto::DescribeClusterReply {
        cluster_id: cluster.map(|id| id.to_string()).unwrap_or_default(),
        finalized_level: finalized_level.get(),
        healthy,
        meta_leader_node: meta_leader.map(NodeId::get),
        answered_by: answered_by.map_or(0, NodeId::get),
        topic_count: u32::try_from(topic_count).unwrap_or(u32::MAX),
        partition_count: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        nodes: nodes.into_iter().map(node).collect(),
        partitions: partitions.into_iter().map(partition).collect(),
        problems: problems.into_iter().map(problem).collect(),
        // `discovered.rs` adds them.
        discovered: Vec::new(),
        discovery_errors: Vec::new(),
        // All partitions so far: `cluster.rs` makes pages of them.
        next_partition: String::new(),
        // `cluster.rs` sets them.
        rebalance_state: 0,
        moves_in_progress: 0,
        metadata_recovery_epoch: metadata_recovery.map_or(0, |(epoch, _)| epoch.get()),
        metadata_recovered_at_ms: metadata_recovery.map_or(0, |(_, at_ms)| at_ms),
    }
}

pub(super) fn topic(described: TopicDescription) -> proto::TopicDescription {
    let TopicDescription {
        name,
        id,
        replication_factor,
        config,
        partitions,
    } = described;
    proto::TopicDescription {
        name,
        topic_id: id.0,
        replication_factor,
        retention: Some(retention(config.retention)),
        settings: settings(&config),
        partitions: partitions.into_iter().map(partition).collect(),
    }
}

pub(super) fn settings(config: &TopicConfig) -> Vec<proto::TopicSetting> {
    let setting = |(key, value): (TopicKey, u64)| proto::TopicSetting {
        key: key.name().to_owned(),
        value: Some(proto::topic_setting::Value::Number(value)),
    };
    config.entries().map(setting).collect()
}

pub(super) fn retention(policy: RetentionPolicy) -> proto::Retention {
    let RetentionPolicy { bytes, ms } = policy;
    proto::Retention { bytes, ms }
}

pub(super) const fn node_state(state: NodeState) -> proto::NodeState {
    match state {
        NodeState::Active => proto::NodeState::Active,
        NodeState::Draining => proto::NodeState::Draining,
        NodeState::Removed => proto::NodeState::Removed,
    }
}

fn node(described: NodeDescription) -> proto::NodeDescription {
    let NodeDescription {
        id,
        registration,
        state,
        report,
        meta_role: role,
        replica_count,
        leader_count,
        lag_entries,
        lost,
    } = described;
    let reachable = report.is_some();
    let report = report.unwrap_or_default();
    proto::NodeDescription {
        node_id: id.get(),
        name: registration.name,
        client_address: registration.client_address,
        peer_address: registration.peer_address,
        zone: registration.zone,
        state: node_state(state).into(),
        reachable,
        version: report.version,
        feature_level: report.level.get(),
        disk_total_bytes: report.disk_total_bytes,
        disk_free_bytes: report.disk_free_bytes,
        disk_low: report.disk_low,
        replicas: replica_count,
        leaders: leader_count,
        meta_role: meta_role(role).into(),
        certificate_not_after_s: report.certificate_not_after_s,
        ca_fingerprints: report.ca_fingerprints,
        lag_entries,
        gossip_key_ids: report.gossip_key_ids,
        waits_for: report.waits_for,
        metadata_version: report.meta_applied_index.get(),
        lost_since_ms: lost.map(|lost| lost.since_ms),
    }
}

const fn meta_role(role: MetaRole) -> proto::MetaRole {
    match role {
        MetaRole::Unknown => proto::MetaRole::Unspecified,
        MetaRole::Leader => proto::MetaRole::Leader,
        MetaRole::Voter => proto::MetaRole::Voter,
        MetaRole::Learner => proto::MetaRole::Learner,
        MetaRole::None => proto::MetaRole::None,
    }
}

fn partition(described: PartitionDescription) -> proto::PartitionDescription {
    let PartitionDescription {
        topic,
        partition,
        group,
        leader,
        leader_epoch,
        preferred_leader,
        recovery,
        replicas,
        log_start_offset,
        high_watermark,
        bytes,
        target,
        health,
    } = described;
    let health = match health {
        PartitionHealth::Healthy => proto::PartitionHealth::Healthy,
        PartitionHealth::UnderReplicated => proto::PartitionHealth::UnderReplicated,
        PartitionHealth::Unavailable => proto::PartitionHealth::Unavailable,
    };
    proto::PartitionDescription {
        topic,
        partition: partition.get(),
        group_id: group.get(),
        leader_node: leader.map(NodeId::get),
        leader_epoch: leader_epoch.get(),
        preferred_leader_node: preferred_leader.map_or(0, NodeId::get),
        replicas: replicas.into_iter().map(replica).collect(),
        log_start_offset: log_start_offset.get(),
        high_watermark: high_watermark.get(),
        bytes,
        target_nodes: target.into_iter().map(NodeId::get).collect(),
        health: health.into(),
        recovery_epoch: recovery.as_ref().map_or(0, |recovery| recovery.epoch.get()),
        recovered_at_ms: recovery.as_ref().map_or(0, |recovery| recovery.at_ms),
    }
}

fn replica(described: ReplicaDescription) -> proto::ReplicaDescription {
    let ReplicaDescription {
        node,
        state,
        lag_entries,
        voter,
    } = described;
    let state = match state {
        ReplicaState::InSync => proto::ReplicaState::InSync,
        ReplicaState::Behind => proto::ReplicaState::Behind,
        ReplicaState::Missing => proto::ReplicaState::Missing,
        ReplicaState::Corrupt => proto::ReplicaState::Corrupt,
        ReplicaState::Unreachable => proto::ReplicaState::Unreachable,
    };
    proto::ReplicaDescription {
        node_id: node.get(),
        state: state.into(),
        lag_entries,
        voter,
    }
}

fn problem(described: Problem) -> proto::Problem {
    let Problem {
        kind,
        text,
        severity,
        next_step,
        evidence,
        node,
    } = described;
    proto::Problem {
        kind,
        text,
        degrades: severity.degrades(),
        severity: severity.as_str().to_owned(),
        next_step,
        evidence: evidence.into_iter().collect(),
        node_id: node.map(NodeId::get),
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::metadata::{Registration, RegistrationToken};

    use super::*;
    use crate::control::node_report::NodeReport;

    #[test]
    fn a_node_that_did_not_answer_has_no_certificates() {
        let registration = Registration {
            token: RegistrationToken::from_random([1; 16]),
            name: "node-1".to_owned(),
            client_address: "a:9400".to_owned(),
            peer_address: "a:9401".to_owned(),
            zone: String::new(),
        };
        let mut described = NodeDescription {
            id: NodeId(1),
            registration,
            state: NodeState::Active,
            report: None,
            meta_role: MetaRole::Voter,
            replica_count: 2,
            leader_count: 1,
            lag_entries: 3,
            lost: None,
        };
        let silent = node(described.clone());
        assert!(!silent.reachable);
        assert_eq!(silent.certificate_not_after_s, None);
        assert!(silent.ca_fingerprints.is_empty());
        described.report = Some(NodeReport {
            certificate_not_after_s: Some(77),
            ca_fingerprints: vec!["ab".to_owned(), "cd".to_owned()],
            ..NodeReport::default()
        });
        let answered = node(described);
        assert!(answered.reachable);
        assert_eq!(answered.certificate_not_after_s, Some(77));
        assert_eq!(answered.ca_fingerprints, ["ab", "cd"]);
        assert_eq!((answered.replicas, answered.lag_entries), (2, 3));
    }
}
