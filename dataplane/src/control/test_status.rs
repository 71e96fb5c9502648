//! Raft statuses for the tests of control.

use lograft_core::{GroupId, LogId, LogIndex, NodeId, Term};
use lograft_raft::{FenceStage, FollowerStatus, GroupStatus, PurgeStatus, Role};

use super::test_metadata::ids;

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
