use std::time::Duration;

use super::*;
use crate::limits::{
    BATCH_LEVEL_1_MAX_BYTES, COORDINATOR_GROUPS_MAX_COUNT, COORDINATOR_STATE_MAX_BYTES,
    GROUP_MEMBERS_MAX_BYTES, GROUP_MEMBERS_MAX_COUNT, GROUP_OFFSETS_MAX_COUNT,
    GROUP_PARTITIONS_MAX_COUNT, GROUP_STATE_MAX_BYTES, GROUP_TOPICS_MAX_COUNT,
    GROUPS_EXPIRE_MAX_COUNT, OFFSET_METADATA_MAX_BYTES, TOPIC_NAME_MAX_BYTES,
};
use crate::reason::Reason;

/// The result of one committed offset.
fn commit(state: &mut CoordinatorState, commit: OffsetCommit) -> CommitResult {
    let commits = vec![commit];
    match state.apply(&GroupCommand::Commit { commits }) {
        Ok(Applied::Committed(results)) => results[0].clone(),
        outcome => panic!("{outcome:?}"),
    }
}

fn from_outside(group: &str, partition: TopicPartition, offset: u64) -> OffsetCommit {
    OffsetCommit {
        group: group.to_owned(),
        member: None,
        sequence: CommitSequence::NONE,
        partition,
        offset,
        metadata: String::new(),
        committed_at_ms: 1000,
    }
}

fn by(member: &str, generation: u64, commit: OffsetCommit) -> OffsetCommit {
    OffsetCommit {
        member: Some((id(member), Generation(generation))),
        ..commit
    }
}

/// Applies a command that must be refused, and checks that nothing changed.
fn refused(state: &mut CoordinatorState, command: &GroupCommand) -> GroupError {
    let before = state.clone();
    let error = state.apply(command).unwrap_err();
    assert_eq!(*state, before);
    error
}

/// The next membership of the group after these events, as a command.
fn put(state: &CoordinatorState, group: &str, events: &[GroupEvent]) -> GroupCommand {
    let topics = Topics::new(&[("t", 4)]);
    let before = state.membership(group);
    let stepped = before.step(events, &topics, 1000);
    GroupCommand::PutMembership {
        group: group.to_owned(),
        expected: before.generation,
        membership: stepped.group.unwrap(),
    }
}

fn step(state: &mut CoordinatorState, group: &str, events: &[GroupEvent]) {
    let command = put(state, group, events);
    assert_eq!(state.apply(&command), Ok(Applied::Done));
    assert_restored(state);
}

/// A commit of a member for partition 0, with the sequence as its offset.
fn numbered(member: &str, generation: u64, sequence: u64) -> OffsetCommit {
    OffsetCommit {
        sequence: CommitSequence(sequence),
        ..by(member, generation, from_outside("g", at(1, 0), sequence))
    }
}

/// The state survives a checkpoint, the count of its memory included, and is smaller than that.
fn assert_restored(state: &CoordinatorState) {
    let bytes = state.encode().unwrap();
    assert_eq!(&CoordinatorState::decode(&bytes).unwrap(), state);
    assert!(
        bytes.len() <= state.bytes() + 64,
        "{} of {}",
        bytes.len(),
        state.bytes()
    );
}

fn delete(group: &str) -> GroupCommand {
    let group = group.to_owned();
    GroupCommand::Delete { group }
}

#[test]
fn a_membership_replaces_only_the_one_from_which_it_was_computed() {
    let mut state = CoordinatorState::default();
    let first = put(&state, "g", &[join("a", &["t"])]);
    let second = put(&state, "g", &[join("b", &["t"])]);
    assert_eq!(state.apply(&first), Ok(Applied::Done));
    let outdated = GroupError::Stale {
        expected: Generation(0),
        current: Generation(1),
    };
    assert_eq!(refused(&mut state, &second), outdated);
    assert_eq!(refused(&mut state, &first), outdated, "a repeated one");
    let GroupCommand::PutMembership { membership, .. } = first else {
        panic!("{first:?}");
    };
    let backwards = GroupCommand::PutMembership {
        group: "g".to_owned(),
        expected: Generation(1),
        membership,
    };
    assert_eq!(refused(&mut state, &backwards).reason(), Reason::NotReady);
    assert_eq!(state.membership("g").members.len(), 1);
}

