//! Answers of consumer groups as messages of the group service.

use lograft_core::consumer_group::{Assignor, GroupState};
use lograft_proto::log::v1 as proto;

use crate::api::grpc::status::to_wire;
use crate::error::ApiError;
use crate::serving::consumer_groups::page::Place;
use crate::serving::consumer_groups::request::{
    AnsweredPartition, GroupDescription, ListedGroup, MemberAnswer, MemberDescription,
    MemberPartition, OffsetsPage, StoredOffset,
};

/// The assignment of a member.
pub(crate) fn member(answer: MemberAnswer) -> proto::MemberReply {
    let MemberAnswer {
        generation,
        partitions,
        is_incomplete,
        session_timeout_ms,
        rebalance_timeout_ms,
        node,
    } = answer;
    proto::MemberReply {
        generation: generation.get(),
        partitions: partitions.into_iter().map(assigned).collect(),
        is_incomplete,
        session_timeout_ms,
        rebalance_timeout_ms,
        coordinator_node: node.get(),
    }
}

fn assigned(partition: AnsweredPartition) -> proto::AssignedPartition {
    let AnsweredPartition {
        topic,
        at,
        committed,
        since,
    } = partition;
    proto::AssignedPartition {
        topic,
        topic_id: at.topic.0,
        partition: at.partition.get(),
        committed_offset: committed,
        since_generation: since.get(),
    }
}

/// The outcome of each offset, beside the topic and partition that the request named.
pub(crate) fn committed(
    asked: Vec<(String, u32)>,
    outcomes: Vec<Result<(), ApiError>>,
) -> proto::CommitOffsetsReply {
    let results = asked.into_iter().zip(outcomes);
    let result =
        |((topic, partition), outcome): (_, Result<(), ApiError>)| proto::PartitionResult {
            topic,
            partition,
            error: outcome.err().as_ref().map(to_wire),
        };
    proto::CommitOffsetsReply {
        results: results.map(result).collect(),
    }
}

/// A page of committed offsets.
pub(crate) fn offsets_page(page: OffsetsPage) -> proto::FetchOffsetsReply {
    proto::FetchOffsetsReply {
        offsets: offsets(page.offsets),
        next: page.next.as_ref().map(Place::token),
    }
}

fn offsets(found: Vec<StoredOffset>) -> Vec<proto::PartitionOffset> {
    let offset = |found: StoredOffset| {
        let StoredOffset {
            topic,
            topic_id,
            partition,
            offset,
            metadata,
            committed_at_ms,
        } = found;
        proto::PartitionOffset {
            topic,
            topic_id: Some(topic_id.0),
            partition: partition.get(),
            offset,
            metadata,
            committed_at_ms,
        }
    };
    found.into_iter().map(offset).collect()
}

/// A group.
pub(crate) fn described(group: String, description: GroupDescription) -> proto::DescribeGroupReply {
    let GroupDescription {
        state,
        generation,
        assignor,
        members,
        offsets: found,
        next,
        node,
    } = description;
    proto::DescribeGroupReply {
        group,
        state: state_to_proto(state).into(),
        generation: generation.get(),
        assignor: match assignor {
            Assignor::Sticky => proto::Assignor::Sticky,
            Assignor::Range => proto::Assignor::Range,
        }
        .into(),
        members: members.into_iter().map(described_member).collect(),
        offsets: offsets(found),
        next: next.as_ref().map(Place::token),
        coordinator_node: node.get(),
    }
}

fn described_member(member: MemberDescription) -> proto::GroupMember {
    let MemberDescription { spec, partitions } = member;
    let partition = |partition: MemberPartition| proto::MemberPartition {
        topic: partition.topic,
        topic_id: partition.at.topic.0,
        partition: partition.at.partition.get(),
        is_revoking: partition.is_revoking,
    };
    proto::GroupMember {
        member_id: spec.id.to_string(),
        instance_id: spec.instance_id,
        client_id: spec.client_id,
        principal: spec.principal,
        topics: spec.subscription.topics.into_iter().collect(),
        topic_pattern: spec.subscription.pattern,
        partitions: partitions.into_iter().map(partition).collect(),
    }
}

const fn state_to_proto(state: GroupState) -> proto::GroupState {
    match state {
        GroupState::Empty => proto::GroupState::Empty,
        GroupState::Rebalancing => proto::GroupState::Rebalancing,
        GroupState::Stable => proto::GroupState::Stable,
    }
}

/// A page of groups; `has_more`: others follow.
pub(crate) fn listed(groups: Vec<ListedGroup>, has_more: bool) -> proto::ListGroupsReply {
    let next = groups.last().filter(|_| has_more);
    proto::ListGroupsReply {
        next: next.map(|group| group.group.clone()),
        groups: groups.into_iter().map(listed_group).collect(),
    }
}

fn listed_group(listed: ListedGroup) -> proto::ListedGroup {
    let ListedGroup {
        group,
        state,
        member_count,
    } = listed;
    proto::ListedGroup {
        group,
        state: state_to_proto(state).into(),
        member_count,
    }
}
