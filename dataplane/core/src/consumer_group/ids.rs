//! Generations and partitions of groups.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::ids::PartitionId;
use crate::metadata::TopicId;

/// A version of a group's membership. It grows with each change and never restarts, not even when
/// the group is deleted and created again. 0: the group never had a member.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// The place of a commit among the commits of its member: greater than that of all earlier ones. 0:
/// the member does not number its commits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CommitSequence(pub u64);

/// A partition of a topic, whatever name the topic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: PartitionId,
}

impl Generation {
    /// The generation before the first one.
    pub const NONE: Self = Self(0);

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl CommitSequence {
    /// That of a commit without a number.
    pub const NONE: Self = Self(0);
    /// The greatest one. There is room above it, so that the next one can be computed.
    pub const MAX: Self = Self(i64::MAX.cast_unsigned());

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CommitSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TopicPartition {
    /// All partitions of a topic.
    pub fn range_of(topic: TopicId) -> RangeInclusive<Self> {
        let at = |partition| Self { topic, partition };
        at(PartitionId(0))..=at(PartitionId(u32::MAX))
    }
}