#[test]
fn commits_are_fenced_one_by_one() {
    let mut state = CoordinatorState::default();
    step(&mut state, "g", &[join("a", &["t"])]);
    step(&mut state, "g", &[join("b", &["t"])]);
    step(&mut state, "g", &[acknowledge("a", 2)]);
    let commits = vec![
        by("a", 1, from_outside("g", at(1, 0), 10)),
        by("a", 1, from_outside("g", at(1, 3), 10)),
        by("b", 3, from_outside("g", at(1, 3), 20)),
        by("x", 3, from_outside("g", at(1, 3), 30)),
        from_outside("g", at(1, 0), 0),
        by("a", 1, from_outside("absent", at(1, 0), 1)),
        by("a", 3, from_outside("g", at(1, 0), 5)),
    ];
    let outcome = state.apply(&GroupCommand::Commit { commits });
    let expected = vec![
        Ok(()),
        Err(CommitError::NotAssigned),
        Ok(()),
        Err(CommitError::UnknownMember),
        Err(CommitError::GroupNotEmpty),
        Err(CommitError::UnknownMember),
        Ok(()),
    ];
    assert_eq!(outcome, Ok(Applied::Committed(expected)));
    let group = state.group("g").unwrap();
    let offsets: Vec<_> = group
        .offsets()
        .iter()
        .map(|(p, o)| (*p, o.offset))
        .collect();
    assert_eq!(
        offsets,
        [(at(1, 0), 5), (at(1, 3), 20)],
        "a member may go back"
    );
    assert_eq!(state.groups().len(), 1);
    assert_restored(&state);
}

#[test]
fn offsets_are_set_and_deleted_from_outside_while_there_are_no_members() {
    let mut state = CoordinatorState::default();
    assert_eq!(commit(&mut state, from_outside("g", at(1, 0), 7)), Ok(()));
    assert_eq!(commit(&mut state, from_outside("g", at(1, 1), 8)), Ok(()));
    assert_eq!(commit(&mut state, from_outside("g", at(2, 0), 9)), Ok(()));
    assert_eq!(
        commit(&mut state, from_outside("g", at(1, 0), 3)),
        Ok(()),
        "a reset"
    );
    assert_eq!(
        state.group("g").unwrap().offset(at(1, 0)).unwrap().offset,
        3
    );
    assert_eq!(state.group("g").unwrap().offsets_of(TopicId(1)).count(), 2);
    assert_eq!(state.offset_topics(), [TopicId(1), TopicId(2)].into());
    assert_restored(&state);
    let delete_offsets = |group: &str, partitions: &[TopicPartition]| {
        let (group, partitions) = (group.to_owned(), partitions.to_vec());
        GroupCommand::DeleteOffsets { group, partitions }
    };
    let command = delete_offsets("g", &[at(1, 1), at(1, 9)]);
    assert_eq!(state.apply(&command), Ok(Applied::Deleted { count: 1 }));
    assert_eq!(state.apply(&command), Ok(Applied::Deleted { count: 0 }));
    let error = refused(&mut state, &delete_offsets("absent", &[]));
    assert_eq!(error.reason(), Reason::UnknownGroup);
    step(&mut state, "g", &[join("a", &["t"])]);
    assert_eq!(state.group("g").unwrap().offsets().len(), 2, "they stay");
    assert_eq!(
        refused(&mut state, &command).reason(),
        Reason::GroupNotEmpty
    );
    assert_eq!(
        refused(&mut state, &delete("g")).reason(),
        Reason::GroupNotEmpty
    );
    let forget = GroupCommand::ForgetTopics {
        topics: vec![TopicId(2), TopicId(8)],
    };
    assert_eq!(state.apply(&forget), Ok(Applied::Deleted { count: 1 }));
    assert_eq!(state.offset_topics(), [TopicId(1)].into());
    assert_restored(&state);
}

#[test]
fn a_group_that_is_created_again_does_not_know_its_former_members() {
    let mut state = CoordinatorState::default();
    step(&mut state, "g", &[join("a", &["t"])]);
    step(&mut state, "g", &[leave("a")]);
    assert_eq!(state.apply(&delete("g")), Ok(Applied::Done));
    assert_eq!((state.groups().len(), state.bytes()), (0, 0));
    assert_eq!(
        refused(&mut state, &delete("g")).reason(),
        Reason::UnknownGroup
    );
    assert_eq!(state.membership("g").generation, Generation(2));
    step(&mut state, "g", &[join("a", &["t"])]);
    assert_eq!(state.membership("g").generation, Generation(3));
    let former = commit(&mut state, by("a", 1, from_outside("g", at(1, 0), 5)));
    assert_eq!(former, Err(CommitError::NotAssigned));
    let present = commit(&mut state, by("a", 3, from_outside("g", at(1, 0), 5)));
    assert_eq!(present, Ok(()));
    assert_eq!(commit(&mut state, from_outside("h", at(1, 0), 5)), Ok(()));
    step(&mut state, "h", &[join("a", &["t"])]);
    assert_eq!(
        state.membership("h").generation,
        Generation(3),
        "above any deleted group"
    );
}

