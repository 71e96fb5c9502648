//! A group with its committed offsets, and the memory that it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::consumer_group::command::{CommitResult, OffsetCommit};
use crate::consumer_group::error::CommitError;
use crate::consumer_group::group::ConsumerGroup;
use crate::consumer_group::ids::{CommitSequence, Generation, TopicPartition};
use crate::limits::{
    COORDINATOR_STATE_MAX_BYTES, GROUP_OFFSETS_MAX_COUNT, GROUP_STATE_MAX_BYTES,
    OFFSET_METADATA_MAX_BYTES,
};
use crate::metadata::TopicId;

// The memory of the parts of a group. Each number is above the size of the part in the encoded
// state, so that a state within its limit fits into a snapshot.

/// A group, besides its name and all below.
const GROUP_BYTES: usize = 512;
/// A member, besides its texts and partitions.
const MEMBER_BYTES: usize = 512;
/// A topic of a subscription or of a group, besides its name.
const TOPIC_BYTES: usize = 96;
/// A partition in `assigned`.
const ASSIGNED_BYTES: usize = 48;
/// A partition in `revoking`.
const REVOKING_BYTES: usize = 64;
/// A partition in `target`.
const TARGET_BYTES: usize = 32;
/// A committed offset, besides its metadata.
const OFFSET_BYTES: usize = 112;

/// A group: its members, and how far it has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    membership: Arc<ConsumerGroup>,
    offsets: BTreeMap<TopicPartition, CommittedOffset>,
    /// The time of the latest commit, milliseconds since the Unix epoch.
    last_commit_ms: i64,
    membership_bytes: usize,
    offsets_bytes: usize,
}

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: u64,
    /// Any text of the application.
    pub metadata: String,
    /// When it was committed, milliseconds since the Unix epoch.
    pub committed_at_ms: i64,
    /// The generation since which the member that committed it has had the partition. None: it was
    /// committed from outside.
    pub owned_since: Generation,
    /// The greatest sequence of the member's commits since then.
    pub sequence: CommitSequence,
}

impl Group {
    /// A group with these members.
    pub(super) fn new(name: &str, membership: Arc<ConsumerGroup>) -> Self {
        Self {
            membership_bytes: membership_bytes(name, &membership),
            membership,
            offsets: BTreeMap::new(),
            last_commit_ms: i64::MIN,
            offsets_bytes: 0,
        }
    }

    /// The group with these offsets besides.
    pub(super) fn with_offsets(
        self,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
        last_commit_ms: i64,
    ) -> Self {
        Self {
            offsets_bytes: offsets.values().map(CommittedOffset::bytes).sum(),
            offsets,
            last_commit_ms,
            ..self
        }
    }

    /// The members. Shared with the state until they change.
    pub const fn membership(&self) -> &Arc<ConsumerGroup> {
        &self.membership
    }

    /// The committed offsets, by partition.
    pub const fn offsets(&self) -> &BTreeMap<TopicPartition, CommittedOffset> {
        &self.offsets
    }

    /// The committed offset of a partition.
    pub fn offset(&self, partition: TopicPartition) -> Option<&CommittedOffset> {
        self.offsets.get(&partition)
    }

