use lograft_core::PartitionId;
use proptest::prelude::*;

use super::*;

fn partition(number: u32) -> GroupPartition {
    GroupPartition {
        topic: "t".into(),
        partition: PartitionId(number),
        topic_id: 1,
    }
}

/// Partitions with the generation since which the member has them, committed at 10 each.
fn assignment(generation: u64, partitions: &[(u32, u64)]) -> Assignment {
    let assigned = |(number, since): &(u32, u64)| {
        let assigned = Assigned {
            since: *since,
            committed: Some(Offset(10)),
        };
        (partition(*number), assigned)
    };
    Assignment {
        generation,
        partitions: partitions.iter().map(assigned).collect(),
    }
}

fn all(numbers: &[u32]) -> Vec<GroupPartition> {
    numbers.iter().copied().map(partition).collect()
}

/// A member that has followed an assignment.
fn member(generation: u64, partitions: &[(u32, u64)]) -> Membership {
    let mut membership = Membership::default();
    membership.accept(assignment(generation, partitions));
    let started: Vec<u32> = partitions.iter().map(|(number, _)| *number).collect();
    assert_eq!(membership.next_step(), Step::Start(all(&started)));
    assert_eq!(membership.next_step(), Step::None);
    membership
}

fn cursor(membership: &Membership, number: u32) -> Arc<Cursor> {
    Arc::clone(&membership.held(&partition(number)).unwrap().cursor)
}

fn offsets(membership: &Membership, progress: Progress) -> Vec<(u32, u64)> {
    let commits = membership.to_commit(progress);
    let offset = |commit: &ToCommit| (commit.partition.partition.get(), commit.offset.get());
    commits.iter().map(offset).collect()
}

#[test]
fn additions_are_acknowledged_at_once_and_start_at_the_committed_offset() {
    let mut membership = member(3, &[(0, 3)]);
    membership.accept(assignment(4, &[(0, 3), (1, 4)]));
    assert_eq!(membership.generation(), 4);
    assert!(membership.is_settled());
    assert_eq!(membership.next_step(), Step::Start(all(&[1])));
    assert_eq!(cursor(&membership, 1).position(), Some(Offset(10)));
    assert!(membership.to_commit(Progress::HandedOut).is_empty());
}

#[test]
fn a_partition_is_given_up_before_the_generation_is_acknowledged() {
    let mut membership = member(3, &[(0, 3), (1, 3)]);
    cursor(&membership, 1).hand_out(Offset(12));
    membership.accept(assignment(4, &[(0, 3)]));
    assert_eq!(
        (membership.generation(), membership.is_settled()),
        (3, false)
    );
    assert_eq!(membership.next_step(), Step::Revoke(all(&[1])));
    assert_eq!(
        membership.next_step(),
        Step::None,
        "the application is not back"
    );
    assert!(membership.is_revoking() && membership.is_given_up(&partition(1)));
    // It may still commit, under the former generation.
    assert_eq!(offsets(&membership, Progress::HandedOut), [(1, 12)]);
    assert_eq!(membership.finish_revoke(), []);
    assert_eq!(
        (membership.generation(), membership.is_settled()),
        (4, true)
    );
    assert_eq!(membership.next_step(), Step::None);
    assert_eq!(
        membership.partitions().cloned().collect::<Vec<_>>(),
        all(&[0])
    );
}

#[test]
fn nothing_starts_while_partitions_are_given_up() {
    let mut membership = member(3, &[(0, 3)]);
    membership.accept(assignment(4, &[(1, 4)]));
    assert_eq!(membership.next_step(), Step::Revoke(all(&[0])));
    // A commit of the new partition would need the generation that is not acknowledged yet.
    assert_eq!(membership.next_step(), Step::None);
    membership.finish_revoke();
    assert_eq!(membership.next_step(), Step::Start(all(&[1])));
}

#[test]
fn a_partition_that_was_never_started_is_given_up_without_the_application() {
    let mut membership = Membership::default();
    membership.accept(assignment(1, &[(0, 1), (1, 1)]));
    membership.accept(assignment(2, &[(0, 1)]));
    assert_eq!(
        (membership.generation(), membership.is_settled()),
        (2, true)
    );
    assert_eq!(membership.next_step(), Step::Start(all(&[0])));
}

