//! The replicated state of a coordinator: its groups and their committed offsets.

mod entry;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

pub use entry::{CommittedOffset, Group};

use super::command::{Applied, CommitResult, GroupCommand, GroupOutcome, OffsetCommit};
use super::error::{CommitError, GroupError, check_limit};
use super::group::ConsumerGroup;
use super::ids::{Generation, TopicPartition};
use crate::limits::{
    COORDINATOR_GROUPS_MAX_COUNT, COORDINATOR_STATE_MAX_BYTES, COORDINATOR_STATE_RESERVED_BYTES,
    GROUPS_EXPIRE_MAX_COUNT,
};
use crate::metadata::TopicId;

/// The groups of a coordinator. Only [`CoordinatorState::apply`] changes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoordinatorState {
    groups: BTreeMap<String, Group>,
    /// The greatest generation of a deleted group. New groups start above it, so that a member of a
    /// former group of the same name can neither commit nor acknowledge.
    deleted_generation: Generation,
    bytes: usize,
}

impl CoordinatorState {
    /// Applies a command.
    ///
    /// All replicas of the coordinator apply the same commands and must get the same result. So a
    /// command is decided from the state and its own fields alone: no clock, no metadata of the
    /// cluster. A refused command has changed nothing.
    pub fn apply(&mut self, command: &GroupCommand) -> GroupOutcome {
        match command {
            GroupCommand::PutMembership {
                group,
                expected,
                membership,
            } => self.put_membership(group, *expected, membership),
            GroupCommand::Commit { commits } => {
                let results = commits.iter().map(|commit| self.commit(commit));
                Ok(Applied::Committed(results.collect()))
            }
            GroupCommand::DeleteOffsets { group, partitions } => {
                self.delete_offsets(group, partitions)
            }
            GroupCommand::Delete { group } => {
                self.without_members(group)?;
                self.remove(group);
                Ok(Applied::Done)
            }
            GroupCommand::ForgetTopics { topics } => Ok(self.forget_topics(topics)),
            GroupCommand::Expire { groups, before_ms } => Ok(self.expire(groups, *before_ms)),
        }
    }

