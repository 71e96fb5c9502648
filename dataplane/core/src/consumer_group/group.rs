//! The membership of a group, as it is replicated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{CommitError, GroupError};
use super::ids::{Generation, TopicPartition};
use super::member::{Assignor, GroupTopic, Member, MemberId};
use super::resolved::{Resolved, TopicLookup};
use crate::metadata::TopicId;

/// The members of a group and their partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerGroup {
    /// Grows with each change of all below.
    pub generation: Generation,
    /// The members.
    pub members: BTreeMap<MemberId, Member>,
    /// The topics that the members read.
    pub topics: BTreeMap<TopicId, GroupTopic>,
    /// Since when the group has had no members, milliseconds since the Unix epoch.
    pub empty_since_ms: Option<i64>,
}

/// The state of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Partitions are moving between members.
    Rebalancing,
    /// All members have what they shall have.
    Stable,
}

/// The assignment of a member: the content of a reply to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAssignment {
    /// The generation of the group, with which the member acknowledges the assignment.
    pub generation: Generation,
    /// All partitions that the member reads, with the generation since which it has each.
    pub partitions: BTreeMap<TopicPartition, Generation>,
    /// Whether the member will get further partitions once others have given them up.
    pub is_incomplete: bool,
}

impl ConsumerGroup {
    /// A group without members that follows on `generation`.
    pub(super) fn new_after(generation: Generation) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    /// The member that a call is for. Fails if it is not in the group, or if another principal
    /// makes the call. MUST be checked before an event or a commit of a member is accepted.
    pub fn caller(
        &self,
        id: &MemberId,
        instance_id: Option<&str>,
        principal: &str,
    ) -> Result<&Member, GroupError> {
        if let Some(member) = self.members.get(id) {
            if member.spec.principal == principal {
                return Ok(member);
            }
        } else if let Some(holder) = instance_id.and_then(|instance| self.instance(instance))
            && holder.spec.principal == principal
        {
            return Err(GroupError::MemberReplaced {
                member: id.to_string(),
            });
        }
        Err(GroupError::UnknownMember {
            member: id.to_string(),
        })
    }

    /// The member with this instance id.
    pub fn instance(&self, instance_id: &str) -> Option<&Member> {
        let mut members = self.members.values();
        members.find(|member| member.spec.instance_id.as_deref() == Some(instance_id))
    }

    /// Whether the acknowledgement of a generation would change anything. If not, no entry is
    /// written for it.
    pub fn needs(&self, member: &MemberId, acknowledged: Generation) -> bool {
        self.members.get(member).is_some_and(|member| {
            let mut revoking = member.revoking.values();
            revoking.any(|r| r.is_given_up(acknowledged, self.generation))
        })
    }

    /// The assignment of a member, if it is in the group.
    pub fn reply(&self, member: &MemberId) -> Option<MemberAssignment> {
        let member = self.members.get(member)?;
        Some(MemberAssignment {
            generation: self.generation,
            partitions: member.assigned.clone(),
            is_incomplete: member.is_incomplete(),
        })
    }

    /// Whether a member's assignment differs from the one of a generation that it acknowledges, so
    /// that it must be answered at once. True for a member that is not in the group.
    pub fn has_news(&self, member: &MemberId, acknowledged: Generation) -> bool {
        self.members
            .get(member)
            .is_none_or(|member| member.changed_at > acknowledged || acknowledged > self.generation)
    }

    /// Checks that a member may commit for a partition, `generation` being that of the last reply
    /// that it has seen. Returns the generation since which it has the partition.
    pub fn check_commit(
        &self,
        member: &MemberId,
        generation: Generation,
        partition: TopicPartition,
    ) -> Result<Generation, CommitError> {
        let member = self.members.get(member).ok_or(CommitError::UnknownMember)?;
        let assigned = member.assigned.get(&partition).copied();
        let revoking = || member.revoking.get(&partition).map(|r| r.since);
        let since = assigned.or_else(revoking).ok_or(CommitError::NotAssigned)?;
        // A member that got the partition only after the reply it knows of does not read it yet:
        // the commit is from an earlier time at which it had the partition, or from nowhere.
        if (since..=self.generation).contains(&generation) {
            return Ok(since);
        }
        Err(CommitError::NotAssigned)
    }

    /// Whether the topics of the members differ from those by which partitions were divided, so
    /// that a [`TopicsChanged`](super::GroupEvent::TopicsChanged) would change the group.
    pub fn topics_differ(&self, topics: &dyn TopicLookup) -> bool {
        let resolved = Resolved::of(self.members.values().map(|member| &member.spec), topics);
        let same_hash = |(id, member): (_, &Member)| resolved.topics_hash(id) == member.topics_hash;
        resolved.within_limits(&self.topics) != self.topics
            || !self.members.iter().all(same_hash)
            || self.deleted_topics(topics).next().is_some()
    }

    /// The deleted topics of which members still have partitions.
    pub(super) fn deleted_topics<'a>(
        &'a self,
        topics: &'a dyn TopicLookup,
    ) -> impl Iterator<Item = TopicId> + 'a {
        let held = self.members.values().flat_map(|member| {
            let revoking = member.revoking.keys();
            member.assigned.keys().chain(revoking).map(|p| p.topic)
        });
        let mut last = None;
        let distinct = held.filter(move |topic| last.replace(*topic) != Some(*topic));
        distinct.filter(|topic| topics.is_deleted(*topic))
    }

    /// The state of the group.
    pub fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.members.values().all(Member::is_settled) {
            GroupState::Stable
        } else {
            GroupState::Rebalancing
        }
    }

    /// How partitions are divided: as most members want it, and sticky if there are as many for
    /// range.
    pub fn assignor(&self) -> Assignor {
        let wanted = self.members.values().map(|member| member.spec.assignor);
        let range_count = wanted.filter(|a| *a == Assignor::Range).count();
        if 2 * range_count > self.members.len() {
            Assignor::Range
        } else {
            Assignor::Sticky
        }
    }
}
