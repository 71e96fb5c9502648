//! Calls for consumer groups and their answers, as every protocol and every hop between nodes
//! carries them.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::acl::Principal;
use lograft_core::consumer_group::{
    Assignor, CommitSequence, Generation, GroupState, MemberId, MemberSpec, Subscription,
    TopicPartition,
};
use lograft_core::limits::{GROUP_REBALANCE_DEFAULT_MS, GROUP_SESSION_DEFAULT_MS};
use lograft_core::metadata::TopicId;
use lograft_core::{NodeId, PartitionId};

use super::page::{DescribedPlace, PageRequest};
use crate::error::ApiError;

/// The group that a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupTarget {
    /// The name, already checked.
    pub(crate) group: String,
    /// Whether another node has forwarded the call. It is not forwarded a second time.
    pub(crate) is_forwarded: bool,
    /// The principal whose call it is.
    pub(crate) principal: Arc<Principal>,
}

/// A call for one group.
#[derive(Clone, Debug)]
pub(crate) struct GroupRequest {
    pub(crate) target: GroupTarget,
    pub(crate) call: GroupCall,
}

/// A call for a group.
#[derive(Clone, Debug)]
pub(crate) enum GroupCall {
    /// Become a member.
    Join(MemberSpec),
    /// Stay a member.
    Heartbeat(Heartbeat),
    /// Stop being a member.
    Leave(MemberRef),
    /// Record offsets.
    Commit(CommitRequest),
    /// A page of the committed offsets.
    Offsets(OffsetsRequest),
    /// Forget offsets.
    DeleteOffsets(DeleteOffsets),
    /// A page of the members and offsets.
    Describe(PageRequest<DescribedPlace>),
    /// Delete the group.
    Delete,
}

impl GroupCall {
    /// The memory of the request; 0 if it has no more than a few names.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Join(spec) => texts_bytes(&spec.subscription.topics),
            Self::Commit(request) => {
                let offsets = request.offsets.iter();
                let bytes = offsets.map(|offset| {
                    size_of::<OffsetToCommit>() + offset.topic.len() + offset.metadata.len()
                });
                bytes.sum()
            }
            Self::Offsets(request) => texts_bytes(&request.topics),
            Self::DeleteOffsets(request) => request.partitions.len() * size_of::<u32>(),
            Self::Heartbeat(_) | Self::Leave(_) | Self::Describe(_) | Self::Delete => 0,
        }
    }

    /// The name of the call in metrics.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Heartbeat(_) => "heartbeat",
            Self::Leave(_) => "leave",
            Self::Commit(_) => "commit",
            Self::Offsets(_) => "fetch_offsets",
            Self::DeleteOffsets(_) => "delete_offsets",
            Self::Describe(_) => "describe",
            Self::Delete => "delete",
        }
    }
}

/// The memory of texts in a list.
fn texts_bytes<'a>(texts: impl IntoIterator<Item = &'a String>) -> usize {
    let texts = texts.into_iter();
    texts.map(|text| text.len() + size_of::<String>()).sum()
}

/// The answer to a [`GroupCall`] of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupAnswer {
    /// To `Join` and `Heartbeat`.
    Member(MemberAnswer),
    /// To `Leave` and `Delete`.
    Done,
    /// To `Commit`: the outcome for each offset, in the order of the request.
    Committed(Vec<Result<(), ApiError>>),
    /// To `Offsets`.
    Offsets(OffsetsPage),
    /// To `DeleteOffsets`: how many.
    Deleted(u32),
    /// To `Describe`.
    Described(GroupDescription),
}

/// A member, as its calls name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberRef {
    pub(crate) id: MemberId,
    /// Tells a member that was replaced from one that expired.
    pub(crate) instance_id: Option<String>,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) member: MemberRef,
    /// The generation of the reply that the member acknowledges.
    pub(crate) acknowledged: Generation,
    /// How long to wait for a change.
    pub(crate) max_wait: Duration,
}

/// A new member, as a request describes it.
#[derive(Clone, Debug)]
pub(crate) struct NewMember {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) topics: Vec<String>,
    pub(crate) topic_pattern: Option<String>,
    /// Sticky by default.
    pub(crate) assignor: Option<Assignor>,
    pub(crate) session_timeout_ms: Option<u32>,
    pub(crate) rebalance_timeout_ms: Option<u32>,
}

impl NewMember {
    /// The member with the defaults of what its request leaves out. Fails with INVALID_ARGUMENT if
    /// a field is out of bounds.
    pub(crate) fn spec(self, principal: &Principal) -> Result<MemberSpec, ApiError> {
        let Self {
            id,
            client_id,
            instance_id,
            topics,
            topic_pattern,
            assignor,
            session_timeout_ms,
            rebalance_timeout_ms,
        } = self;
        let spec = MemberSpec {
            id: MemberId::new(&id)?,
            principal: principal.to_string(),
            client_id,
            instance_id,
            subscription: Subscription {
                topics: topics.into_iter().collect(),
                pattern: topic_pattern,
            },
            assignor: assignor.unwrap_or_default(),
            session_timeout_ms: session_timeout_ms.unwrap_or(GROUP_SESSION_DEFAULT_MS),
            rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(GROUP_REBALANCE_DEFAULT_MS),
        };
        spec.validate()?;
        Ok(spec)
    }
}

/// Offsets to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitRequest {
    /// The member; `None`: from outside of the group.
    pub(crate) by: Option<Committer>,
    pub(crate) offsets: Vec<OffsetToCommit>,
}

/// A member that commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committer {
    pub(crate) member: MemberRef,
    /// The generation of its last reply.
    pub(crate) generation: Generation,
    /// The number of its commit.
    pub(crate) sequence: CommitSequence,
}

