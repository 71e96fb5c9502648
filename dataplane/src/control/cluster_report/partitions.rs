//! Description of one partition from the reports of its replicas.

use lograft_core::limits::IN_SYNC_LAG_MAX_COUNT;
use lograft_core::metadata::PartitionRef;
use lograft_core::{GroupId, NodeId};

use super::description::{PartitionDescription, PartitionHealth, ReplicaDescription, ReplicaState};
use super::reports::Reports;
use crate::control::node_report::ReplicaReport;

pub(crate) fn describe(place: PartitionRef<'_>, reports: &Reports) -> PartitionDescription {
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
    let is_in_sync = |replica: &ReplicaDescription| replica.state == ReplicaState::InSync;
    let health = match leader {
        None => PartitionHealth::Unavailable,
        Some(_) if assigned.iter().all(is_in_sync) => PartitionHealth::Healthy,
        Some(_) => PartitionHealth::UnderReplicated,
    };
    let unknown = ReplicaReport::default();
    let report = leader.map_or(&unknown, |(_, report)| report);
    PartitionDescription {
        topic: topic.name.clone(),
        partition: number,
        group: partition.group,
        leader: leader.map(|(node, _)| node),
        leader_epoch: report.term,
        preferred_leader: partition.preferred_leader(),
        recovery: partition.recovery.clone(),
        replicas,
        log_start_offset: report.log_start_offset,
        high_watermark: report.high_watermark,
        bytes: report.bytes,
        target: partition.target.clone().unwrap_or_default(),
        health,
    }
}

fn describe_replica(
    node: NodeId,
    group: GroupId,
    leader: Option<(NodeId, &ReplicaReport)>,
    reports: &Reports,
) -> ReplicaDescription {
    let lag_entries = leader.and_then(|(leader, report)| {
        if leader == node {
            return Some(0);
        }
        report.lags.get(&node).copied()
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
    ReplicaDescription {
        node,
        state,
        lag_entries,
        voter: leader.is_some_and(|(_, report)| report.voters.contains(&node)),
    }
}