#[test]
fn a_partition_that_was_away_is_lost_and_starts_again_where_the_group_is() {
    let mut membership = member(3, &[(0, 3), (1, 3)]);
    let before = cursor(&membership, 0);
    before.hand_out(Offset(50));
    membership.accept(assignment(6, &[(0, 5), (1, 3)]));
    assert_eq!(membership.next_step(), Step::Lose(all(&[0])));
    assert_eq!(membership.next_step(), Step::Start(all(&[0])));
    assert!(membership.to_commit(Progress::HandedOut).is_empty());
    // Records of the former assignment do not count any more.
    before.hand_out(Offset(60));
    assert!(membership.to_commit(Progress::HandedOut).is_empty());
    assert_eq!(
        membership.commit_of(&partition(0), &before, Offset(60)),
        None
    );
}

#[test]
fn a_partition_that_is_given_back_before_it_was_given_up_continues_at_its_position() {
    let mut membership = member(3, &[(0, 3), (1, 3)]);
    cursor(&membership, 1).hand_out(Offset(20));
    membership.accept(assignment(4, &[(0, 3)]));
    assert_eq!(membership.next_step(), Step::Revoke(all(&[1])));
    membership.accept(assignment(5, &[(0, 3), (1, 3)]));
    assert_eq!(membership.generation(), 3);
    assert_eq!(membership.finish_revoke(), all(&[1]));
    assert_eq!(
        (membership.generation(), membership.is_settled()),
        (5, true)
    );
    assert_eq!(cursor(&membership, 1).position(), Some(Offset(20)));
    assert_eq!(membership.next_step(), Step::None);
}

#[test]
fn a_member_that_was_removed_drops_everything() {
    let mut membership = member(3, &[(0, 3), (1, 3)]);
    cursor(&membership, 0).hand_out(Offset(20));
    membership.accept(assignment(4, &[(0, 3)]));
    assert_eq!(membership.next_step(), Step::Revoke(all(&[1])));
    membership.lose_all();
    assert!(membership.to_commit(Progress::HandedOut).is_empty());
    assert!(!membership.is_revoking());
    assert_eq!(membership.generation(), 0);
    assert_eq!(membership.first_lost(), Some(partition(0)));
    assert_eq!(membership.next_step(), Step::Lose(all(&[0, 1])));
    assert_eq!(membership.next_step(), Step::None);
    membership.accept(assignment(2, &[(0, 2)]));
    assert_eq!(membership.next_step(), Step::Start(all(&[0])));
    assert_eq!(
        membership.generation(),
        2,
        "the group may have been made again"
    );
}

#[test]
fn a_refused_partition_is_lost_unless_it_was_assigned_again() {
    let mut membership = member(3, &[(0, 3), (1, 3)]);
    membership.refuse(&partition(0), 2);
    assert_eq!(membership.next_step(), Step::None);
    membership.refuse(&partition(0), 3);
    assert_eq!(membership.next_step(), Step::Lose(all(&[0])));
    assert_eq!(
        membership.next_step(),
        Step::None,
        "the reply is older than the refusal"
    );
    assert_eq!(
        membership.partitions().cloned().collect::<Vec<_>>(),
        all(&[1])
    );
    membership.accept(assignment(4, &[(0, 4), (1, 3)]));
    assert_eq!(membership.next_step(), Step::Start(all(&[0])));
}

#[test]
fn an_older_reply_changes_nothing() {
    let mut membership = member(3, &[(0, 3)]);
    membership.accept(assignment(2, &[(0, 2), (1, 2)]));
    assert_eq!(membership.next_step(), Step::None);
    assert_eq!(membership.generation(), 3);
}

