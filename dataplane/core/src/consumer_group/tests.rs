mod coordinator;
mod division;
mod model;
mod sessions;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::ids::PartitionId;
use crate::metadata::TopicId;

/// Topics by id: name and number of partitions. A pattern of a subscription is a prefix here.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    pub(super) existing: BTreeMap<u64, (String, u32)>,
    pub(super) deleted: BTreeSet<u64>,
}

impl Topics {
    /// Topics with ids from 1.
    pub(super) fn new(topics: &[(&str, u32)]) -> Self {
        let numbered = (1..).zip(topics);
        let existing = numbered.map(|(id, (name, count))| (id, ((*name).to_owned(), *count)));
        Self {
            existing: existing.collect(),
            deleted: BTreeSet::new(),
        }
    }

    pub(super) fn delete(&mut self, id: u64) {
        self.existing.remove(&id);
        self.deleted.insert(id);
    }
}

impl TopicLookup for Topics {
    fn subscribed(&self, spec: &MemberSpec) -> Vec<GroupTopic> {
        let Subscription { topics, pattern } = &spec.subscription;
        let is_read = |name: &str| {
            topics.contains(name) || pattern.as_ref().is_some_and(|p| name.starts_with(p))
        };
        let read = self.existing.iter().filter(|(_, (name, _))| is_read(name));
        read.map(|(id, (name, partition_count))| GroupTopic {
            id: TopicId(*id),
            name: name.clone(),
            partition_count: *partition_count,
        })
        .collect()
    }

    fn is_deleted(&self, topic: TopicId) -> bool {
        self.deleted.contains(&topic.0)
    }
}

pub(super) fn id(text: &str) -> MemberId {
    text.parse().unwrap()
}

pub(super) fn at(topic: u64, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: TopicId(topic),
        partition: PartitionId(partition),
    }
}

pub(super) fn spec(member: &str, topics: &[&str]) -> MemberSpec {
    MemberSpec {
        id: id(member),
        principal: "user/app".to_owned(),
        client_id: "test".to_owned(),
        instance_id: None,
        subscription: Subscription {
            topics: topics.iter().map(|name| (*name).to_owned()).collect(),
            pattern: None,
        },
        assignor: Assignor::Sticky,
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
    }
}

pub(super) fn instance(member: &str, instance_id: &str, topics: &[&str]) -> MemberSpec {
    MemberSpec {
        instance_id: Some(instance_id.to_owned()),
        ..spec(member, topics)
    }
}

pub(super) fn join(member: &str, topics: &[&str]) -> GroupEvent {
    GroupEvent::Join(spec(member, topics))
}

pub(super) fn leave(member: &str) -> GroupEvent {
    let member = id(member);
    GroupEvent::Leave { member }
}

pub(super) fn acknowledge(member: &str, generation: u64) -> GroupEvent {
    GroupEvent::Acknowledge {
        member: id(member),
        generation: Generation(generation),
    }
}

/// Takes events of which none is refused, and returns whether the group changed.
pub(super) fn take(group: &mut ConsumerGroup, topics: &Topics, events: &[GroupEvent]) -> bool {
    let stepped = group.step(events, topics, 0);
    assert!(stepped.outcomes.iter().all(Result::is_ok), "{stepped:?}");
    let has_changed = stepped.group.is_some();
    *group = stepped.group.unwrap_or_else(|| group.clone());
    has_changed
}

/// Lets all members acknowledge until nothing moves.
pub(super) fn settle(group: &mut ConsumerGroup, topics: &Topics) {
    for _ in 0..10 {
        let members: Vec<_> = group.members.keys().cloned().collect();
        let generation = group.generation;
        let acknowledge = |member| GroupEvent::Acknowledge { member, generation };
        let events: Vec<_> = members.into_iter().map(acknowledge).collect();
        if !take(group, topics, &events) {
            return;
        }
    }
    panic!("partitions never settle: {group:?}");
}

/// The numbers of the partitions that a member reads, of all topics in order.
pub(super) fn read(group: &ConsumerGroup, member: &str) -> Vec<u32> {
    let assignment = group.reply(&id(member)).unwrap();
    let partitions = assignment.partitions.keys();
    partitions.map(|p| p.partition.get()).collect()
}
