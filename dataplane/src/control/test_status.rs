//! Raft statuses for the tests of control.

use lograft_core::{GroupId, LogId, LogIndex, NodeId, Term};
use lograft_raft::{FollowerStatus, GroupStatus, PurgeStatus, Role};

use super::test_metadata::ids;

/// Of a ready leader with these voters, its log at index 1000, of whose followers nothing is known.
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
        fatal: None,
    }
}

/// The leader hears that `node` is `lag` entries behind.
pub(crate) fn caught_up(status: &mut GroupStatus, node: u64, lag: u64) {
    let matched = Some(LogId {
        term: Term(3),
        index: LogIndex(1000 - lag),
    });
    status
        .followers
        .insert(NodeId(node), FollowerStatus { matched, lag });
}