#[test]
fn unused_groups_expire() {
    let day = Duration::from_hours(24);
    let day_ms = 86_400_000;
    let mut state = CoordinatorState::default();
    step(&mut state, "busy", &[join("a", &["t"])]);
    step(&mut state, "left", &[join("a", &["t"])]);
    step(&mut state, "left", &[leave("a")]);
    assert_eq!(
        commit(&mut state, from_outside("offsets", at(1, 0), 5)),
        Ok(())
    );
    let later = OffsetCommit {
        committed_at_ms: 2000,
        ..from_outside("later", at(1, 0), 5)
    };
    assert_eq!(
        commit(&mut state, from_outside("later", at(1, 1), 5)),
        Ok(())
    );
    assert_eq!(commit(&mut state, later), Ok(()));
    assert_eq!(state.expired(1000 + day_ms, day), None);
    let command = state.expired(1001 + day_ms, day).unwrap();
    let names = |state: &CoordinatorState| -> Vec<String> {
        state.groups().map(|(name, _)| name.to_owned()).collect()
    };
    let mut other = state.clone();
    assert_eq!(state.apply(&command), Ok(Applied::Deleted { count: 2 }));
    assert_eq!(names(&state), ["busy", "later"]);
    step(&mut other, "left", &[join("b", &["t"])]);
    step(&mut other, "left", &[leave("b")]);
    let recent = OffsetCommit {
        committed_at_ms: 1_000_000,
        ..from_outside("offsets", at(1, 0), 6)
    };
    assert_eq!(commit(&mut other, recent), Ok(()));
    assert_eq!(
        other.apply(&command),
        Ok(Applied::Deleted { count: 0 }),
        "used meanwhile"
    );
    for n in 0..=GROUPS_EXPIRE_MAX_COUNT {
        assert_eq!(
            commit(&mut state, from_outside(&format!("e{n}"), at(1, 0), 5)),
            Ok(())
        );
    }
    let Some(GroupCommand::Expire { groups, .. }) = state.expired(1001 + day_ms, day) else {
        panic!("nothing expires");
    };
    assert_eq!(groups.len(), GROUPS_EXPIRE_MAX_COUNT);
    assert_restored(&state);
}

#[test]
fn groups_are_listed_in_pages() {
    let mut state = CoordinatorState::default();
    for name in ["b", "a", "c"] {
        assert_eq!(commit(&mut state, from_outside(name, at(1, 0), 5)), Ok(()));
    }
    let after = |name| -> Vec<&str> { state.groups_after(name).map(|(name, _)| name).collect() };
    assert_eq!(
        (after(""), after("a"), after("c")),
        (vec!["a", "b", "c"], vec!["b", "c"], vec![])
    );
}

fn field_of(result: CommitResult) -> String {
    match result {
        Err(CommitError::LimitExceeded { field, .. }) => field,
        result => panic!("{result:?}"),
    }
}

#[test]
fn the_state_has_limits() {
    let mut state = CoordinatorState::default();
    let long = |n: usize| OffsetCommit {
        metadata: "x".repeat(OFFSET_METADATA_MAX_BYTES),
        ..from_outside("g", at(1, u32::try_from(n).unwrap()), 1)
    };
    let too_long = OffsetCommit {
        metadata: "x".repeat(OFFSET_METADATA_MAX_BYTES + 1),
        ..long(0)
    };
    assert_eq!(
        field_of(commit(&mut state, too_long)),
        "metadata bytes of an offset"
    );
    assert_eq!(state, CoordinatorState::default());
    let fitting = GROUP_STATE_MAX_BYTES / OFFSET_METADATA_MAX_BYTES;
    let first_refused = (0..fitting).find(|n| commit(&mut state, long(*n)).is_err());
    let first_refused = first_refused.unwrap();
    assert_eq!(
        field_of(commit(&mut state, long(first_refused))),
        "bytes of the group"
    );
    assert_eq!(
        commit(&mut state, long(0)),
        Ok(()),
        "it takes no more than before"
    );
    assert_restored(&state);

    for n in 0..GROUP_OFFSETS_MAX_COUNT {
        let partition = at(1, u32::try_from(n).unwrap());
        assert_eq!(commit(&mut state, from_outside("h", partition, 1)), Ok(()));
    }
    let one_more = from_outside("h", at(2, 0), 1);
    assert_eq!(
        field_of(commit(&mut state, one_more)),
        "offsets of the group"
    );
    assert_restored(&state);
}

