use super::*;
use crate::limits::{GROUP_MEMBERS_MAX_COUNT, GROUP_PARTITIONS_MAX_COUNT, GROUP_TOPICS_MAX_COUNT};
use crate::reason::Reason;

const T: &[&str] = &["t"];

fn refused(group: &ConsumerGroup, topics: &Topics, event: GroupEvent) -> GroupError {
    let stepped = group.step(&[event], topics, 0);
    assert_eq!(stepped.group, None, "a refused event changed the group");
    stepped.outcomes[0].clone().unwrap_err()
}

/// A group of `a` and `b` in which each reads two of the four partitions of `t`.
fn pair(topics: &Topics) -> ConsumerGroup {
    let mut group = ConsumerGroup::default();
    take(&mut group, topics, &[join("a", T)]);
    take(&mut group, topics, &[join("b", T)]);
    settle(&mut group, topics);
    assert_eq!(
        (read(&group, "a"), read(&group, "b")),
        (vec![0, 1], vec![2, 3])
    );
    group
}

#[test]
fn a_partition_moves_only_after_its_member_has_given_it_up() {
    let topics = Topics::new(&[("t", 4)]);
    let mut group = ConsumerGroup::default();
    assert_eq!(group.state(), GroupState::Empty);
    take(&mut group, &topics, &[join("a", T)]);
    assert_eq!(
        (group.generation, group.state()),
        (Generation(1), GroupState::Stable)
    );
    assert_eq!(read(&group, "a"), [0, 1, 2, 3]);

    take(&mut group, &topics, &[join("b", T)]);
    assert_eq!(
        (group.generation, group.state()),
        (Generation(2), GroupState::Rebalancing)
    );
    assert_eq!((read(&group, "a"), read(&group, "b")), (vec![0, 1], vec![]));
    assert!(group.reply(&id("b")).unwrap().is_incomplete);
    assert!(!group.reply(&id("a")).unwrap().is_incomplete);
    assert!(group.has_news(&id("a"), Generation(1)));
    assert!(!group.has_news(&id("a"), Generation(2)));

    assert!(
        !group.needs(&id("a"), Generation(1)),
        "of a reply with these partitions"
    );
    assert!(
        !group.needs(&id("a"), Generation(3)),
        "no reply has had this generation"
    );
    assert!(
        !group.needs(&id("b"), Generation(2)),
        "b has nothing to give up"
    );
    for (member, generation) in [("a", 1), ("a", 3), ("b", 2)] {
        assert!(!take(
            &mut group,
            &topics,
            &[acknowledge(member, generation)]
        ));
    }
    assert!(group.needs(&id("a"), Generation(2)));
    take(&mut group, &topics, &[acknowledge("a", 2)]);
    assert_eq!(
        (group.generation, group.state()),
        (Generation(3), GroupState::Stable)
    );
    assert_eq!(
        (read(&group, "a"), read(&group, "b")),
        (vec![0, 1], vec![2, 3])
    );
    let since: Vec<_> = group
        .reply(&id("b"))
        .unwrap()
        .partitions
        .into_values()
        .collect();
    assert_eq!(since, [Generation(3), Generation(3)]);
    assert!(group.has_news(&id("b"), Generation(2)));
    assert!(
        !group.has_news(&id("a"), Generation(2)),
        "a is not disturbed"
    );
    assert!(
        group.has_news(&id("a"), Generation(9)),
        "a generation of no reply"
    );
}

#[test]
fn a_commit_is_accepted_from_the_member_that_has_the_partition() {
    let topics = Topics::new(&[("t", 4)]);
    let mut group = ConsumerGroup::default();
    take(&mut group, &topics, &[join("a", T)]);
    take(&mut group, &topics, &[join("b", T)]);
    let check = |group: &ConsumerGroup, member: &str, generation, partition| {
        group.check_commit(&id(member), Generation(generation), at(1, partition))
    };
    let not_assigned = Err(CommitError::NotAssigned);
    assert_eq!(check(&group, "a", 1, 0), Ok(Generation(1)));
    let still_has = Ok(Generation(1));
    assert_eq!(check(&group, "a", 1, 2), still_has, "a is giving it up");
    assert_eq!(check(&group, "a", 0, 2), not_assigned, "before a had it");
    assert_eq!(
        check(&group, "a", 3, 2),
        not_assigned,
        "a generation of no reply"
    );
    assert_eq!(
        check(&group, "b", 2, 2),
        not_assigned,
        "b does not have it yet"
    );
    assert_eq!(check(&group, "x", 2, 2), Err(CommitError::UnknownMember));

    take(&mut group, &topics, &[acknowledge("a", 2)]);
    assert_eq!(check(&group, "a", 1, 2), not_assigned, "a has given it up");
    assert_eq!(check(&group, "a", 3, 2), not_assigned);
    assert_eq!(
        check(&group, "a", 1, 0),
        Ok(Generation(1)),
        "a has it since generation 1"
    );
    assert_eq!(
        check(&group, "b", 2, 2),
        not_assigned,
        "b has it since generation 3"
    );
    assert_eq!(check(&group, "b", 3, 2), Ok(Generation(3)));

    take(&mut group, &topics, &[leave("b")]);
    assert_eq!(check(&group, "b", 3, 2), Err(CommitError::UnknownMember));
    assert_eq!(
        check(&group, "a", 3, 2),
        not_assigned,
        "a has it again, since generation 4"
    );
    assert_eq!(check(&group, "a", 4, 2), Ok(Generation(4)));
}

