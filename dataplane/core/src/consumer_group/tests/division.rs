use proptest::prelude::*;

use super::*;

/// The topics of these tests, with ids from 1.
const NAMES: [&str; 4] = ["t", "u", "v", "w"];

/// A change of a group.
#[derive(Clone, Debug)]
enum Change {
    Join {
        member: u8,
        topics: Vec<&'static str>,
    },
    Leave {
        member: u8,
    },
    Grow {
        topic: u64,
        by: u32,
    },
}

fn change(topics: BoxedStrategy<Vec<&'static str>>) -> impl Strategy<Value = Change> {
    let join = (0..8_u8, topics).prop_map(|(member, topics)| Change::Join { member, topics });
    prop_oneof![
        4 => join,
        2 => (0..8_u8).prop_map(|member| Change::Leave { member }),
        1 => (1..5_u64, 1..4_u32).prop_map(|(topic, by)| Change::Grow { topic, by }),
    ]
}

fn all_topics() -> BoxedStrategy<Vec<&'static str>> {
    Just(NAMES.to_vec()).boxed()
}

fn some_topics() -> BoxedStrategy<Vec<&'static str>> {
    prop::sample::subsequence(NAMES.to_vec(), 1..=4).boxed()
}

fn counts() -> impl Strategy<Value = [u32; 4]> {
    prop::array::uniform4(1..12_u32)
}

fn world(counts: [u32; 4]) -> Topics {
    let named: Vec<_> = NAMES.into_iter().zip(counts).collect();
    Topics::new(&named)
}

/// Makes the change and returns whether it changed the group; nothing has been given up yet.
fn make(group: &mut ConsumerGroup, topics: &mut Topics, change: &Change, range: bool) -> bool {
    let event = match change {
        Change::Join { member, topics } => {
            let assignor = if range {
                Assignor::Range
            } else {
                Assignor::Sticky
            };
            let spec = spec(&format!("m{member}"), topics);
            GroupEvent::Join(MemberSpec { assignor, ..spec })
        }
        Change::Leave { member } if group.members.contains_key(&id(&format!("m{member}"))) => {
            leave(&format!("m{member}"))
        }
        Change::Leave { .. } => return false,
        Change::Grow { topic, by } => {
            topics.existing.get_mut(topic).unwrap().1 += by;
            GroupEvent::TopicsChanged
        }
    };
    take(group, topics, &[event])
}

/// Every partition of a topic that a member reads has one target, which reads the topic.
fn assert_complete(group: &ConsumerGroup, topics: &Topics) {
    let mut targets = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    for member in group.members.values() {
        let read = topics.subscribed(&member.spec);
        wanted.extend(read.iter().flat_map(GroupTopic::partitions));
        for partition in &member.target {
            assert!(read.iter().any(|topic| topic.id == partition.topic));
            assert!(targets.insert(*partition), "{partition:?} has two targets");
        }
    }
    assert_eq!(targets, wanted);
}

/// No partition could make the division more even by a move to another reader of its topic.
pub(super) fn assert_even(group: &ConsumerGroup, topics: &Topics) {
    for giver in group.members.values() {
        for getter in group.members.values() {
            let read = topics.subscribed(&getter.spec);
            let may_get = |p: &TopicPartition| read.iter().any(|topic| topic.id == p.topic);
            if giver.target.iter().any(may_get) {
                assert!(
                    giver.target.len() <= getter.target.len() + 1,
                    "{} has {} and {} has {}",
                    giver.spec.id,
                    giver.target.len(),
                    getter.spec.id,
                    getter.target.len()
                );
            }
        }
    }
}

/// The greatest load of the most even division, by the flow through an augmenting-path search that
/// knows nothing of the code under test.
fn least_greatest_load(group: &ConsumerGroup, topics: &Topics) -> usize {
    let readers: Vec<Vec<bool>> = topics
        .existing
        .keys()
        .map(|topic| {
            let members = group.members.values();
            let reads = |m: &Member| topics.subscribed(&m.spec).iter().any(|t| t.id.0 == *topic);
            members.map(reads).collect()
        })
        .collect();
    let partitions: Vec<usize> = topics
        .existing
        .values()
        .enumerate()
        .flat_map(|(topic, (_, count))| vec![topic; *count as usize])
        .filter(|topic| readers[*topic].contains(&true))
        .collect();
    let mut caps = 0..=partitions.len();
    caps.find(|cap| fits(&partitions, &readers, *cap)).unwrap()
}

fn fits(partitions: &[usize], readers: &[Vec<bool>], cap: usize) -> bool {
    let members = readers.first().map_or(0, Vec::len);
    let mut given: Vec<Vec<usize>> = vec![Vec::new(); members];
    partitions.iter().all(|topic| {
        let mut seen = vec![false; members];
        place(*topic, readers, cap, &mut given, &mut seen)
    })
}