#[test]
fn partitions_can_move_while_commits_have_filled_the_state() {
    let mut state = CoordinatorState::default();
    step(&mut state, "g", &[join("a", &["t"])]);
    let refusal = (0..u32::MAX).find_map(|n| {
        let long = OffsetCommit {
            metadata: "x".repeat(OFFSET_METADATA_MAX_BYTES),
            ..from_outside(&format!("f{}", n / 1000), at(1, n % 1000), 1)
        };
        commit(&mut state, long).err()
    });
    assert_eq!(field_of(Err(refusal.unwrap())), "bytes of the coordinator");
    assert!(state.bytes() <= COORDINATOR_STATE_MAX_BYTES);
    let command = put(&state, "g", &[join("b", &["t"])]);
    assert_eq!(
        refused(&mut state, &command).reason(),
        Reason::LimitExceeded
    );
    let longer = MemberSpec {
        client_id: "a longer name".to_owned(),
        ..spec("a", &["t"])
    };
    let room = COORDINATOR_STATE_MAX_BYTES - state.bytes();
    assert!(room < 5000);
    let before = state.bytes();
    step(&mut state, "g", &[GroupEvent::Join(longer)]);
    assert!(state.bytes() > before);
    step(&mut state, "g", &[leave("a")]);
    assert!(state.bytes() < before);
}

#[test]
fn the_number_of_groups_is_bounded() {
    let mut state = CoordinatorState::default();
    for n in 0..COORDINATOR_GROUPS_MAX_COUNT {
        assert_eq!(
            commit(&mut state, from_outside(&format!("g{n}"), at(1, 0), 1)),
            Ok(())
        );
    }
    let one_more = commit(&mut state, from_outside("h", at(1, 0), 1));
    assert_eq!(field_of(one_more), "groups of the coordinator");
    let command = put(&state, "h", &[join("a", &["t"])]);
    assert_eq!(
        refused(&mut state, &command).field(),
        Some("groups of the coordinator")
    );
    step(&mut state, "g0", &[join("a", &["t"])]);
}

#[test]
fn malformed_and_newer_bytes_are_refused() {
    let command = delete("g");
    let bytes = command.encode().unwrap();
    assert_eq!(GroupCommand::decode(&bytes).unwrap(), command);
    let decode = |bytes: &[u8]| GroupCommand::decode(bytes).unwrap_err();
    assert!(matches!(decode(&[]), GroupCodecError::Empty));
    assert!(matches!(
        decode(&[2, 3, 0]),
        GroupCodecError::UnknownVersion { found: 2 }
    ));
    assert!(matches!(decode(&bytes[..2]), GroupCodecError::Malformed(_)));
    assert!(
        matches!(decode(&[1, 99]), GroupCodecError::Malformed(_)),
        "an unknown variant"
    );
    let trailing = [&bytes[..], &[0]].concat();
    assert!(matches!(
        decode(&trailing),
        GroupCodecError::TrailingBytes { count: 1 }
    ));
    let state = CoordinatorState::default().encode().unwrap();
    assert!(matches!(
        CoordinatorState::decode(&state[..1]).unwrap_err(),
        GroupCodecError::Malformed(_)
    ));
}

#[test]
fn the_bound_of_a_commit_is_above_its_size() {
    let greatest = OffsetCommit {
        group: "g".repeat(249),
        member: Some((id(&"m".repeat(64)), Generation(u64::MAX))),
        sequence: CommitSequence(u64::MAX),
        partition: at(u64::MAX, u32::MAX),
        offset: u64::MAX,
        metadata: "x".repeat(OFFSET_METADATA_MAX_BYTES),
        committed_at_ms: i64::MIN,
    };
    for commit in [greatest, from_outside("g", at(1, 0), 0)] {
        let bound = commit.encoded_max_bytes();
        let encoded = GroupCommand::Commit {
            commits: vec![commit],
        };
        assert!(encoded.encode().unwrap().len() <= bound);
    }
}