#[test]
fn partitions_of_a_member_that_leaves_are_free_at_once() {
    let topics = Topics::new(&[("t", 4)]);
    let mut group = pair(&topics);
    let stepped = group.step(&[leave("a")], &topics, 7);
    group = stepped.group.unwrap();
    assert_eq!(
        (read(&group, "b"), group.state()),
        (vec![0, 1, 2, 3], GroupState::Stable)
    );
    assert_eq!(group.empty_since_ms, None);
    let error = refused(&group, &topics, leave("a"));
    assert_eq!(error.reason(), Reason::UnknownMember);
    group = group.step(&[leave("b")], &topics, 8).group.unwrap();
    assert_eq!(
        (group.state(), group.empty_since_ms),
        (GroupState::Empty, Some(8))
    );
    assert!(group.topics.is_empty());
}

#[test]
fn a_partition_that_its_member_gets_back_is_given_up_first() {
    let topics = Topics::new(&[("t", 4)]);
    let mut group = ConsumerGroup::default();
    take(&mut group, &topics, &[join("a", T)]);
    take(&mut group, &topics, &[join("b", T)]);
    take(&mut group, &topics, &[leave("b")]);
    assert_eq!(
        (group.generation, read(&group, "a")),
        (Generation(3), vec![0, 1])
    );
    assert!(group.reply(&id("a")).unwrap().is_incomplete);
    assert_eq!(
        group.check_commit(&id("a"), Generation(1), at(1, 2)),
        Ok(Generation(1))
    );
    take(&mut group, &topics, &[acknowledge("a", 2)]);
    let partitions = group.reply(&id("a")).unwrap().partitions;
    assert_eq!(
        (partitions[&at(1, 0)], partitions[&at(1, 2)]),
        (Generation(1), Generation(4))
    );
    assert_eq!(group.state(), GroupState::Stable);
}

#[test]
fn a_member_that_joins_again_stays_the_same() {
    let topics = Topics::new(&[("t", 4), ("u", 2)]);
    let mut group = pair(&topics);
    assert!(
        !take(&mut group, &topics, &[join("a", T)]),
        "nothing changed"
    );
    let before = group.clone();
    let renamed = MemberSpec {
        client_id: "other".to_owned(),
        ..spec("a", T)
    };
    assert!(take(&mut group, &topics, &[GroupEvent::Join(renamed)]));
    assert_eq!(group.generation, before.generation.next());
    assert_eq!(
        group.members[&id("a")].assigned,
        before.members[&id("a")].assigned
    );
    assert!(!group.has_news(&id("a"), before.generation));
    take(&mut group, &topics, &[join("a", &["t", "u"])]);
    settle(&mut group, &topics);
    assert_eq!((read(&group, "a").len(), read(&group, "b").len()), (3, 3));
}

#[test]
fn a_member_with_the_same_instance_id_takes_over_at_once() {
    let topics = Topics::new(&[("t", 4)]);
    let mut group = ConsumerGroup::default();
    let first = GroupEvent::Join(instance("a1", "a", T));
    take(&mut group, &topics, &[first, join("b", T)]);
    let had = group.members[&id("a1")].assigned.clone();
    let bs = group.members[&id("b")].assigned.clone();
    take(
        &mut group,
        &topics,
        &[GroupEvent::Join(instance("a2", "a", T))],
    );
    let has = &group.members[&id("a2")].assigned;
    assert!(has.keys().eq(had.keys()) && has.values().all(|since| *since == group.generation));
    assert_eq!(
        group.members[&id("b")].assigned,
        bs,
        "others are not disturbed"
    );
    assert_eq!(
        (group.state(), group.members.len()),
        (GroupState::Stable, 2)
    );
    let (partition, since) = had.first_key_value().unwrap();
    let commit = group.check_commit(&id("a1"), *since, *partition);
    assert_eq!(commit, Err(CommitError::UnknownMember));
    let commit = group.check_commit(&id("a2"), *since, *partition);
    assert_eq!(commit, Err(CommitError::NotAssigned));
}

