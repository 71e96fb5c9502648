//! The topics that the subscriptions of a group's members match at present.

use std::collections::{BTreeMap, BTreeSet};

use twox_hash::XxHash64;

use super::member::{GroupTopic, MemberId, MemberSpec};
use crate::limits::{GROUP_PARTITIONS_MAX_COUNT, GROUP_TOPICS_MAX_COUNT};
use crate::metadata::TopicId;

/// The topics of the cluster, as the leader of a coordinator knows them.
pub trait TopicLookup {
    /// The topics that match a member's subscription and that its principal may read.
    fn subscribed(&self, spec: &MemberSpec) -> Vec<GroupTopic>;

    /// Whether a topic was deleted. MUST be false for a topic that the leader does not know yet:
    /// partitions of a deleted topic are taken from their members without an acknowledgement.
    fn is_deleted(&self, topic: TopicId) -> bool;
}

/// The topics by member, and all of them together.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved {
    by_member: BTreeMap<MemberId, BTreeSet<TopicId>>,
    topics: BTreeMap<TopicId, Read>,
    partition_count: usize,
}

/// A topic and the number of members that read it.
#[derive(Clone, Debug)]
struct Read {
    topic: GroupTopic,
    member_count: usize,
}

impl Resolved {
    /// The topics of these members.
    pub(super) fn of<'a>(
        specs: impl Iterator<Item = &'a MemberSpec>,
        lookup: &dyn TopicLookup,
    ) -> Self {
        let mut resolved = Self::default();
        for spec in specs {
            resolved.insert(spec, lookup);
        }
        resolved
    }

    /// Adds a member or replaces its topics.
    pub(super) fn insert(&mut self, spec: &MemberSpec, lookup: &dyn TopicLookup) {
        self.remove(&spec.id);
        let mut ids = BTreeSet::new();
        for topic in lookup.subscribed(spec) {
            if ids.insert(topic.id) {
                let count = partition_count(&topic);
                let read = self.topics.entry(topic.id).or_insert_with(|| {
                    self.partition_count += count;
                    Read {
                        topic,
                        member_count: 0,
                    }
                });
                read.member_count += 1;
            }
        }
        self.by_member.insert(spec.id.clone(), ids);
    }

    /// Removes a member.
    pub(super) fn remove(&mut self, member: &MemberId) {
        for topic in self.by_member.remove(member).unwrap_or_default() {
            if let Some(read) = self.topics.get_mut(&topic) {
                read.member_count -= 1;
                if read.member_count == 0 {
                    self.partition_count -= partition_count(&read.topic);
                    self.topics.remove(&topic);
                }
            }
        }
    }

    /// The ids of a member's topics.
    pub(super) fn topics_of(&self, member: &MemberId) -> impl Iterator<Item = TopicId> {
        self.by_member.get(member).into_iter().flatten().copied()
    }

    /// A hash of the ids of a member's topics: the membership would be large with a list of them
    /// for each member.
    pub(super) fn topics_hash(&self, member: &MemberId) -> u64 {
        let ids: Vec<u8> = self
            .topics_of(member)
            .flat_map(|id| id.0.to_le_bytes())
            .collect();
        XxHash64::oneshot(0, &ids)
    }

    /// The number of topics.
    pub(super) fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The number of partitions of all topics.
    pub(super) const fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The topics that the group can read within its limits. Those that it reads `already` come
    /// first: a topic that appears or grows must not take a partition away from a member.
    pub(super) fn within_limits(
        &self,
        already: &BTreeMap<TopicId, GroupTopic>,
    ) -> BTreeMap<TopicId, GroupTopic> {
        let mut room = GROUP_PARTITIONS_MAX_COUNT;
        let mut chosen: BTreeMap<TopicId, GroupTopic> = BTreeMap::new();
        for (id, read) in &self.topics {
            if let Some(known) = already.get(id) {
                let mut topic = read.topic.clone();
                topic.partition_count = topic.partition_count.min(known.partition_count);
                room = room.saturating_sub(partition_count(&topic));
                chosen.insert(*id, topic);
            }
        }
        for (id, read) in &self.topics {
            let has = chosen.get(id).map_or(0, partition_count);
            let more = partition_count(&read.topic) - has;
            let fits = chosen.contains_key(id) || chosen.len() < GROUP_TOPICS_MAX_COUNT;
            if fits && more <= room {
                room -= more;
                chosen.insert(*id, read.topic.clone());
            }
        }
        chosen
    }
}

fn partition_count(topic: &GroupTopic) -> usize {
    usize::try_from(topic.partition_count).unwrap_or(usize::MAX)
}