    /// The groups, by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&str, &Group)> {
        self.groups
            .iter()
            .map(|(name, group)| (name.as_str(), group))
    }

    /// The groups whose names sort after `name`, by name; all of them if it is empty.
    pub fn groups_after(&self, name: &str) -> impl Iterator<Item = (&str, &Group)> {
        let after = (Bound::Excluded(name), Bound::Unbounded);
        let groups = self.groups.range::<str, _>(after);
        groups.map(|(name, group)| (name.as_str(), group))
    }

    /// The group with this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// The membership from which the next one of a group is computed, whether the group exists or
    /// not. Its generation is the one that `PutMembership` expects.
    pub fn membership(&self, name: &str) -> Arc<ConsumerGroup> {
        self.groups.get(name).map_or_else(
            || Arc::new(ConsumerGroup::new_after(self.deleted_generation)),
            |group| Arc::clone(group.membership()),
        )
    }

    /// Memory of the groups, in bytes; above the size of the encoded state.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The topics of which groups have committed offsets. Deleted ones among them should be
    /// forgotten.
    pub fn offset_topics(&self) -> BTreeSet<TopicId> {
        let groups = self.groups.values();
        let partitions = groups.flat_map(|group| group.offsets().keys());
        partitions.map(|partition| partition.topic).collect()
    }

    /// The command that deletes groups which have had neither members nor commits for a time, at
    /// most `GROUPS_EXPIRE_MAX_COUNT` of them; `None` if there are none.
    pub fn expired(&self, now_ms: i64, retention: Duration) -> Option<GroupCommand> {
        self.expired_of(now_ms, retention, |_| true)
    }

    /// The same for groups without committed offsets: they hold nothing that a member could miss.
    pub fn unused(&self, now_ms: i64, retention: Duration) -> Option<GroupCommand> {
        self.expired_of(now_ms, retention, |group| group.offsets().is_empty())
    }

    fn expired_of(
        &self,
        now_ms: i64,
        retention: Duration,
        is_meant: impl Fn(&Group) -> bool,
    ) -> Option<GroupCommand> {
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let before_ms = now_ms.saturating_sub(retention_ms);
        let expired = self
            .groups
            .iter()
            .filter(|(_, group)| is_meant(group) && group.is_unused_since(before_ms));
        let groups: Vec<_> = expired
            .take(GROUPS_EXPIRE_MAX_COUNT)
            .map(|(name, group)| (name.clone(), group.generation()))
            .collect();
        (!groups.is_empty()).then_some(GroupCommand::Expire { groups, before_ms })
    }

    fn put_membership(
        &mut self,
        name: &str,
        expected: Generation,
        membership: &ConsumerGroup,
    ) -> GroupOutcome {
        let former = self.groups.get(name);
        let current = former.map_or(self.deleted_generation, Group::generation);
        if current != expected || membership.generation <= current {
            return Err(GroupError::Stale { expected, current });
        }
        let count = self.groups.len() + usize::from(former.is_none());
        check_limit(
            "groups of the coordinator",
            count,
            COORDINATOR_GROUPS_MAX_COUNT,
        )?;
        let former_count = former.map(|group| group.membership().members.len());
        let has_joined = former_count.is_none_or(|count| membership.members.len() > count);
        let reserved = if has_joined {
            0
        } else {
            COORDINATOR_STATE_RESERVED_BYTES
        };
        let former_bytes = former.map_or(0, Group::membership_bytes);
        let group = Group::new(name, Arc::new(membership.clone()));
        let bytes = self.bytes - former_bytes + group.membership_bytes();
        if group.membership_bytes() > former_bytes {
            let max = COORDINATOR_STATE_MAX_BYTES + reserved;
            check_limit("bytes of the coordinator", bytes, max)?;
        }
        self.bytes = bytes;
        match self.groups.get_mut(name) {
            Some(former) => former.put(group),
            None => {
                self.groups.insert(name.to_owned(), group);
            }
        }
        Ok(Applied::Done)
    }

    fn commit(&mut self, commit: &OffsetCommit) -> CommitResult {
        let group_count = self.groups.len();
        if let Some(group) = self.groups.get_mut(&commit.group) {
            let other_bytes = self.bytes - group.bytes();
            let result = group.commit(commit, other_bytes);
            self.bytes = other_bytes + group.bytes();
            return result;
        }
        if commit.member.is_some() {
            return Err(CommitError::UnknownMember);
        }
        let max = COORDINATOR_GROUPS_MAX_COUNT;
        entry::check_limit("groups of the coordinator", group_count + 1, max)?;
        let membership = ConsumerGroup {
            empty_since_ms: Some(commit.committed_at_ms),
            ..ConsumerGroup::new_after(self.deleted_generation)
        };
        let mut group = Group::new(&commit.group, Arc::new(membership));
        group.commit(commit, self.bytes)?;
        self.bytes += group.bytes();
        self.groups.insert(commit.group.clone(), group);
        Ok(())
    }

    /// The group with this name. Fails if it does not exist or has members.
    fn without_members(&mut self, name: &str) -> Result<&mut Group, GroupError> {
        let Some(group) = self.groups.get_mut(name) else {
            let group = name.to_owned();
            return Err(GroupError::UnknownGroup { group });
        };
        match group.membership().members.len() {
            0 => Ok(group),
            member_count => Err(GroupError::GroupNotEmpty {
                group: name.to_owned(),
                member_count,
            }),
        }
    }

    fn delete_offsets(&mut self, name: &str, partitions: &[TopicPartition]) -> GroupOutcome {
        let group = self.without_members(name)?;
        let former_bytes = group.bytes();
        let count = group.forget(partitions);
        let freed = former_bytes - group.bytes();
        self.bytes -= freed;
        Ok(Applied::Deleted { count })
    }

    fn remove(&mut self, name: &str) {
        if let Some(group) = self.groups.remove(name) {
            self.deleted_generation = self.deleted_generation.max(group.generation());
            self.bytes -= group.bytes();
        }
    }

    fn forget_topics(&mut self, topics: &[TopicId]) -> Applied {
        let mut count = 0;
        for group in self.groups.values_mut() {
            let offsets = topics.iter().flat_map(|topic| group.offsets_of(*topic));
            let partitions: Vec<_> = offsets.map(|(partition, _)| *partition).collect();
            self.bytes -= group.bytes();
            count += group.forget(&partitions);
            self.bytes += group.bytes();
        }
        Applied::Deleted { count }
    }

    fn expire(&mut self, groups: &[(String, Generation)], before_ms: i64) -> Applied {
        let mut count = 0;
        for (name, generation) in groups {
            let is_expired = self.groups.get(name).is_some_and(|group| {
                group.generation() == *generation && group.is_unused_since(before_ms)
            });
            if is_expired {
                self.remove(name);
                count += 1;
            }
        }
        Applied::Deleted { count }
    }
}
