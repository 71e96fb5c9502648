//! Raft statuses for the tests of control.

use lograft_core::{ClusterId, GroupId, LogId, LogIndex, NodeId, Term};
use lograft_raft::{FenceStage, FollowerStatus, GroupStatus, PurgeStatus, Role};

use super::cluster_report::reports::Reports;
use super::node_report::{NodeReport, ReplicaReport};
use super::test_metadata::ids;
use crate::identity::Member;

/// The status of a ready leader with these voters and a log up to index 1000. The progress of its
/// followers is unknown.
pub(crate) fn leading(node: u64, voters: &[u64]) -> GroupStatus {
    let last = Some(LogId {
        term: Term(3),
        index: LogIndex(1000),
    });
    GroupStatus {
        group: GroupId(1),
        node: NodeId(node),
        term: Term(3),
        role: Role::Leader,
        leader: Some(NodeId(node)),
        ready: true,
        has_contact: true,
        voters: ids(voters),
        joint: None,
        learners: ids(&[]),
        membership: Some(LogId {
            term: Term(1),
            index: LogIndex(0),
        }),
        membership_committed: true,
        last,
        committed: last,
        applied: last,
        purged: None,
        followers: std::collections::BTreeMap::new(),
        purge: PurgeStatus::default(),
        fence: FenceStage::Lifted,
        fatal: None,
    }
}

/// Sets the progress of `node` to `lag` entries behind the leader.
pub(crate) fn caught_up(status: &mut GroupStatus, node: u64, lag: u64) {
    let matched = Some(LogId {
        term: Term(3),
        index: LogIndex(1000 - lag),
    });
    status
        .followers
        .insert(NodeId(node), FollowerStatus { matched, lag });
}

/// The reports of nodes that have one replica each.
pub(crate) fn reports(replicas: &[(u64, ReplicaReport)]) -> Reports {
    Reports::new(replicas.iter().map(|(node, replica)| NodeReport {
        member: Some(Member {
            cluster: ClusterId::from_bytes([1; 16]),
            node: NodeId(*node),
        }),
        replicas: vec![replica.clone()],
        ..NodeReport::default()
    }))
}
