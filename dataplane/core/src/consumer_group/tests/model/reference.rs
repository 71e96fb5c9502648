//! Who has which partition, by a naive reading of the sequence of memberships alone.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

/// A member that has a partition, and the generation in which it got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) member: MemberId,
    pub(super) since: Generation,
}

/// The ownership in which a partition was committed, the number of the commit, and the offset.
type Committed = (Generation, CommitSequence, u64);

/// The owners of all partitions of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Reference {
    pub(super) owners: BTreeMap<TopicPartition, Owner>,
    generation: Generation,
    /// The last commit of each partition since it was last reset.
    committed: BTreeMap<TopicPartition, Committed>,
}

impl Reference {
    /// Takes over an applied membership, and checks that no partition has two owners. `before` is
    /// the former one without members that were removed. Returns the former owners of partitions
    /// that have another one.
    pub(super) fn apply(
        &mut self,
        before: &ConsumerGroup,
        after: &ConsumerGroup,
    ) -> Vec<(TopicPartition, Owner)> {
        assert!(after.generation > self.generation, "generations grow");
        self.generation = after.generation;
        let mut owners = BTreeMap::new();
        for (id, member) in &after.members {
            for partition in member.assigned.keys().chain(member.revoking.keys()) {
                let former = before.members.get(id);
                // A partition that is being given up and is read again was given up in between.
                let was_kept = former.is_some_and(|former| {
                    let is_back = former.revoking.contains_key(partition)
                        && member.assigned.contains_key(partition);
                    former.has(*partition) && !is_back
                });
                let had = self.owners.get(partition).filter(|_| was_kept);
                let since = had.map_or(after.generation, |owner| owner.since);
                let owner = Owner {
                    member: id.clone(),
                    since,
                };
                let second = owners.insert(*partition, owner);
                assert_eq!(second, None, "{partition:?} has two owners");
            }
        }
        let former = std::mem::replace(&mut self.owners, owners);
        let is_lost = |(p, owner): &(TopicPartition, Owner)| self.owners.get(p) != Some(owner);
        former.into_iter().filter(is_lost).collect()
    }

    /// Whether a commit must be accepted.
    pub(super) fn may_commit(
        &self,
        member: &MemberId,
        generation: Generation,
        partition: TopicPartition,
    ) -> bool {
        self.owners.get(&partition).is_some_and(|owner| {
            owner.member == *member && owner.since <= generation && generation <= self.generation
        })
    }

    /// Whether the owner of a partition has made a later commit than this one.
    pub(super) fn has_later(
        &self,
        partition: TopicPartition,
        (since, sequence): (Generation, CommitSequence),
    ) -> bool {
        let last = self.committed.get(&partition);
        last.is_some_and(|(owned, last, _)| *owned == since && *last > sequence)
    }

    /// Records an accepted commit of a member, and checks that the offset has not gone back.
    pub(super) fn committed(&mut self, partition: TopicPartition, commit: Committed) {
        let (_, _, offset) = commit;
        let former = self.committed.insert(partition, commit);
        let former = former.map_or(0, |(_, _, former)| former);
        assert!(
            offset >= former,
            "{partition:?} went back from {former} to {offset}"
        );
    }

    /// Forgets offsets that were reset or deleted.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(&TopicPartition) -> bool) {
        self.committed
            .retain(|partition, _| !is_forgotten(partition));
    }

    /// The group was deleted.
    pub(super) fn delete(&mut self) {
        assert!(self.owners.is_empty());
        self.committed.clear();
    }
}

/// Checks that a new membership takes nothing away without need.
pub(super) fn assert_needed(before: &ConsumerGroup, after: &ConsumerGroup, may_divide: bool) {
    let targets: BTreeSet<_> = after.members.values().flat_map(|m| &m.target).collect();
    for (id, member) in &after.members {
        let Some(former) = before.members.get(id) else {
            continue;
        };
        for partition in member.revoking.keys() {
            let is_new = former.assigned.contains_key(partition);
            assert!(
                !is_new || may_divide,
                "an acknowledgement revoked {partition:?}"
            );
            let is_read = after.topics.contains_key(&partition.topic);
            let moves = targets.contains(partition) && !member.target.contains(partition);
            assert!(
                !is_new || moves || !is_read,
                "{partition:?} has nowhere to go"
            );
        }
        let kept =
            |p: &TopicPartition| former.assigned.contains_key(p) && member.target.contains(p);
        for partition in member.target.iter().filter(|p| kept(p)) {
            let since = member.assigned.get(partition);
            assert_eq!(since, former.assigned.get(partition), "{partition:?} stays");
        }
    }
}
