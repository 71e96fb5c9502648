//! The difference between the replicas that this node holds and those that the metadata assigns
//! to it. Pure: decides, and changes nothing.

use std::collections::BTreeSet;

use lograft_core::limits::CORRUPT_COPIES_MAX_BYTES;
use lograft_core::metadata::{Metadata, Partition, Repair};
use lograft_core::{GroupId, NodeId, PartitionId, RecoveryEpoch};
use lograft_storage::CorruptCopies;

use crate::control::holdings::Holdings;

/// A change of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open the replica; create it if it has no files.
    Open(Assigned),
    /// Record that the replica cannot be served: its corrupt files were set aside.
    MarkCorrupt(GroupId),
    /// Close the replica and keep its files: its group was recovered elsewhere.
    Close(GroupId),
    /// Make the replica, which survived the loss of its group's majority, the only voter.
    Recover(Assigned),
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
    /// The recovery epoch of the group.
    pub(crate) epoch: RecoveryEpoch,
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
            epoch: place.partition.epoch(),
            replicas: place.partition.replicas.clone(),
            topic: place.topic.name.clone(),
            partition: place.number,
            is_coordinator: place.topic.is_coordinators(),
        };
        match epoch_step(place.partition, me, holdings) {
            EpochStep::None => open_step(place.partition, me, holdings, assigned),
            EpochStep::Recover => Some(Step::Recover(assigned())),
            EpochStep::Remove => Some(Step::Remove(group)),
            EpochStep::Wait => None,
        }
    });
    let repaired = holdings.copies.keys().filter(|group| {
        let place = metadata.group(**group);
        place.is_some_and(|place| is_repaired(place.partition, me, holdings))
    });
    removed
        .into_iter()
        .map(Step::Remove)
        .chain(closable(metadata, me, holdings).map(Step::Close))
        .chain(repaired.copied().map(Step::RemoveCopies))
        .chain(crowded(metadata, me, holdings).map(Step::EmptyCopies))
        .chain(opened)
        .collect()
}

/// The step that the recovery epoch of an assigned replica needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EpochStep {
    /// None: its files, if it has any, are of the epoch in the metadata.
    None,
    /// Make it the only voter: it is the survivor.
    Recover,
    /// Delete its files, which are of an earlier epoch.
    Remove,
    /// Do not open it: there is a later epoch than that in the metadata of this node, or the
    /// survivor has no intact files.
    Wait,
}

fn epoch_step(partition: &Partition, me: NodeId, holdings: &Holdings) -> EpochStep {
    let group = partition.group;
    let (own, current) = (holdings.epoch(group), partition.epoch());
    if own > current || is_learned_later(group, current, holdings) {
        return EpochStep::Wait;
    }
    if own == current {
        return EpochStep::None;
    }
    if partition.pending_recovery().is_some() {
        // An empty log in its place would be a group without any of the records.
        let is_intact = holdings.on_disk.contains(&group)
            && !holdings.set_aside.contains(&group)
            && !holdings.corrupt.contains(&group);
        let is_survivor = current.node() == me;
        return if is_survivor && is_intact {
            EpochStep::Recover
        } else {
            EpochStep::Wait
        };
    }
    // In the later epoch it is a new replica: the group's leader has the log.
    if holdings.has(group) || holdings.copies_count(group) > 0 {
        EpochStep::Remove
    } else {
        EpochStep::None
    }
}

fn is_learned_later(group: GroupId, current: RecoveryEpoch, holdings: &Holdings) -> bool {
    let learned = holdings.learned.get(&group);
    learned.is_some_and(|learned| *learned > current)
}

