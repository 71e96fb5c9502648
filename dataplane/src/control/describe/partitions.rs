//! One partition as its replicas report it.

use lograft_core::NodeId;
use lograft_core::limits::IN_SYNC_LAG_MAX_COUNT;
use lograft_core::metadata::{Metadata, PartitionRef};
use lograft_proto::admin::v1::{
    PartitionDescription, PartitionHealth, ReplicaDescription, ReplicaState,
};
use lograft_proto::raft::v1::ReplicaReport;

use super::Reports;

pub(super) fn describe(
    metadata: &Metadata,
    place: PartitionRef<'_>,
    reports: &Reports,
) -> PartitionDescription {
    let PartitionRef {
        topic,
        number,
        partition,
    } = place;
    let leader = reports.leader(partition.group);
    let replicas: Vec<ReplicaDescription> = partition
        .hosts()
        .map(|node| describe_replica(node, partition.group, leader, reports))
        .collect();
    let assigned = &replicas[..partition.replicas.len().min(replicas.len())];
    let is_in_sync = |replica: &ReplicaDescription| replica.state() == ReplicaState::InSync;
    let health = match leader {
        None => PartitionHealth::Unavailable,
        Some(_) if assigned.iter().all(is_in_sync) => PartitionHealth::Healthy,
        Some(_) => PartitionHealth::UnderReplicated,
    };
    debug_assert!(metadata.group(partition.group).is_some());
    let report = leader.map(|(_, report)| report);
    PartitionDescription {
        topic: topic.name.clone(),
        partition: number.get(),
        group_id: partition.group.get(),
        leader_node: leader.map(|(node, _)| node.get()),
        leader_epoch: report.map_or(0, |report| report.term),
        preferred_leader_node: partition.preferred_leader().map_or(0, NodeId::get),
        replicas,
        log_start_offset: report.map_or(0, |report| report.log_start_offset),
        high_watermark: report.map_or(0, |report| report.high_watermark),
        bytes: report.map_or(0, |report| report.bytes),
        target_nodes: partition
            .target
            .iter()
            .flatten()
            .map(|node| node.get())
            .collect(),
        health: health.into(),
    }
}

fn describe_replica(
    node: NodeId,
    group: lograft_core::GroupId,
    leader: Option<(NodeId, &ReplicaReport)>,
    reports: &Reports,
) -> ReplicaDescription {
    let lag_entries = leader.and_then(|(leader, report)| {
        if leader == node {
            return Some(0);
        }
        report
            .lags
            .iter()
            .find(|lag| lag.node_id == node.get())
            .map(|lag| lag.entries)
    });
    let is_reachable = reports.is_reachable(node);
    let state = match (is_reachable, reports.replica(node, group)) {
        (false, _) => ReplicaState::Unreachable,
        (true, None) => ReplicaState::Missing,
        (true, Some(report)) if report.corrupt => ReplicaState::Corrupt,
        (true, Some(_)) if lag_entries.is_some_and(|lag| lag <= IN_SYNC_LAG_MAX_COUNT) => {
            ReplicaState::InSync
        }
        (true, Some(_)) => ReplicaState::Behind,
    };
    let voter = leader.is_some_and(|(_, report)| report.voters.contains(&node.get()));
    ReplicaDescription {
        node_id: node.get(),
        state: state.into(),
        lag_entries,
        voter,
    }
}