/// The number of a commit from a request. Fails with INVALID_ARGUMENT if it is too large.
pub(crate) fn commit_sequence(number: u64) -> Result<CommitSequence, ApiError> {
    let sequence = CommitSequence(number);
    if sequence <= CommitSequence::MAX {
        return Ok(sequence);
    }
    let bound = format_args!("at most {}, got {number}", CommitSequence::MAX);
    Err(ApiError::invalid("sequence", bound))
}

/// An offset to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetToCommit {
    pub(crate) topic: String,
    /// The topic that the client means; `None`: whichever has the name now.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) metadata: String,
}

/// A question for committed offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetsRequest {
    /// Of these topics, of all if there are none.
    pub(crate) topics: Vec<String>,
    pub(crate) page: PageRequest<TopicPartition>,
}

/// Committed offsets, by topic id and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetsPage {
    pub(crate) offsets: Vec<StoredOffset>,
    /// The place behind which the next page starts; `None`: this is the last one.
    pub(crate) next: Option<TopicPartition>,
}

/// Offsets to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeleteOffsets {
    pub(crate) topic: String,
    /// None: all of the topic.
    pub(crate) partitions: Vec<u32>,
}

/// The assignment of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberAnswer {
    pub(crate) generation: Generation,
    pub(crate) partitions: Vec<AnsweredPartition>,
    /// Whether further partitions follow once others have given them up.
    pub(crate) is_incomplete: bool,
    pub(crate) session_timeout_ms: u32,
    pub(crate) rebalance_timeout_ms: u32,
    /// The node that coordinates the group.
    pub(crate) node: NodeId,
}

/// A partition that a member reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnsweredPartition {
    pub(crate) topic: String,
    pub(crate) at: TopicPartition,
    /// The next offset to read, if one is committed.
    pub(crate) committed: Option<u64>,
    /// The generation since which the member has it.
    pub(crate) since: Generation,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredOffset {
    pub(crate) topic: String,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) offset: u64,
    pub(crate) metadata: String,
    pub(crate) committed_at_ms: i64,
}

/// A page of the members and offsets of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupDescription {
    pub(crate) state: GroupState,
    pub(crate) generation: Generation,
    pub(crate) assignor: Assignor,
    pub(crate) members: Vec<MemberDescription>,
    /// Without their metadata, which may be long.
    pub(crate) offsets: Vec<StoredOffset>,
    /// The place behind which the next page starts; `None`: this is the last one.
    pub(crate) next: Option<DescribedPlace>,
    /// The node that coordinates it.
    pub(crate) node: NodeId,
}

impl GroupDescription {
    /// Leaves out topics that a caller may not see.
    pub(crate) fn retain_topics(&mut self, is_visible: impl Fn(&str) -> bool) {
        self.offsets.retain(|offset| is_visible(&offset.topic));
        for member in &mut self.members {
            member.partitions.retain(|held| is_visible(&held.topic));
            let topics = &mut member.spec.subscription.topics;
            topics.retain(|topic| is_visible(topic));
        }
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberDescription {
    pub(crate) spec: MemberSpec,
    pub(crate) partitions: Vec<MemberPartition>,
}

impl MemberDescription {
    /// Upper bound of the size in a message, in bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        // The numbers and lengths of a member, of a topic and of a partition.
        const MEMBER_BYTES: usize = 64;
        const TOPIC_BYTES: usize = 8;
        const PARTITION_BYTES: usize = 32;
        let MemberSpec {
            id,
            principal,
            client_id,
            instance_id,
            subscription: Subscription { topics, pattern },
            ..
        } = &self.spec;
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = [principal.len(), client_id.len(), id.as_str().len()];
        let topics = topics.iter().map(|topic| topic.len() + TOPIC_BYTES);
        let partitions = self.partitions.iter();
        let partitions = partitions.map(|held| held.topic.len() + PARTITION_BYTES);
        let lists: usize = topics.chain(partitions).chain(texts).sum();
        MEMBER_BYTES + optional(instance_id) + optional(pattern) + lists
    }
}

/// A partition that a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberPartition {
    pub(crate) topic: String,
    pub(crate) at: TopicPartition,
    /// Whether the member is about to give it up.
    pub(crate) is_revoking: bool,
}

/// A question for groups by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListRequest {
    /// The groups after this name.
    pub(crate) after: String,
    pub(crate) max_count: usize,
    pub(crate) principal: Arc<Principal>,
    /// The coordinator that a node asks another one about; `None`: all of the cluster.
    pub(crate) coordinator: Option<PartitionId>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedGroup {
    pub(crate) group: String,
    pub(crate) state: GroupState,
    pub(crate) member_count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_take_the_memory_of_their_texts_and_those_that_wait_take_none() {
        let commit = |text_bytes: usize| {
            let offset = OffsetToCommit {
                topic: "t".repeat(100),
                topic_id: None,
                partition: 0,
                offset: 0,
                metadata: "x".repeat(text_bytes),
            };
            let offsets = vec![offset; 10];
            GroupCall::Commit(CommitRequest { by: None, offsets }).memory_bytes()
        };
        assert!(commit(0) >= 1000);
        assert_eq!(commit(4000) - commit(0), 40_000);
        let id: MemberId = "m".parse().unwrap();
        let member = MemberRef {
            id,
            instance_id: None,
        };
        let heartbeat = Heartbeat {
            member,
            acknowledged: Generation::NONE,
            max_wait: Duration::ZERO,
        };
        assert_eq!(GroupCall::Heartbeat(heartbeat).memory_bytes(), 0);
        let page = PageRequest {
            after: None,
            max_count: 1,
        };
        let topics = vec!["t".repeat(249); 1000];
        let asked = GroupCall::Offsets(OffsetsRequest { topics, page });
        assert!(asked.memory_bytes() >= 249_000);
    }
}
