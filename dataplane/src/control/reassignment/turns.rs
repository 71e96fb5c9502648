//! The order in which reassignments of a node run. Few run at once, and some of them may never end:
//! the node that a replica moves to is down, or its disk is full. They must not keep the others
//! waiting. Pure.

use std::collections::BTreeMap;

use lograft_core::GroupId;

/// A group whose membership differs from the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueGroup {
    pub(crate) group: GroupId,
    /// Whether it repairs a corrupt replica. Until then the group has one copy less.
    pub(crate) is_repair: bool,
}

/// The turns that groups have had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    /// Number of turns given so far.
    given: u64,
    /// The last turn of each group that is still due.
    last: BTreeMap<GroupId, u64>,
}

impl Turns {
    /// The groups to start now, at most `free` of those that are `waiting`. The one whose last turn
    /// is longest ago comes first, and a repair before a move. `due` are all groups that differ,
    /// those that are running included.
    pub(crate) fn next(
        &mut self,
        due: &[DueGroup],
        waiting: &[DueGroup],
        free: usize,
    ) -> Vec<GroupId> {
        self.last
            .retain(|group, _| due.iter().any(|due| due.group == *group));
        let mut order: Vec<DueGroup> = waiting.to_vec();
        order.sort_by_key(|due| (self.last.get(&due.group), !due.is_repair, due.group));
        order.truncate(free);
        let groups: Vec<GroupId> = order.into_iter().map(|due| due.group).collect();
        for group in &groups {
            self.given += 1;
            self.last.insert(*group, self.given);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(group: u64, is_repair: bool) -> DueGroup {
        DueGroup {
            group: GroupId(group),
            is_repair,
        }
    }

    #[test]
    fn stuck_moves_do_not_keep_others_from_their_turn() {
        let all: Vec<DueGroup> = (1..=11).map(|group| due(group, false)).collect();
        let mut turns = Turns::default();
        let mut seen = BTreeMap::new();
        // No move ever ends by itself: each is stopped, and is due again.
        for _ in 0..12 {
            for group in turns.next(&all, &all, 4) {
                *seen.entry(group).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), all.len());
        assert!(
            seen.values().all(|count| (4..=5).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn a_repair_goes_before_moves_that_have_waited_as_long() {
        let all = [due(1, false), due(2, false), due(3, true)];
        let mut turns = Turns::default();
        assert_eq!(turns.next(&all, &all, 1), [GroupId(3)]);
        assert_eq!(turns.next(&all, &all, 2), [GroupId(1), GroupId(2)]);
        assert_eq!(turns.next(&all, &all, 0), []);
    }

    #[test]
    fn a_group_that_is_done_starts_as_new() {
        let mut turns = Turns::default();
        let both = [due(1, false), due(2, false)];
        assert_eq!(turns.next(&both, &both, 1), [GroupId(1)]);
        turns.next(&both[1..], &[], 4);
        assert_eq!(turns.next(&both, &both, 1), [GroupId(1)]);
    }
}