fn place(
    topic: usize,
    readers: &[Vec<bool>],
    cap: usize,
    given: &mut [Vec<usize>],
    seen: &mut [bool],
) -> bool {
    for member in 0..given.len() {
        if !readers[topic][member] || std::mem::replace(&mut seen[member], true) {
            continue;
        }
        if given[member].len() < cap {
            given[member].push(topic);
            return true;
        }
        for at in 0..given[member].len() {
            let other = given[member][at];
            if place(other, readers, cap, given, seen) {
                given[member][at] = topic;
                return true;
            }
        }
    }
    false
}

fn targets(group: &ConsumerGroup) -> BTreeMap<TopicPartition, MemberId> {
    let members = group.members.iter();
    let of = |(id, member): (&MemberId, &Member)| {
        let partitions: Vec<_> = member.target.iter().copied().collect();
        partitions
            .into_iter()
            .map(|p| (p, id.clone()))
            .collect::<Vec<_>>()
    };
    members.flat_map(of).collect()
}

/// Checks what a change may move if all members read the same topics.
fn assert_sticky(change: &Change, before: &ConsumerGroup, after: &ConsumerGroup) {
    let former = targets(before);
    let moved: Vec<_> = targets(after)
        .into_iter()
        .filter(|(p, member)| former.get(p).is_some_and(|former| former != member))
        .collect();
    match change {
        Change::Join { .. } => {
            let share = former.len().div_ceil(after.members.len());
            assert!(moved.len() <= share, "{} of {share} moved", moved.len());
            let joined = |id: &MemberId| !before.members.contains_key(id);
            assert!(
                moved.iter().all(|(_, member)| joined(member)),
                "moved between others"
            );
        }
        Change::Leave { .. } => {
            let left = |p| !after.members.contains_key(&former[p]);
            assert!(
                moved.iter().all(|(p, _)| left(p)),
                "moved from a member that stays"
            );
        }
        // The partitions are new, but one member may have one too many for the new quota.
        Change::Grow { .. } => assert!(moved.is_empty()),
    }
}

proptest! {
    #[test]
    fn equal_subscriptions_are_divided_evenly_and_little_moves(
        counts in counts(),
        changes in prop::collection::vec(change(all_topics()), 1..30),
        has_settled in any::<bool>(),
    ) {
        let mut topics = world(counts);
        let mut group = ConsumerGroup::default();
        for change in changes {
            let before = group.clone();
            if make(&mut group, &mut topics, &change, false) && !group.members.is_empty() {
                assert_complete(&group, &topics);
                let loads = group.members.values().map(|member| member.target.len());
                let (least, most) = (loads.clone().min().unwrap(), loads.max().unwrap());
                prop_assert!(most - least <= 1, "{} to {}", least, most);
                assert_sticky(&change, &before, &group);
            }
            if has_settled {
                settle(&mut group, &topics);
                prop_assert_ne!(group.state(), GroupState::Rebalancing);
            }
        }
    }

    #[test]
    fn different_subscriptions_are_divided_as_evenly_as_they_can_be(
        counts in counts(),
        changes in prop::collection::vec(change(some_topics()), 1..20),
    ) {
        let mut topics = world(counts);
        let mut group = ConsumerGroup::default();
        for change in changes {
            make(&mut group, &mut topics, &change, false);
            assert_complete(&group, &topics);
            assert_even(&group, &topics);
            settle(&mut group, &topics);
            prop_assert!(!take(&mut group, &topics, &[GroupEvent::TopicsChanged]));
        }
        let most = group.members.values().map(|member| member.target.len()).max();
        prop_assert_eq!(most.unwrap_or(0), least_greatest_load(&group, &topics));
    }

    #[test]
    fn ranges_are_complete_and_contiguous(
        counts in counts(),
        changes in prop::collection::vec(change(some_topics()), 1..20),
    ) {
        let mut topics = world(counts);
        let mut group = ConsumerGroup::default();
        for change in changes {
            make(&mut group, &mut topics, &change, true);
            assert_complete(&group, &topics);
            for member in group.members.values() {
                for topic in group.topics.keys() {
                    let of = member.target.range(TopicPartition::range_of(*topic));
                    let numbers: Vec<_> = of.map(|p| p.partition.get()).collect();
                    let gaps = numbers.windows(2).filter(|pair| pair[0] + 1 != pair[1]);
                    prop_assert_eq!(gaps.count(), 0);
                }
            }
            settle(&mut group, &topics);
        }
    }
}

/// Members with many different subscriptions: the work is bounded, the division complete.
#[test]
fn the_work_of_dividing_is_bounded() {
    let names: Vec<_> = (0..60).map(|n| format!("t{n}")).collect();
    let counted: Vec<_> = names.iter().map(|name| (name.as_str(), 100)).collect();
    let topics = Topics::new(&counted);
    let joins: Vec<_> = (0..60)
        .map(|n| {
            let read: Vec<_> = names[n / 2..].iter().map(String::as_str).collect();
            join(&format!("m{n}"), &read)
        })
        .collect();
    let mut group = ConsumerGroup::default();
    take(&mut group, &topics, &joins);
    assert_complete(&group, &topics);
}
