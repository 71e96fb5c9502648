//! The difference between the replicas that this node holds and those that the metadata assigns
//! to it. Pure: decides, and changes nothing.

use std::collections::BTreeSet;

use lograft_core::limits::CORRUPT_COPIES_MAX_BYTES;
use lograft_core::metadata::{Metadata, Partition, Repair};
use lograft_core::{GroupId, NodeId, PartitionId};
use lograft_storage::CorruptCopies;

use crate::control::holdings::Holdings;

/// A change of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open the replica; create it if it has no files.
    Open(Assigned),
    /// Record that the replica cannot be served: its corrupt files were set aside.
    MarkCorrupt(GroupId),
    /// Close the replica and delete its files.
    Remove(GroupId),
    /// Delete the corrupt copies of a replica that is repaired.
    RemoveCopies(GroupId),
    /// Delete the files in the corrupt copies of a replica that the group goes on without.
    EmptyCopies(GroupId),
}

/// A partition assigned to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// The raft group.
    pub(crate) group: GroupId,
    /// The nodes that have it.
    pub(crate) replicas: Vec<NodeId>,
    /// The topic's name.
    pub(crate) topic: String,
    /// The partition's number.
    pub(crate) partition: PartitionId,
    /// Whether it is a coordinator of consumer groups.
    pub(crate) is_coordinator: bool,
}

/// The changes after which `me` holds the replicas that the metadata assigns to it. Empty if it
/// does.
pub(crate) fn plan(metadata: &Metadata, me: NodeId, holdings: &Holdings) -> Vec<Step> {
    let removed = removable(metadata, me, holdings);
    let hosted = metadata
        .partitions()
        .filter(|place| place.partition.is_on(me));
    let opened = hosted.filter_map(|place| {
        let group = place.partition.group;
        let assigned = || Assigned {
            group,
            replicas: place.partition.replicas.clone(),
            topic: place.topic.name.clone(),
            partition: place.number,
            is_coordinator: place.topic.is_coordinators(),
        };
        open_step(place.partition, me, holdings, assigned)
    });
    let repaired = holdings.copies.keys().filter(|group| {
        let place = metadata.group(**group);
        place.is_some_and(|place| is_repaired(place.partition, me, holdings))
    });
    removed
        .into_iter()
        .map(Step::Remove)
        .chain(repaired.copied().map(Step::RemoveCopies))
        .chain(crowded(metadata, me, holdings).map(Step::EmptyCopies))
        .chain(opened)
        .collect()
}

/// Groups to delete from this node: known to the metadata, and not assigned to `me`.
fn removable(metadata: &Metadata, me: NodeId, holdings: &Holdings) -> BTreeSet<GroupId> {
    let Holdings {
        open,
        corrupt,
        on_disk,
        set_aside,
        copies: _,
    } = holdings;
    let is_assigned = |group: &GroupId| {
        metadata
            .group(*group)
            .is_some_and(|place| place.partition.is_on(me))
    };
    // A group id that the metadata has not assigned yet belongs to a newer state of the metadata,
    // which this node has not applied: its files must stay.
    let is_allocated = |group: &GroupId| *group < metadata.next_ids().group;
    open.iter()
        .chain(corrupt)
        .chain(on_disk)
        .chain(set_aside)
        .filter(|group| **group != GroupId::META && is_allocated(group) && !is_assigned(group))
        .copied()
        .collect()
}

fn open_step(
    partition: &Partition,
    me: NodeId,
    holdings: &Holdings,
    assigned: impl Fn() -> Assigned,
) -> Option<Step> {
    let group = partition.group;
    if holdings.open.contains(&group) {
        return None;
    }
    let is_set_aside = holdings.set_aside.contains(&group);
    let is_corrupt = holdings.corrupt.contains(&group);
    // A replica that lost its log must leave the raft group before it rejoins empty: otherwise it
    // could vote twice in one term, or elect a leader without committed entries. The group's
    // leader evicts it first, and the metadata records that with `is_evicted`.
    //
    // With a second copy, the replica was damaged again during its repair. The recorded eviction is
    // older than that, so it is reported again, and waits for the next one.
    let is_damaged_again = holdings.copies_count(group) > 1;
    if is_set_aside && (is_damaged_again || !is_evicted(partition, me)) {
        return (!is_corrupt).then_some(Step::MarkCorrupt(group));
    }
    let is_waiting_for_set_aside = is_corrupt && !is_set_aside;
    (!is_waiting_for_set_aside).then(|| Step::Open(assigned()))
}

