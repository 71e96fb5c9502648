//! Leaderships that other nodes have announced. Soft state: a wrong entry costs one extra hop.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lograft_core::{GroupId, NodeId, Term};

/// A leadership that a node has gained or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaderChange {
    /// The raft group.
    pub(crate) group: GroupId,
    /// The term of the leadership.
    pub(crate) term: Term,
    /// Whether the node leads the group; `false` if it stopped leading it.
    pub(crate) leads: bool,
}

/// The groups that a node leads and can serve, with their terms.
pub(crate) type LedGroups = BTreeMap<GroupId, Term>;

/// The changes from one state to the next. From an empty state, all current leaderships.
pub(crate) fn leader_changes(before: &LedGroups, now: &LedGroups) -> Vec<LeaderChange> {
    let change = |(group, term): (&GroupId, &Term), leads| LeaderChange {
        group: *group,
        term: *term,
        leads,
    };
    let lost = before
        .iter()
        .filter(|(group, _)| !now.contains_key(group))
        .map(|led| change(led, false));
    let gained = now
        .iter()
        .filter(|(group, term)| before.get(group) != Some(term))
        .map(|led| change(led, true));
    lost.chain(gained).collect()
}

/// The last announced leader of each group.
#[derive(Debug, Default)]
pub(crate) struct KnownLeaders(Mutex<BTreeMap<GroupId, (NodeId, Term)>>);

impl KnownLeaders {
    /// The last announced leader of a group.
    pub(crate) fn get(&self, group: GroupId) -> Option<(NodeId, Term)> {
        self.lock().get(&group).copied()
    }

    /// Records changes announced by a node. Announcements of an older term are ignored, and a
    /// loss counts only if it is announced by the known leader.
    pub(crate) fn record(&self, from: NodeId, changes: &[LeaderChange]) {
        let mut leaders = self.lock();
        for LeaderChange { group, term, leads } in changes {
            let known = leaders.get(group).copied();
            if *leads && known.is_none_or(|(_, newest)| newest <= *term) {
                leaders.insert(*group, (from, *term));
            } else if !*leads && known.is_some_and(|(node, _)| node == from) {
                leaders.remove(group);
            }
        }
    }

    /// Removes all leaderships of a node.
    pub(crate) fn forget(&self, node: NodeId) {
        self.lock().retain(|_, (leader, _)| *leader != node);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupId, (NodeId, Term)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(groups: &[(u64, u64)]) -> LedGroups {
        groups
            .iter()
            .map(|(group, term)| (GroupId(*group), Term(*term)))
            .collect()
    }

    #[test]
    fn only_changes_are_announced() {
        let before = led(&[(1, 1), (2, 1), (3, 1)]);
        let now = led(&[(1, 1), (2, 4), (5, 1)]);
        let announced: Vec<(u64, u64, bool)> = leader_changes(&before, &now)
            .iter()
            .map(|change| (change.group.get(), change.term.get(), change.leads))
            .collect();
        assert_eq!(announced, [(3, 1, false), (2, 4, true), (5, 1, true)]);
        assert!(leader_changes(&now, &now).is_empty());
    }

    #[test]
    fn the_newest_term_wins_and_a_loss_counts_only_from_the_leader() {
        let leaders = KnownLeaders::default();
        let change = |term, leads| {
            [LeaderChange {
                group: GroupId(7),
                term: Term(term),
                leads,
            }]
        };
        leaders.record(NodeId(1), &change(5, true));
        leaders.record(NodeId(2), &change(4, true));
        assert_eq!(leaders.get(GroupId(7)), Some((NodeId(1), Term(5))));
        leaders.record(NodeId(2), &change(6, true));
        leaders.record(NodeId(1), &change(5, false));
        assert_eq!(leaders.get(GroupId(7)), Some((NodeId(2), Term(6))));
        leaders.forget(NodeId(2));
        assert_eq!(leaders.get(GroupId(7)), None);
    }
}
