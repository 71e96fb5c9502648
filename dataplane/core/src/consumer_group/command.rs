//! The commands of a coordinator's log and their outcomes.

use serde::{Deserialize, Serialize};

use super::codec::{self, GroupCodecError};
use super::error::{CommitError, GroupError};
use super::group::ConsumerGroup;
use super::ids::{CommitSequence, Generation, TopicPartition};
use super::member::MemberId;
use crate::metadata::TopicId;

/// A change of the groups of a coordinator.
///
/// Variants and fields, and their order, are part of the format of the log. Variants are only
/// added, at the end; new fields need a new version byte. An unknown variant fails to decode. A
/// command is idempotent: a proposer may repeat a command whose outcome it does not know. A
/// repeated `PutMembership` is refused as stale, and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupCommand {
    /// Replaces the membership of a group, which is created if it does not exist.
    PutMembership {
        /// The group.
        group: String,
        /// The generation of the membership from which the new one was computed: the command has
        /// no effect if the group has another one by now.
        expected: Generation,
        /// The new membership, of a greater generation.
        membership: ConsumerGroup,
    },
    /// Records how far partitions have been read. Each offset succeeds or fails by itself.
    Commit {
        /// The offsets, in order.
        commits: Vec<OffsetCommit>,
    },
    /// Forgets committed offsets of a group without members.
    DeleteOffsets {
        /// The group.
        group: String,
        /// Of these partitions.
        partitions: Vec<TopicPartition>,
    },
    /// Deletes a group without members, with its offsets.
    Delete {
        /// The group.
        group: String,
    },
    /// Forgets the committed offsets of deleted topics, in all groups.
    ForgetTopics {
        /// The topics.
        topics: Vec<TopicId>,
    },
    /// Deletes groups that are still as they were when their expiry was decided.
    Expire {
        /// The groups, with their generations at that time.
        groups: Vec<(String, Generation)>,
        /// Only those that have had no members and no commit since this time, milliseconds since
        /// the Unix epoch.
        before_ms: i64,
    },
}

/// A committed offset of a partition, for one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetCommit {
    /// The group.
    pub group: String,
    /// The member that commits, with the generation of the last reply to it. `None`: from outside,
    /// which needs a group without members and creates one that does not exist.
    pub member: Option<(MemberId, Generation)>,
    /// The number of the member's commit.
    pub sequence: CommitSequence,
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub offset: u64,
    /// Any text of the application.
    pub metadata: String,
    /// The time at the leader, milliseconds since the Unix epoch.
    pub committed_at_ms: i64,
}

/// The result of one committed offset.
pub type CommitResult = Result<(), CommitError>;

/// The result of an applied command. A refused command has changed nothing.
pub type GroupOutcome = Result<Applied, GroupError>;

/// What an applied command has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// The command succeeded.
    Done,
    /// The result of each offset, in order.
    Committed(Vec<CommitResult>),
    /// The number of deleted offsets or groups.
    Deleted {
        /// The number.
        count: usize,
    },
}

impl GroupCommand {
    /// Encodes the command for the log.
    pub fn encode(&self) -> Result<Vec<u8>, GroupCodecError> {
        codec::encode(self)
    }

    /// Decodes a command. Fails if it has a variant that this version does not know.
    ///
    /// On an error of a command from the log, the node MUST exit: if it skipped the command, its
    /// groups would diverge from those of the other nodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, GroupCodecError> {
        codec::decode(bytes)
    }

    /// The name of the command, for logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PutMembership { .. } => "put_membership",
            Self::Commit { .. } => "commit",
            Self::DeleteOffsets { .. } => "delete_offsets",
            Self::Delete { .. } => "delete",
            Self::ForgetTopics { .. } => "forget_topics",
            Self::Expire { .. } => "expire",
        }
    }
}

impl OffsetCommit {
    /// Upper bound of the encoded size, in bytes, by which commits are gathered into an entry.
    pub fn encoded_max_bytes(&self) -> usize {
        // Six numbers of at most 10 bytes each, and the lengths of three texts.
        const NUMBERS_BYTES: usize = 80;
        let member = self.member.as_ref();
        let member_bytes = member.map_or(0, |(id, _)| id.as_str().len());
        self.group.len() + member_bytes + self.metadata.len() + NUMBERS_BYTES
    }
}

impl Applied {
    /// Encodes the outcome for the proposer.
    pub fn encode(outcome: &GroupOutcome) -> Result<Vec<u8>, GroupCodecError> {
        codec::encode(outcome)
    }

    /// Decodes the outcome of [`Applied::encode`].
    pub fn decode(bytes: &[u8]) -> Result<GroupOutcome, GroupCodecError> {
        codec::decode(bytes)
    }
}
