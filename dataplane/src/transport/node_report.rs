//! A node's report on the wire.

use bytes::Bytes;
use lograft_core::limits::{GOSSIP_KEYS_MAX_COUNT, NODES_MAX_COUNT};
use lograft_core::reason::cut_text;
use lograft_core::{
    ClusterId, FeatureLevel, GroupId, LogIndex, NodeId, Offset, RecoveryEpoch, Term,
};
use lograft_proto::raft::v1 as proto;

use crate::control::node_report::{NodeReport, ReplicaReport};
use crate::convert::reading;
use crate::identity::Member;

/// Encodes a report.
pub(crate) fn to_proto(report: NodeReport) -> proto::NodeReport {
    let NodeReport {
        member,
        version,
        disk_total_bytes,
        disk_free_bytes,
        disk_low,
        replicas,
        meta_applied_index,
        certificate_not_after_s,
        ca_fingerprints,
        level,
        checks,
        peers,
        gossip_key_ids,
        waits_for,
    } = report;
    proto::NodeReport {
        node_id: member.map_or(0, |member| member.node.get()),
        version,
        disk_total_bytes,
        disk_free_bytes,
        disk_low,
        replicas: replicas.into_iter().map(replica_to_proto).collect(),
        meta_applied_index: meta_applied_index.get(),
        cluster_id: member.map_or_else(Bytes::new, |member| {
            Bytes::copy_from_slice(&member.cluster.to_bytes())
        }),
        certificate_not_after_s,
        ca_fingerprints,
        feature_level: level.get(),
        checks: reading::checks_to_proto(&checks),
        peers: peers
            .into_iter()
            .map(|(node, address)| proto::PeerAddress {
                node_id: node.get(),
                address: (*address).to_owned(),
            })
            .collect(),
        gossip_key_ids,
        waits_for,
    }
}

/// Decodes a report. A node id without a cluster id, or the reverse, counts as no membership.
pub(crate) fn from_proto(report: proto::NodeReport) -> NodeReport {
    let proto::NodeReport {
        node_id,
        version,
        disk_total_bytes,
        disk_free_bytes,
        disk_low,
        replicas,
        meta_applied_index,
        cluster_id,
        certificate_not_after_s,
        ca_fingerprints,
        feature_level,
        checks,
        peers,
        gossip_key_ids,
        waits_for,
    } = report;
    let cluster = <[u8; 16]>::try_from(cluster_id.as_ref()).ok();
    let member = cluster.filter(|_| node_id != 0).map(|bytes| Member {
        cluster: ClusterId::from_bytes(bytes),
        node: NodeId(node_id),
    });
    NodeReport {
        member,
        version,
        disk_total_bytes,
        disk_free_bytes,
        disk_low,
        replicas: replicas.into_iter().map(replica_from_proto).collect(),
        meta_applied_index: LogIndex(meta_applied_index),
        certificate_not_after_s,
        ca_fingerprints,
        level: FeatureLevel(feature_level),
        checks: reading::checks_from_proto(checks),
        peers: peers
            .into_iter()
            .take(NODES_MAX_COUNT)
            .map(|peer| (NodeId(peer.node_id), peer.address.into()))
            .collect(),
        gossip_key_ids: gossip_key_ids
            .into_iter()
            .take(GOSSIP_KEYS_MAX_COUNT)
            .collect(),
        waits_for: cut_text(&waits_for).to_owned(),
    }
}