#[test]
fn processed_is_what_was_handed_out_before_the_application_asked_for_more() {
    let mut membership = member(3, &[(0, 3), (1, 3)]);
    let cursor = cursor(&membership, 0);
    cursor.hand_out(Offset(11));
    assert!(membership.to_commit(Progress::Processed).is_empty());
    cursor.settle();
    cursor.hand_out(Offset(12));
    assert_eq!(offsets(&membership, Progress::Processed), [(0, 11)]);
    assert_eq!(offsets(&membership, Progress::HandedOut), [(0, 12)]);
    let commit = membership.to_commit(Progress::Processed).remove(0);
    membership.committed(&commit);
    assert!(membership.to_commit(Progress::Processed).is_empty());
    // The reply to a commit of an earlier assignment says nothing about this one.
    membership.committed(&ToCommit {
        since: 2,
        offset: Offset(5),
        ..commit
    });
    assert_eq!(membership.status()[0].committed, Some(Offset(11)));
}

#[test]
fn lag_is_known_after_the_first_records() {
    let membership = member(3, &[(0, 3)]);
    assert_eq!(membership.status()[0].lag(), None);
    let cursor = cursor(&membership, 0);
    cursor.set_high_watermark(Offset(100));
    cursor.hand_out(Offset(60));
    assert_eq!(membership.status()[0].lag(), Some(40));
}

#[derive(Clone, Debug)]
enum Action {
    /// The coordinator assigns these partitions, with news about some of them being away.
    Assign(Vec<bool>, Vec<bool>),
    Removed,
    Refused(u32),
    /// The application asks for records.
    Ask,
}

fn action() -> impl Strategy<Value = Action> {
    let flags = || prop::collection::vec(any::<bool>(), 4);
    prop_oneof![
        4 => (flags(), flags()).prop_map(|(has, away)| Action::Assign(has, away)),
        1 => Just(Action::Removed),
        1 => (0..4_u32).prop_map(Action::Refused),
        6 => Just(Action::Ask),
    ]
}

proptest! {
    /// An acknowledged generation is followed: the application reads no partition that is not in
    /// its assignment, under the same `since`.
    #[test]
    fn an_acknowledged_assignment_is_the_one_that_is_read(
        actions in prop::collection::vec(action(), 1..60),
    ) {
        let mut membership = Membership::default();
        let mut replies: BTreeMap<u64, Assignment> = BTreeMap::new();
        // Read by the application: started, and neither revoked nor lost.
        let mut read: BTreeMap<GroupPartition, u64> = BTreeMap::new();
        let mut generation = 0;
        let mut since = [0_u64; 4];
        for action in actions {
            match action {
                Action::Assign(has, away) => {
                    generation += 1;
                    let mut partitions = Vec::new();
                    for number in 0..4_u32 {
                        let at = number as usize;
                        if since[at] == 0 || away[at] {
                            since[at] = generation;
                        }
                        if has[at] {
                            partitions.push((number, since[at]));
                        } else if !membership.partitions().any(|held| *held == partition(number)) {
                            since[at] = 0;
                        }
                    }
                    let reply = assignment(generation, &partitions);
                    replies.insert(generation, reply.clone());
                    membership.accept(reply);
                }
                Action::Removed => membership.lose_all(),
                Action::Refused(number) => {
                    let since = membership.held(&partition(number)).map(|held| held.cursor.since);
                    membership.refuse(&partition(number), since.unwrap_or(0));
                }
                Action::Ask => loop {
                    if membership.is_revoking() {
                        let kept = membership.finish_revoke();
                        for partition in kept {
                            let held = membership.held(&partition).unwrap();
                            read.insert(partition, held.cursor.since);
                        }
                    }
                    match membership.next_step() {
                        Step::None => break,
                        Step::Lose(gone) | Step::Revoke(gone) => {
                            read.retain(|partition, _| !gone.contains(partition));
                        }
                        Step::Start(started) => for partition in started {
                            let held = membership.held(&partition).unwrap();
                            read.insert(partition, held.cursor.since);
                        }
                    }
                },
            }
            if let Some(reply) = replies.get(&membership.generation()) {
                for held in membership.partitions() {
                    let cursor = &membership.held(held).unwrap().cursor;
                    let assigned = reply.partitions.get(held);
                    prop_assert_eq!(assigned.map(|a| a.since), Some(cursor.since));
                }
            }
            // All that is read can be committed, or the application learns that it is lost.
            for (partition, since) in &read {
                let is_held = membership.is_held_since(partition, *since);
                prop_assert!(is_held || membership.lost.contains(partition));
            }
        }
    }
}