#[test]
fn a_late_duplicate_of_a_commit_does_not_set_the_offset_back() {
    let mut state = CoordinatorState::default();
    step(&mut state, "g", &[join("a", &["t"])]);
    assert_eq!(commit(&mut state, numbered("a", 1, 10)), Ok(()));
    assert_eq!(commit(&mut state, numbered("a", 1, 10)), Ok(()), "repeated");
    assert_eq!(commit(&mut state, numbered("a", 1, 20)), Ok(()));
    let last = CommitSequence(20);
    let superseded = Err(CommitError::Superseded { last });
    let late = numbered("a", 1, 10);
    assert_eq!(commit(&mut state, late.clone()), superseded);
    // The member may go back, with a later commit.
    let back = OffsetCommit {
        offset: 5,
        ..numbered("a", 1, 21)
    };
    assert_eq!(commit(&mut state, back), Ok(()));
    // A new leader has the state from its log or from a snapshot.
    state = CoordinatorState::decode(&state.encode().unwrap()).unwrap();
    assert!(commit(&mut state, late).is_err());
    assert_eq!(
        state.group("g").unwrap().offset(at(1, 0)).unwrap().offset,
        5
    );
    // Other partitions are not concerned: calls may overtake each other there.
    let other = OffsetCommit {
        partition: at(1, 1),
        ..numbered("a", 1, 10)
    };
    assert_eq!(commit(&mut state, other), Ok(()));
    assert_restored(&state);
}

#[test]
fn a_member_without_sequences_may_set_the_offset_back() {
    let mut state = CoordinatorState::default();
    step(&mut state, "g", &[join("a", &["t"])]);
    for offset in [20, 10] {
        let plain = by("a", 1, from_outside("g", at(1, 0), offset));
        assert_eq!(commit(&mut state, plain), Ok(()));
    }
    assert_eq!(commit(&mut state, numbered("a", 1, 30)), Ok(()));
    let plain = by("a", 1, from_outside("g", at(1, 0), 25));
    assert_eq!(commit(&mut state, plain), Ok(()));
    // It has not made numbers unknown.
    assert!(commit(&mut state, numbered("a", 1, 29)).is_err());
}

#[test]
fn the_next_owner_of_a_partition_counts_anew() {
    let mut state = CoordinatorState::default();
    step(&mut state, "g", &[join("a", &["t"])]);
    let greatest = CommitSequence::MAX.get();
    assert_eq!(commit(&mut state, numbered("a", 1, greatest)), Ok(()));
    let leave = |member| GroupEvent::Leave { member: id(member) };
    step(&mut state, "g", &[leave("a")]);
    assert_eq!(commit(&mut state, from_outside("g", at(1, 0), 3)), Ok(()));
    step(&mut state, "g", &[join("a", &["t"])]);
    assert_eq!(commit(&mut state, numbered("a", 3, 1)), Ok(()));
    let of_before = commit(&mut state, numbered("a", 1, greatest));
    assert_eq!(of_before, Err(CommitError::NotAssigned));
}

/// A membership at all limits of a group fits into a log entry.
#[test]
fn the_largest_membership_fits_into_an_entry() {
    let greatest = Generation(u64::MAX);
    let mut group = ConsumerGroup {
        generation: greatest,
        ..ConsumerGroup::default()
    };
    let topic = |n: usize| TopicId(u64::MAX - n as u64);
    for n in 0..GROUP_TOPICS_MAX_COUNT {
        let read = GroupTopic {
            id: topic(n),
            name: "t".repeat(TOPIC_NAME_MAX_BYTES),
            partition_count: u32::MAX,
        };
        group.topics.insert(read.id, read);
    }
    let text_bytes = GROUP_MEMBERS_MAX_BYTES / GROUP_MEMBERS_MAX_COUNT;
    for n in 0..GROUP_MEMBERS_MAX_COUNT {
        let name = format!("{n:064}");
        let long = "x".repeat(text_bytes - 2 * name.len());
        let member = Member {
            spec: MemberSpec {
                session_timeout_ms: u32::MAX,
                rebalance_timeout_ms: u32::MAX,
                ..instance(&name, &name, &[long.as_str()])
            },
            topics_hash: u64::MAX,
            changed_at: greatest,
            assigned: BTreeMap::new(),
            revoking: BTreeMap::new(),
            target: BTreeSet::new(),
        };
        group.members.insert(id(&name), member);
    }
    // Each partition moves from one member to another.
    for n in 0..GROUP_PARTITIONS_MAX_COUNT {
        let partition = at(topic(n).0, u32::MAX);
        let mut members = group.members.values_mut();
        members.next().unwrap().target.insert(partition);
        let revoking = Revoking {
            since: greatest,
            revoked_at: greatest,
        };
        members.next().unwrap().revoking.insert(partition, revoking);
    }
    let command = GroupCommand::PutMembership {
        group: "g".repeat(249),
        expected: greatest,
        membership: group,
    };
    let len = command.encode().unwrap().len();
    assert!(len <= BATCH_LEVEL_1_MAX_BYTES, "{len}");
}