    /// The committed offsets of a topic.
    pub fn offsets_of(
        &self,
        topic: TopicId,
    ) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        self.offsets.range(TopicPartition::range_of(topic))
    }

    /// The time of the latest commit, milliseconds since the Unix epoch; the minimum if there was
    /// none.
    pub(super) const fn last_commit_ms(&self) -> i64 {
        self.last_commit_ms
    }

    pub(super) fn generation(&self) -> Generation {
        self.membership.generation
    }

    pub(super) const fn membership_bytes(&self) -> usize {
        self.membership_bytes
    }

    pub(super) const fn bytes(&self) -> usize {
        self.membership_bytes + self.offsets_bytes
    }

    /// Whether the group has had neither members nor commits since a time.
    pub(super) fn is_unused_since(&self, time_ms: i64) -> bool {
        let ConsumerGroup {
            members,
            empty_since_ms,
            ..
        } = &*self.membership;
        let is_empty = members.is_empty() && empty_since_ms.is_some_and(|ms| ms < time_ms);
        is_empty && self.last_commit_ms < time_ms
    }

    /// Takes over the members of another group.
    pub(super) fn put(&mut self, group: Self) {
        self.membership = group.membership;
        self.membership_bytes = group.membership_bytes;
    }

    /// Records a committed offset, unless the member may not commit it or a limit would be
    /// exceeded. `other_bytes` is the memory of all other groups.
    pub(super) fn commit(&mut self, commit: &OffsetCommit, other_bytes: usize) -> CommitResult {
        let owned_since = match &commit.member {
            Some((member, generation)) => {
                let membership = &self.membership;
                membership.check_commit(member, *generation, commit.partition)?
            }
            None if !self.membership.members.is_empty() => {
                return Err(CommitError::GroupNotEmpty);
            }
            None => Generation::NONE,
        };
        let max = OFFSET_METADATA_MAX_BYTES;
        check_limit("metadata bytes of an offset", commit.metadata.len(), max)?;
        let former = self.offsets.get(&commit.partition);
        let former_bytes = former.map_or(0, CommittedOffset::bytes);
        // An owner starts to count where it wants: commits of former owners are refused above.
        let last = former.filter(|former| former.owned_since == owned_since);
        let last = last.map_or(CommitSequence::NONE, |former| former.sequence);
        if commit.sequence != CommitSequence::NONE && commit.sequence < last {
            return Err(CommitError::Superseded { last });
        }
        if former.is_none() {
            let count = self.offsets.len() + 1;
            check_limit("offsets of the group", count, GROUP_OFFSETS_MAX_COUNT)?;
        }
        let now = CommittedOffset {
            offset: commit.offset,
            metadata: commit.metadata.clone(),
            committed_at_ms: commit.committed_at_ms,
            owned_since,
            sequence: last.max(commit.sequence),
        };
        if now.bytes() > former_bytes {
            let bytes = self.bytes() - former_bytes + now.bytes();
            check_limit("bytes of the group", bytes, GROUP_STATE_MAX_BYTES)?;
            let bytes = other_bytes + bytes;
            check_limit(
                "bytes of the coordinator",
                bytes,
                COORDINATOR_STATE_MAX_BYTES,
            )?;
        }
        self.offsets_bytes = self.offsets_bytes - former_bytes + now.bytes();
        self.last_commit_ms = self.last_commit_ms.max(now.committed_at_ms);
        self.offsets.insert(commit.partition, now);
        Ok(())
    }

    /// Forgets the offsets of these partitions. Returns the number of those that there were.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) -> usize {
        let removed = partitions.iter().filter_map(|p| self.offsets.remove(p));
        let (mut count, mut bytes) = (0, 0);
        for offset in removed {
            count += 1;
            bytes += offset.bytes();
        }
        self.offsets_bytes -= bytes;
        count
    }
}

impl CommittedOffset {
    fn bytes(&self) -> usize {
        OFFSET_BYTES + self.metadata.len()
    }
}

fn membership_bytes(name: &str, membership: &ConsumerGroup) -> usize {
    let topics = membership
        .topics
        .values()
        .map(|topic| topic.name.len() + TOPIC_BYTES);
    let members = membership.members.values().map(|member| {
        MEMBER_BYTES
            + member.spec.text_bytes()
            + member.spec.subscription.topics.len() * TOPIC_BYTES
            + member.assigned.len() * ASSIGNED_BYTES
            + member.revoking.len() * REVOKING_BYTES
            + member.target.len() * TARGET_BYTES
    });
    GROUP_BYTES + name.len() + topics.sum::<usize>() + members.sum::<usize>()
}

/// Fails if a count is above its limit.
pub(super) fn check_limit(field: &str, found: usize, max: usize) -> Result<(), CommitError> {
    if found <= max {
        return Ok(());
    }
    Err(CommitError::LimitExceeded {
        field: field.to_owned(),
        found,
        max,
    })
}