/// The open replicas of groups that were recovered in a later epoch than that of the replica, as
/// the metadata or other nodes say. A survivor is closed by the step that makes it the only voter.
fn closable<'a>(
    metadata: &'a Metadata,
    me: NodeId,
    holdings: &'a Holdings,
) -> impl Iterator<Item = GroupId> + 'a {
    let is_earlier = move |group: &&GroupId| {
        let own = holdings.epoch(**group);
        let known = metadata.recovery_epoch(**group);
        let place = metadata.group(**group);
        let pending = place.and_then(|place| place.partition.pending_recovery());
        let is_survivor = pending.is_some_and(|recovery| recovery.epoch.node() == me);
        let is_pending = own < known && pending.is_some() && !is_survivor;
        is_pending || is_learned_later(**group, own.max(known), holdings)
    };
    holdings.open.iter().filter(is_earlier).copied()
}

/// Groups to delete from this node: known to the metadata, and not assigned to `me`. Not while
/// their recovery is in progress: if the survivor fails as well, another replica may be named. Nor
/// those that recovered metadata do not know any more, or may know at an earlier place.
fn removable(metadata: &Metadata, me: NodeId, holdings: &Holdings) -> BTreeSet<GroupId> {
    let Holdings {
        open,
        corrupt,
        on_disk,
        set_aside,
        copies: _,
        epochs: _,
        learned: _,
    } = holdings;
    let is_assigned = |group: &GroupId| {
        metadata
            .group(*group)
            .is_some_and(|place| place.partition.is_on(me))
    };
    // A group id that the metadata has not assigned yet belongs to a newer state of the metadata,
    // which this node has not applied: its files must stay.
    let is_allocated =
        |group: &GroupId| *group < metadata.next_ids().group && !metadata.is_skipped(*group);
    let is_kept = |group: &GroupId| {
        let place = metadata.group(*group);
        let pending = place.and_then(|place| place.partition.pending_recovery());
        let is_later = is_learned_later(*group, metadata.recovery_epoch(*group), holdings);
        pending.is_some_and(|recovery| recovery.former.contains(&me))
            || is_later
            || has_moved_here(metadata, *group, holdings)
    };
    open.iter()
        .chain(corrupt)
        .chain(on_disk)
        .chain(set_aside)
        .filter(|group| **group != GroupId::META && is_allocated(group) && !is_assigned(group))
        .filter(|group| !is_kept(group))
        .copied()
        .collect()
}

/// Whether metadata that were lost may have moved a replica to this node: the group is older than
/// the recovery, and the recovered metadata never assigned it here.
// The node acts on recovered metadata only after a restart. So a replica that runs was assigned by
// them since, and a later command took it away. One that does not may be a voter of a group whose
// other replicas were moved away and deleted as well: its files may be the only ones that are left.
fn has_moved_here(metadata: &Metadata, group: GroupId, holdings: &Holdings) -> bool {
    let is_known = metadata.group(group).is_some();
    let is_current = holdings.epoch(group) >= metadata.recovery_epoch(group);
    let is_open = holdings.open.contains(&group);
    is_known && is_current && !is_open && metadata.is_older_than_recovery(group)
}