#[test]
fn a_replaced_member_gives_up_nothing_any_more() {
    let topics = Topics::new(&[("t", 4)]);
    let mut group = ConsumerGroup::default();
    take(
        &mut group,
        &topics,
        &[GroupEvent::Join(instance("a1", "a", T))],
    );
    take(&mut group, &topics, &[join("b", T)]);
    assert!(read(&group, "b").is_empty());
    take(
        &mut group,
        &topics,
        &[GroupEvent::Join(instance("a2", "a", T))],
    );
    assert_eq!((read(&group, "a2").len(), read(&group, "b").len()), (2, 2));
    assert_eq!(group.state(), GroupState::Stable);
}

#[test]
fn members_belong_to_their_principal() {
    let topics = Topics::new(&[("t", 4)]);
    let mut group = ConsumerGroup::default();
    take(
        &mut group,
        &topics,
        &[GroupEvent::Join(instance("a", "i", T))],
    );
    let foreign = |spec: MemberSpec| {
        GroupEvent::Join(MemberSpec {
            principal: "user/other".to_owned(),
            ..spec
        })
    };
    let error = refused(&group, &topics, foreign(instance("a", "i", T)));
    assert_eq!(error.reason(), Reason::UnknownMember);
    let error = refused(&group, &topics, foreign(instance("x", "i", T)));
    assert_eq!(error.field(), Some("instance_id"));
    let error = refused(&group, &topics, GroupEvent::Join(instance("a", "other", T)));
    assert_eq!(
        (error.reason(), error.field()),
        (Reason::InvalidArgument, Some("instance_id"))
    );

    let reason = |member: &str, instance_id, principal| {
        let caller = group.caller(&id(member), instance_id, principal);
        caller
            .map(|member| member.spec.id.clone())
            .map_err(|error| error.reason())
    };
    assert_eq!(reason("a", Some("i"), "user/app"), Ok(id("a")));
    assert_eq!(
        reason("a", Some("i"), "user/other"),
        Err(Reason::UnknownMember)
    );
    assert_eq!(
        reason("old", Some("i"), "user/app"),
        Err(Reason::MemberReplaced)
    );
    assert_eq!(
        reason("old", Some("i"), "user/other"),
        Err(Reason::UnknownMember)
    );
    assert_eq!(
        reason("old", Some("x"), "user/app"),
        Err(Reason::UnknownMember)
    );
    assert_eq!(reason("old", None, "user/app"), Err(Reason::UnknownMember));
}

#[test]
fn topics_that_grow_or_appear_are_divided() {
    let mut topics = Topics::new(&[("t", 4)]);
    let mut group = pair(&topics);
    let pattern = MemberSpec {
        subscription: Subscription {
            topics: BTreeSet::new(),
            pattern: Some("t".to_owned()),
        },
        ..spec("b", T)
    };
    take(&mut group, &topics, &[GroupEvent::Join(pattern)]);
    assert!(!group.topics_differ(&topics));
    topics.existing.insert(1, ("t".to_owned(), 6));
    topics.existing.insert(2, ("t2".to_owned(), 1));
    assert!(group.topics_differ(&topics));
    let before = group.clone();
    take(&mut group, &topics, &[GroupEvent::TopicsChanged]);
    assert!(!group.topics_differ(&topics));
    assert_eq!(group.state(), GroupState::Stable, "nothing has to move");
    assert_eq!((read(&group, "a").len(), read(&group, "b").len()), (4, 3));
    assert!(group.members[&id("b")].assigned.contains_key(&at(2, 0)));
    for (member, former) in group.members.values().zip(before.members.values()) {
        assert!(
            former
                .assigned
                .iter()
                .all(|kept| member.assigned.get(kept.0) == Some(kept.1))
        );
    }
}

