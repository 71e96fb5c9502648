//! Dividing partitions among the members that read their topics: each partition gets exactly one
//! member of those.

mod range;
mod sticky;

use std::collections::{BTreeMap, BTreeSet};

use super::ids::TopicPartition;
use super::member::{Assignor, GroupTopic, Member};
use crate::metadata::TopicId;

/// A member and the topics that it reads.
pub(super) struct Candidate<'a> {
    pub(super) member: &'a Member,
    pub(super) topics: BTreeSet<TopicId>,
}

impl Candidate<'_> {
    /// Whether the member reads a partition, and not only waits for it.
    fn reads(&self, partition: TopicPartition) -> bool {
        self.member.assigned.contains_key(&partition)
    }
}

/// The members, and the partitions to divide among them.
pub(super) struct Division<'a> {
    candidates: Vec<Candidate<'a>>,
    topics: &'a BTreeMap<TopicId, GroupTopic>,
    /// The positions of the candidates of each topic.
    readers: BTreeMap<TopicId, Vec<usize>>,
}

impl<'a> Division<'a> {
    /// A division of these topics. Candidates MUST NOT have other topics.
    pub(super) fn new(
        candidates: Vec<Candidate<'a>>,
        topics: &'a BTreeMap<TopicId, GroupTopic>,
    ) -> Self {
        let mut readers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (position, candidate) in candidates.iter().enumerate() {
            for topic in &candidate.topics {
                readers.entry(*topic).or_default().push(position);
            }
        }
        Self {
            candidates,
            topics,
            readers,
        }
    }

    /// The partitions of each candidate, in their order.
    pub(super) fn divide(&self, assignor: Assignor) -> Vec<BTreeSet<TopicPartition>> {
        match assignor {
            Assignor::Sticky => self.divide_sticky(),
            Assignor::Range => self.divide_by_range(),
        }
    }
}