/// Whether metadata that were lost may have moved the replica of `me` to another node, which an
/// empty log in its place does not know: it must not vote before its group has added it.
// The replica was deleted after the move, and the group's mark with it. Opened empty, it would vote
// for a member that was down during the move and counts it as a voter still: a leader without
// committed entries. A target that is no replica yet joins in any case.
pub(crate) fn may_have_moved_away(metadata: &Metadata, me: NodeId, group: GroupId) -> bool {
    let place = metadata.group(group);
    let is_replica = place.is_some_and(|place| place.partition.replicas.contains(&me));
    is_replica && metadata.is_older_than_recovery(group)
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
        .filter(|step| matches!(step, Step::Open(_) | Step::Recover(_)))
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

    fn recover(metadata: &mut Metadata, node: u64) -> RecoveryEpoch {
        let group = group(metadata, "a", 0);
        let from = metadata.recovery_epoch(group);
        let node = NodeId(node);
        let at_ms = 1;
        let command = Command::RecoverPartition {
            group,
            node,
            from,
            at_ms,
        };
        apply(metadata, &command);
        metadata.recovery_epoch(group)
    }

    /// A partition with replicas on nodes 1, 2 and 3, recovered from node 1.
    fn recovering() -> (Metadata, RecoveryEpoch) {
        let mut metadata = cluster(4);
        let level = lograft_core::FeatureLevel::CURRENT;
        apply(&mut metadata, &Command::FinalizeLevel { level });
        create(&mut metadata, "a", &[&[1, 2, 3]]);
        let group = group(&metadata, "a", 0);
        apply(&mut metadata, &Command::StartPartition { group });
        let epoch = recover(&mut metadata, 1);
        (metadata, epoch)
    }

    fn held() -> Holdings {
        Holdings {
            open: groups(&[1]),
            on_disk: groups(&[0, 1]),
            ..Holdings::default()
        }
    }

    fn is_recover(steps: &[Step]) -> bool {
        matches!(steps, [Step::Recover(assigned)] if assigned.group == GroupId(1))
    }

    #[test]
    fn only_the_survivor_with_its_files_becomes_the_only_voter() {
        let (metadata, epoch) = recovering();
        let mut holdings = held();
        assert!(is_recover(&plan(&metadata, NodeId(1), &holdings)));
        holdings.open = BTreeSet::new();
        assert!(is_recover(&plan(&metadata, NodeId(1), &holdings)), "again");
        let none = Holdings::default();
        assert_eq!(plan(&metadata, NodeId(1), &none), [], "an empty disk");
        holdings.corrupt = groups(&[1]);
        assert_eq!(plan(&metadata, NodeId(1), &holdings), [], "damaged");
        holdings.corrupt = BTreeSet::new();
        holdings.epochs.insert(GroupId(1), epoch);
        assert_eq!(opened(&plan(&metadata, NodeId(1), &holdings)), [1]);
        holdings.open = groups(&[1]);
        assert_eq!(plan(&metadata, NodeId(1), &holdings), [], "it runs");
    }

    #[test]
    fn old_members_close_and_delete_their_files_once_the_survivor_leads() {
        let (mut metadata, epoch) = recovering();
        let group = GroupId(1);
        let mut holdings = held();
        let closed = [Step::Close(group)];
        assert_eq!(plan(&metadata, NodeId(2), &holdings), closed);
        holdings.open = BTreeSet::new();
        assert_eq!(plan(&metadata, NodeId(2), &holdings), [], "it may be named");
        let second = recover(&mut metadata, 2);
        assert!(second > epoch);
        assert!(is_recover(&plan(&metadata, NodeId(2), &holdings)));
        apply(
            &mut metadata,
            &Command::CommitRecovery {
                group,
                epoch: second,
            },
        );
        assert_eq!(plan(&metadata, NodeId(3), &held()), [Step::Remove(group)]);
        assert_eq!(plan(&metadata, NodeId(1), &held()), [Step::Remove(group)]);
    }

    /// It is among the replicas again, with files of the former epoch.
    #[test]
    fn an_old_member_that_is_assigned_again_starts_empty() {
        let (mut metadata, epoch) = recovering();
        let group = GroupId(1);
        apply(&mut metadata, &Command::CommitRecovery { group, epoch });
        let replicas = vec![NodeId(1), NodeId(2)];
        apply(&mut metadata, &Command::SetTarget { group, replicas });
        let mut holdings = held();
        assert_eq!(plan(&metadata, NodeId(2), &holdings), [Step::Remove(group)]);
        holdings.open = BTreeSet::new();
        assert_eq!(plan(&metadata, NodeId(2), &holdings), [Step::Remove(group)]);
        let empty = Holdings::default();
        assert_eq!(opened(&plan(&metadata, NodeId(2), &empty)), [1]);
        holdings.epochs.insert(group, epoch);
        assert_eq!(opened(&plan(&metadata, NodeId(2), &holdings)), [1]);
    }

    #[test]
    fn a_replica_with_older_metadata_than_its_group_does_not_run() {
        let (recovered, epoch) = recovering();
        let mut metadata = cluster(4);
        create(&mut metadata, "a", &[&[1, 2, 3]]);
        let mut holdings = held();
        holdings.learned.insert(GroupId(1), epoch);
        let closed = [Step::Close(GroupId(1))];
        assert_eq!(plan(&metadata, NodeId(2), &holdings), closed);
        holdings.open = BTreeSet::new();
        assert_eq!(plan(&metadata, NodeId(2), &holdings), [], "it waits");
        holdings.learned.clear();
        holdings.epochs.insert(GroupId(1), epoch);
        assert_eq!(plan(&metadata, NodeId(1), &holdings), [], "its own files");
        assert_eq!(opened(&plan(&recovered, NodeId(1), &holdings)), [1]);
    }

    /// The metadata of `recovering` as they were before the move of the partition from node 3 to
    /// node 4, recovered from a node that did not know of the move.
    fn recovered_before_a_move() -> Metadata {
        let mut metadata = cluster(5);
        let level = lograft_core::FeatureLevel::CURRENT;
        apply(&mut metadata, &Command::FinalizeLevel { level });
        create(&mut metadata, "a", &[&[1, 2, 3]]);
        let group = group(&metadata, "a", 0);
        apply(&mut metadata, &Command::StartPartition { group });
        let epoch = RecoveryEpoch::new(1, NodeId(1)).unwrap();
        let (at_ms, lost) = (1, Vec::new());
        apply(
            &mut metadata,
            &Command::RecoverMetadata { epoch, at_ms, lost },
        );
        metadata
    }

    /// Node 4 is a voter, and may have the only copy: the others may have moved as well.
    #[test]
    fn files_that_recovered_metadata_assign_elsewhere_are_kept() {
        let mut metadata = recovered_before_a_move();
        let mut holdings = Holdings {
            on_disk: groups(&[0, 1]),
            ..Holdings::default()
        };
        assert_eq!(plan(&metadata, NodeId(4), &holdings), []);
        holdings.open = groups(&[1]);
        let removed = [Step::Remove(GroupId(1))];
        assert_eq!(
            plan(&metadata, NodeId(4), &holdings),
            removed,
            "assigned since, and moved away"
        );
        holdings.open = BTreeSet::new();
        create(&mut metadata, "b", &[&[1, 2, 3]]);
        let later = group(&metadata, "b", 0);
        holdings.on_disk.insert(later);
        assert_eq!(
            plan(&metadata, NodeId(4), &holdings),
            [Step::Remove(later)],
            "the recovered metadata have assigned it"
        );
        let (name, topic_id) = ("a".to_owned(), None);
        apply(&mut metadata, &Command::DeleteTopic { name, topic_id });
        assert_eq!(
            plan(&metadata, NodeId(4), &holdings),
            [Step::Remove(GroupId(1)), Step::Remove(later)]
        );
    }

    /// Node 3 has deleted its replica after the move, and its mark with it. Its vote would make
    /// node 2 a leader, which was down during the move and lacks what 1 and 4 have committed.
    #[test]
    fn an_empty_replica_does_not_vote_if_recovered_metadata_may_have_forgotten_a_move() {
        let mut metadata = recovered_before_a_move();
        let group = GroupId(1);
        let may_have_moved =
            |metadata: &Metadata, node| may_have_moved_away(metadata, NodeId(node), group);
        assert!(may_have_moved(&metadata, 3));
        let later = metadata.next_ids().group;
        create(&mut metadata, "b", &[&[1, 2, 3]]);
        assert!(!may_have_moved_away(&metadata, NodeId(3), later));
        let mut never = cluster(3);
        create(&mut never, "a", &[&[1, 2, 3]]);
        assert!(!may_have_moved(&never, 3));
    }
}