#[test]
fn partitions_of_a_deleted_topic_leave_at_once() {
    let mut topics = Topics::new(&[("t", 4), ("u", 2)]);
    let mut group = ConsumerGroup::default();
    take(&mut group, &topics, &[join("a", &["t", "u"])]);
    take(&mut group, &topics, &[join("b", &["t", "u"])]);
    topics.delete(1);
    assert!(group.topics_differ(&topics));
    take(&mut group, &topics, &[GroupEvent::TopicsChanged]);
    let has = |topic| {
        group
            .members
            .values()
            .any(|m| m.has(at(topic, 0)) || m.has(at(topic, 3)))
    };
    assert!(!has(1) && has(2));
    assert!(!group.topics_differ(&topics));
    topics.existing.insert(3, ("t".to_owned(), 4));
    take(&mut group, &topics, &[GroupEvent::TopicsChanged]);
    settle(&mut group, &topics);
    assert_eq!((read(&group, "a").len(), read(&group, "b").len()), (3, 3));
}

#[test]
fn partitions_that_nobody_wants_any_more_are_given_up() {
    let topics = Topics::new(&[("t", 2), ("u", 2)]);
    let mut group = ConsumerGroup::default();
    take(&mut group, &topics, &[join("a", &["t", "u"])]);
    take(&mut group, &topics, &[join("a", T)]);
    assert_eq!(
        (read(&group, "a"), group.state()),
        (vec![0, 1], GroupState::Rebalancing)
    );
    assert_eq!(
        group.check_commit(&id("a"), Generation(1), at(2, 0)),
        Ok(Generation(1))
    );
    assert!(!group.topics_differ(&topics));
    take(&mut group, &topics, &[join("b", &["u"])]);
    assert!(read(&group, "b").is_empty(), "a may still read them");
    settle(&mut group, &topics);
    assert_eq!(
        (read(&group, "a"), read(&group, "b")),
        (vec![0, 1], vec![0, 1])
    );
}

#[test]
fn range_gives_the_same_partitions_of_all_topics_to_a_member() {
    let topics = Topics::new(&[("t", 5), ("u", 5)]);
    let mut group = ConsumerGroup::default();
    let range = |member, instance_id| {
        GroupEvent::Join(MemberSpec {
            assignor: Assignor::Range,
            ..instance(member, instance_id, &["t", "u"])
        })
    };
    take(&mut group, &topics, &[range("z", "1"), range("y", "2")]);
    assert_eq!(group.assignor(), Assignor::Range);
    let members = |group: &ConsumerGroup| (read(group, "z"), read(group, "y"));
    assert_eq!(members(&group), (vec![0, 1, 2, 0, 1, 2], vec![3, 4, 3, 4]));
    take(&mut group, &topics, &[range("a", "2")]);
    assert_eq!(
        read(&group, "a"),
        [3, 4, 3, 4],
        "a restarted member keeps its place"
    );
    let sticky = MemberSpec {
        assignor: Assignor::Sticky,
        ..instance("a", "2", &["t", "u"])
    };
    take(&mut group, &topics, &[GroupEvent::Join(sticky)]);
    assert_eq!(
        group.assignor(),
        Assignor::Sticky,
        "as many members want each"
    );
}

#[test]
fn events_of_one_step_are_taken_in_order() {
    let topics = Topics::new(&[("t", 4)]);
    let group = pair(&topics);
    let events = [leave("a"), acknowledge("a", 1), join("a", T), join("c", T)];
    let stepped = group.step(&events, &topics, 0);
    let refusals: Vec<_> = stepped.outcomes.iter().map(Result::is_err).collect();
    assert_eq!(refusals, [false, true, false, false]);
    let next = stepped.group.unwrap();
    assert_eq!(
        (next.generation, next.members.len()),
        (group.generation.next(), 3)
    );
    for (partition, since) in &next.members[&id("a")].assigned {
        assert_eq!(*since, next.generation, "{partition:?} of a new member");
    }
    let alone = ConsumerGroup::default();
    assert_eq!(alone.step(&[leave("a")], &topics, 0).group, None);
    assert_eq!(
        alone.step(&[GroupEvent::TopicsChanged], &topics, 0).group,
        None
    );
    assert_eq!(
        alone.step(&[join("a", T), leave("a")], &topics, 0).group,
        None
    );
}