/// The groups whose corrupt copies make those of the node too large, the oldest first. Never a copy
/// that may be the only one of committed entries: only of groups that have evicted the replica, and
/// continue with a majority of others.
fn crowded(metadata: &Metadata, me: NodeId, holdings: &Holdings) -> impl Iterator<Item = GroupId> {
    let all = holdings.copies.values().map(|copies| copies.bytes);
    let mut excess = all.sum::<u64>().saturating_sub(CORRUPT_COPIES_MAX_BYTES);
    let is_spare = |group: GroupId, copies: &CorruptCopies| {
        let place = metadata.group(group);
        let is_evicted = place.is_some_and(|place| is_evicted(place.partition, me));
        is_evicted && copies.count == 1 && copies.bytes > 0
    };
    let mut spare: Vec<_> = holdings
        .copies
        .iter()
        .filter(|(group, copies)| is_spare(**group, copies))
        .map(|(group, copies)| (copies.oldest, *group, copies.bytes))
        .collect();
    spare.sort_unstable();
    spare.into_iter().map_while(move |(_, group, bytes)| {
        let is_needed = excess > 0;
        excess = excess.saturating_sub(bytes);
        is_needed.then_some(group)
    })
}

/// Whether the replica was repaired: its corrupt copies are not needed any more, because another
/// whole copy is committed.
fn is_repaired(partition: &Partition, me: NodeId, holdings: &Holdings) -> bool {
    partition.is_on(me)
        && holdings.open.contains(&partition.group)
        && partition.repair.is_none_or(|repair| repair.node != me)
}

/// Whether the raft group has evicted the replica of `me`, so that it may rejoin with an empty log.
pub(crate) fn is_evicted(partition: &Partition, me: NodeId) -> bool {
    partition.repair
        == Some(Repair {
            node: me,
            is_evicted: true,
        })
}

/// Number of assigned replicas that are not open yet.
pub(crate) fn missing_count(metadata: &Metadata, me: NodeId, holdings: &Holdings) -> usize {
    let steps = plan(metadata, me, holdings);
    steps
        .iter()
        .filter(|step| matches!(step, Step::Open(_)))
        .count()
}

#[cfg(test)]
mod tests {
    use lograft_core::metadata::Command;

    use super::*;
    use crate::control::test_metadata::{apply, cluster, copies, create, group};

    fn groups(ids: &[u64]) -> BTreeSet<GroupId> {
        ids.iter().copied().map(GroupId).collect()
    }