fn replica_to_proto(report: ReplicaReport) -> proto::ReplicaReport {
    let ReplicaReport {
        group,
        corrupt,
        term,
        leader,
        ready_leader,
        voters,
        joint_voters,
        learners,
        last_index,
        committed_index,
        applied_index,
        log_start_offset,
        high_watermark,
        bytes,
        lags,
        fenced,
        last_term,
        log_end,
        recovery_epoch,
    } = report;
    let ids = |nodes: std::collections::BTreeSet<NodeId>| nodes.iter().map(|n| n.get()).collect();
    proto::ReplicaReport {
        group_id: group.get(),
        corrupt,
        term: term.get(),
        leader_node: leader.map(NodeId::get),
        voters: ids(voters),
        learners: ids(learners),
        last_index: last_index.get(),
        committed_index: committed_index.get(),
        applied_index: applied_index.get(),
        log_start_offset: log_start_offset.get(),
        high_watermark: high_watermark.get(),
        bytes,
        lags: lags
            .into_iter()
            .map(|(node, entries)| proto::FollowerLag {
                node_id: node.get(),
                entries,
            })
            .collect(),
        ready_leader,
        joint_voters: ids(joint_voters),
        fenced,
        last_term: last_term.get(),
        log_end_offset: log_end.get(),
        recovery_epoch: recovery_epoch.get(),
    }
}

fn replica_from_proto(report: proto::ReplicaReport) -> ReplicaReport {
    let proto::ReplicaReport {
        group_id,
        corrupt,
        term,
        leader_node,
        voters,
        learners,
        last_index,
        committed_index,
        applied_index,
        log_start_offset,
        high_watermark,
        bytes,
        lags,
        ready_leader,
        joint_voters,
        fenced,
        last_term,
        log_end_offset,
        recovery_epoch,
    } = report;
    let ids = |nodes: Vec<u64>| nodes.into_iter().map(NodeId).collect();
    ReplicaReport {
        group: GroupId(group_id),
        corrupt,
        term: Term(term),
        leader: leader_node.map(NodeId),
        ready_leader,
        voters: ids(voters),
        joint_voters: ids(joint_voters),
        learners: ids(learners),
        last_index: LogIndex(last_index),
        committed_index: LogIndex(committed_index),
        applied_index: LogIndex(applied_index),
        log_start_offset: Offset(log_start_offset),
        high_watermark: Offset(high_watermark),
        bytes,
        lags: lags
            .into_iter()
            .map(|lag| (NodeId(lag.node_id), lag.entries))
            .collect(),
        fenced,
        last_term: Term(last_term),
        log_end: Offset(log_end_offset),
        recovery_epoch: RecoveryEpoch(recovery_epoch),
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::check::{CheckName, NodeChecks, RaisedCheck};

    use super::*;
    use crate::control::test_metadata::ids;

    #[test]
    fn a_report_survives_the_wire() {
        let replica = ReplicaReport {
            group: GroupId(4),
            corrupt: true,
            term: Term(5),
            leader: Some(NodeId(2)),
            ready_leader: true,
            voters: ids(&[1, 2, 3]),
            joint_voters: ids(&[2, 3, 4]),
            learners: ids(&[4]),
            last_index: LogIndex(9),
            committed_index: LogIndex(8),
            applied_index: LogIndex(7),
            log_start_offset: Offset(3),
            high_watermark: Offset(6),
            bytes: 1000,
            lags: [(NodeId(1), 0), (NodeId(3), 2)].into(),
            fenced: true,
            last_term: Term(4),
            log_end: Offset(12),
            recovery_epoch: RecoveryEpoch((1 << 32) | 2),
        };
        let report = NodeReport {
            member: Some(Member {
                cluster: ClusterId::from_bytes([7; 16]),
                node: NodeId(2),
            }),
            level: FeatureLevel(3),
            version: "0.1.0".to_owned(),
            disk_total_bytes: 100,
            disk_free_bytes: 40,
            disk_low: true,
            replicas: vec![replica],
            meta_applied_index: LogIndex(11),
            certificate_not_after_s: Some(77),
            ca_fingerprints: vec!["ab".to_owned()],
            checks: NodeChecks::of(&[RaisedCheck::new(CheckName::DiskLow, [])]),
            peers: vec![(NodeId(3), "node-3:9401".into())],
            gossip_key_ids: vec!["ab".to_owned(), "cd".to_owned()],
            waits_for: "the node is starting".to_owned(),
        };
        assert_eq!(from_proto(to_proto(report.clone())), report);
        let outside = NodeReport::default();
        assert_eq!(from_proto(to_proto(outside.clone())), outside);
    }
}