#[test]
fn descriptions_of_members_are_checked() {
    let good = instance("a", "i", T);
    assert_eq!(good.validate(), Ok(()));
    let with = |change: fn(&mut MemberSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        let error = spec.validate().unwrap_err();
        assert!(error.bound().is_some(), "{error}");
        error.field().unwrap().to_owned()
    };
    assert_eq!(with(|s| s.instance_id = Some(String::new())), "instance_id");
    assert_eq!(
        with(|s| s.instance_id = Some("a b".to_owned())),
        "instance_id"
    );
    assert_eq!(with(|s| s.client_id = "x".repeat(65)), "client_id");
    assert_eq!(with(|s| s.subscription.topics.clear()), "topics");
    assert_eq!(
        with(|s| s.subscription.topics = ["..".to_owned()].into()),
        "topics"
    );
    assert_eq!(
        with(|s| s.subscription.pattern = Some("x".repeat(257))),
        "topic_pattern"
    );
    assert_eq!(with(|s| s.session_timeout_ms = 999), "session_timeout_ms");
    assert_eq!(
        with(|s| s.rebalance_timeout_ms = 1_800_001),
        "rebalance_timeout_ms"
    );
    let many = (0..1001).map(|n| n.to_string()).collect();
    let mut spec = good.clone();
    spec.subscription.topics = many;
    assert_eq!(spec.validate().unwrap_err().reason(), Reason::LimitExceeded);
    assert!("x".repeat(64).parse::<MemberId>().is_ok());
    for bad in ["", ".", "..", "a/b", "ü", &"x".repeat(65)] {
        assert!(bad.parse::<MemberId>().is_err(), "{bad}");
    }
    assert!(validate_group_name(&"x".repeat(249)).is_ok());
    assert!(validate_group_name(&"x".repeat(250)).is_err());
}

#[test]
fn a_group_has_limits() {
    let topics = Topics::new(&[("t", 4)]);
    let group = ConsumerGroup::default();
    let names: Vec<_> = (0..=GROUP_MEMBERS_MAX_COUNT)
        .map(|n| n.to_string())
        .collect();
    let joins: Vec<_> = names.iter().map(|name| join(name, T)).collect();
    let stepped = group.step(&joins, &topics, 0);
    let (last, others) = stepped.outcomes.split_last().unwrap();
    assert!(others.iter().all(Result::is_ok));
    let error = last.clone().unwrap_err();
    assert_eq!(error.field(), Some("members of the group"));
    let full = stepped.group.unwrap();
    assert_eq!(full.members.len(), GROUP_MEMBERS_MAX_COUNT);
    assert!(
        !take(&mut full.clone(), &topics, &[join("7", T)]),
        "a member may join again"
    );

    let long: Vec<_> = (0..1000).map(|n| format!("{n:0249}")).collect();
    let long: Vec<_> = long.iter().map(String::as_str).collect();
    let joins: Vec<_> = ["a", "b", "c"].map(|name| join(name, &long)).to_vec();
    let stepped = group.step(&joins, &topics, 0);
    assert_eq!(stepped.outcomes[..2], [Ok(()), Ok(())]);
    let error = stepped.outcomes[2].clone().unwrap_err();
    assert_eq!(error.field(), Some("member bytes of the group"));
}

#[test]
fn a_group_reads_no_more_partitions_than_its_limit() {
    let max = u32::try_from(GROUP_PARTITIONS_MAX_COUNT).unwrap();
    let mut topics = Topics::new(&[("t", 4), ("t2", max), ("u", max - 4)]);
    let mut group = ConsumerGroup::default();
    let error = refused(&group, &topics, join("a", &["t", "t2"]));
    assert_eq!(error.field(), Some("partitions of the group"));
    take(&mut group, &topics, &[join("a", &["t", "u"])]);
    topics.existing.insert(1, ("t".to_owned(), 5));
    let stepped = group.step(&[GroupEvent::TopicsChanged], &topics, 0);
    assert_eq!(
        stepped.outcomes[0].clone().unwrap_err().reason(),
        Reason::LimitExceeded
    );
    assert_eq!(stepped.group, None);
    assert!(
        !group.topics_differ(&topics),
        "it is not tried over and over"
    );
    take(&mut group, &topics, &[join("b", &["t"])]);
    assert_eq!(group.topics[&TopicId(1)].partition_count, 4);
    let error = refused(&group, &topics, join("c", &["t2"]));
    assert_eq!(error.field(), Some("partitions of the group"));
    take(&mut group, &topics, &[leave("a")]);
    assert_eq!(read(&group, "b").len(), 5, "there is room now");

    let names: Vec<_> = (0..=GROUP_TOPICS_MAX_COUNT)
        .map(|n| format!("p{n}"))
        .collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let topics = Topics::new(&many);
    let pattern = MemberSpec {
        subscription: Subscription {
            topics: BTreeSet::new(),
            pattern: Some("p".to_owned()),
        },
        ..spec("a", T)
    };
    let error = refused(
        &ConsumerGroup::default(),
        &topics,
        GroupEvent::Join(pattern),
    );
    assert_eq!(error.field(), Some("topics of the group"));
}