    fn opened(steps: &[Step]) -> Vec<u64> {
        steps
            .iter()
            .filter_map(|step| match step {
                Step::Open(assigned) => Some(assigned.group.get()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_node_opens_the_replicas_assigned_to_it_and_then_does_nothing() {
        let mut metadata = cluster(3);
        create(&mut metadata, "a", &[&[1, 2], &[2, 3], &[3, 1]]);
        let mut holdings = Holdings::default();
        let steps = plan(&metadata, NodeId(1), &holdings);
        assert_eq!(opened(&steps), [1, 3]);
        assert_eq!(steps.len(), 2);
        holdings.open = groups(&[1]);
        holdings.corrupt = groups(&[3]);
        holdings.on_disk = groups(&[0, 1, 3]);
        assert_eq!(plan(&metadata, NodeId(1), &holdings), []);
    }

    #[test]
    fn moved_and_deleted_partitions_are_removed() {
        let mut metadata = cluster(3);
        create(&mut metadata, "a", &[&[1, 2]]);
        create(&mut metadata, "b", &[&[1, 2]]);
        let moved = group(&metadata, "a", 0);
        let replicas = vec![NodeId(3), NodeId(2)];
        apply(&mut metadata, &Command::StartPartition { group: moved });
        apply(
            &mut metadata,
            &Command::SetTarget {
                group: moved,
                replicas: replicas.clone(),
            },
        );
        let holdings = Holdings {
            open: groups(&[1, 2]),
            on_disk: groups(&[0, 1, 2]),
            ..Holdings::default()
        };
        assert_eq!(
            plan(&metadata, NodeId(1), &holdings),
            [],
            "not before the move is done"
        );
        assert_eq!(
            opened(&plan(&metadata, NodeId(3), &Holdings::default())),
            [1]
        );
        apply(
            &mut metadata,
            &Command::CommitMove {
                group: moved,
                replicas,
            },
        );
        assert_eq!(
            plan(&metadata, NodeId(1), &holdings),
            [Step::Remove(GroupId(1))]
        );
        apply(
            &mut metadata,
            &Command::DeleteTopic {
                name: "b".to_owned(),
                topic_id: None,
            },
        );
        assert_eq!(
            plan(&metadata, NodeId(1), &holdings),
            [Step::Remove(GroupId(1)), Step::Remove(GroupId(2))]
        );
    }

    #[test]
    fn a_corrupt_replica_is_reopened_only_after_its_group_has_evicted_it() {
        let mut metadata = cluster(3);
        create(&mut metadata, "a", &[&[1, 2]]);
        let group = group(&metadata, "a", 0);
        apply(&mut metadata, &Command::StartPartition { group });
        let me = NodeId(1);
        let mut holdings = Holdings {
            set_aside: groups(&[1]),
            ..Holdings::default()
        };
        assert_eq!(
            plan(&metadata, me, &holdings),
            [Step::MarkCorrupt(group)],
            "after a restart"
        );
        holdings.corrupt = groups(&[1]);
        assert_eq!(plan(&metadata, me, &holdings), []);
        apply(&mut metadata, &Command::ReportDamage { group, node: me });
        assert_eq!(plan(&metadata, me, &holdings), []);
        apply(&mut metadata, &Command::CommitEviction { group, node: me });
        assert_eq!(opened(&plan(&metadata, me, &holdings)), [1]);
        holdings.corrupt = BTreeSet::new();
        holdings.set_aside = BTreeSet::new();
        holdings.open = groups(&[1]);
        assert_eq!(plan(&metadata, me, &holdings), [], "it has files again");
    }

    /// A partition with replicas on nodes 1 and 2, of which that of `node` was damaged and evicted.
    fn with_an_eviction(node: NodeId) -> (Metadata, GroupId) {
        let mut metadata = cluster(3);
        create(&mut metadata, "a", &[&[1, 2]]);
        let group = group(&metadata, "a", 0);
        for command in [
            Command::StartPartition { group },
            Command::ReportDamage { group, node },
            Command::CommitEviction { group, node },
        ] {
            apply(&mut metadata, &command);
        }
        (metadata, group)
    }

    /// A replica damaged again during its repair has lost votes and entries that are newer than
    /// its recorded eviction: opened empty, it could vote twice in a term.
    #[test]
    fn a_replica_that_is_damaged_again_waits_for_another_eviction() {
        let me = NodeId(1);
        let (mut metadata, group) = with_an_eviction(me);
        let mut holdings = Holdings {
            set_aside: groups(&[1]),
            corrupt: groups(&[1]),
            ..Holdings::default()
        };
        holdings.copies.insert(group, copies(2));
        assert_eq!(plan(&metadata, me, &holdings), []);
        apply(&mut metadata, &Command::ReportDamage { group, node: me });
        assert_eq!(plan(&metadata, me, &holdings), []);
        holdings.copies.insert(group, copies(1)); // merged after the report
        assert_eq!(plan(&metadata, me, &holdings), [], "not evicted yet");
        apply(&mut metadata, &Command::CommitEviction { group, node: me });
        assert_eq!(opened(&plan(&metadata, me, &holdings)), [1]);
    }

    #[test]
    fn corrupt_copies_are_kept_until_the_replica_is_repaired() {
        let me = NodeId(1);
        let (mut metadata, group) = with_an_eviction(me);
        let mut holdings = Holdings {
            open: groups(&[1]),
            on_disk: groups(&[1]),
            ..Holdings::default()
        };
        holdings.copies.insert(group, copies(1));
        assert_eq!(plan(&metadata, me, &holdings), [], "it is catching up");
        apply(&mut metadata, &Command::CommitRepair { group, node: me });
        assert_eq!(plan(&metadata, me, &holdings), [Step::RemoveCopies(group)]);
    }

    /// Two replicas were damaged and evicted, a third one waits for its eviction: its copy may have
    /// the only entries of a batch that was committed with it.
    #[test]
    fn too_large_corrupt_copies_are_emptied_the_oldest_first_and_never_the_only_ones() {
        let mut metadata = cluster(3);
        create(&mut metadata, "a", &[&[1, 2], &[1, 2], &[1, 2]]);
        let me = NodeId(1);
        let all = [0, 1, 2].map(|partition| group(&metadata, "a", partition));
        for group in all {
            apply(&mut metadata, &Command::StartPartition { group });
            apply(&mut metadata, &Command::ReportDamage { group, node: me });
        }
        for group in [all[0], all[2]] {
            apply(&mut metadata, &Command::CommitEviction { group, node: me });
        }
        let mut holdings = Holdings {
            open: groups(&[all[0].get(), all[2].get()]),
            on_disk: groups(&[all[0].get(), all[2].get()]),
            set_aside: groups(&[all[1].get()]),
            corrupt: groups(&[all[1].get()]),
            ..Holdings::default()
        };
        let sized = |oldest, bytes| CorruptCopies {
            count: 1,
            oldest,
            bytes,
        };
        let half = CORRUPT_COPIES_MAX_BYTES / 2;
        for (group, oldest) in [(all[0], 3), (all[1], 1), (all[2], 2)] {
            holdings.copies.insert(group, sized(oldest, half));
        }
        assert_eq!(plan(&metadata, me, &holdings), [Step::EmptyCopies(all[2])]);
        holdings.copies.insert(all[1], sized(1, 9 * half));
        let both = [all[2], all[0]].map(Step::EmptyCopies);
        assert_eq!(plan(&metadata, me, &holdings), both);
        for group in [all[0], all[2]] {
            holdings.copies.insert(group, sized(2, 0));
        }
        assert_eq!(plan(&metadata, me, &holdings), [], "emptied once");
    }

    #[test]
    fn files_of_unknown_groups_are_kept() {
        let mut metadata = cluster(1);
        create(&mut metadata, "a", &[&[1]]);
        apply(
            &mut metadata,
            &Command::DeleteTopic {
                name: "a".to_owned(),
                topic_id: None,
            },
        );
        let holdings = Holdings {
            on_disk: groups(&[0, 1, 2]),
            ..Holdings::default()
        };
        assert_eq!(
            plan(&metadata, NodeId(1), &holdings),
            [Step::Remove(GroupId(1))]
        );
    }
}
