//! Forwarded calls for consumer groups as messages of the group service, and its replies as
//! answers.

use lograft_core::consumer_group::{
    Assignor, Generation, GroupState, MemberId, MemberSpec, Subscription, TopicPartition,
};
use lograft_core::metadata::TopicId;
use lograft_core::{PartitionId, Reason};
use lograft_proto::log::v1 as proto;

use super::status::error_from_wire;
use crate::error::ApiError;
use crate::serving::consumer_groups::page::{DescribedPlace, PageRequest, Place};
use crate::serving::consumer_groups::request::{
    AnsweredPartition, CommitRequest, Committer, DeleteOffsets, GroupDescription, GroupTarget,
    Heartbeat, ListRequest, ListedGroup, MemberAnswer, MemberDescription, MemberPartition,
    MemberRef, OffsetToCommit, OffsetsPage, OffsetsRequest, StoredOffset,
};

pub(super) fn join(target: GroupTarget, spec: MemberSpec) -> proto::JoinGroupRequest {
    let MemberSpec {
        id,
        principal: _,
        client_id,
        instance_id,
        subscription: Subscription { topics, pattern },
        assignor,
        session_timeout_ms,
        rebalance_timeout_ms,
    } = spec;
    proto::JoinGroupRequest {
        group: target.group,
        member_id: id.to_string(),
        instance_id,
        client_id,
        topics: topics.into_iter().collect(),
        topic_pattern: pattern,
        assignor: assignor_to_proto(assignor).into(),
        session_timeout_ms,
        rebalance_timeout_ms,
        forwarded: true,
        principal: target.principal.to_string(),
    }
}

const fn assignor_to_proto(assignor: Assignor) -> proto::Assignor {
    match assignor {
        Assignor::Sticky => proto::Assignor::Sticky,
        Assignor::Range => proto::Assignor::Range,
    }
}

pub(super) fn heartbeat(target: GroupTarget, heartbeat: Heartbeat) -> proto::HeartbeatRequest {
    let Heartbeat {
        member: MemberRef { id, instance_id },
        acknowledged,
        max_wait,
    } = heartbeat;
    proto::HeartbeatRequest {
        group: target.group,
        member_id: id.to_string(),
        instance_id,
        generation: acknowledged.get(),
        max_wait_ms: u32::try_from(max_wait.as_millis()).unwrap_or(u32::MAX),
        forwarded: true,
        principal: target.principal.to_string(),
    }
}

pub(super) fn leave(target: GroupTarget, member: MemberRef) -> proto::LeaveGroupRequest {
    proto::LeaveGroupRequest {
        group: target.group,
        member_id: member.id.to_string(),
        instance_id: member.instance_id,
        forwarded: true,
        principal: target.principal.to_string(),
    }
}

pub(super) fn commit(target: GroupTarget, request: CommitRequest) -> proto::CommitOffsetsRequest {
    let CommitRequest { by, offsets } = request;
    let of_all = proto::CommitOffsetsRequest {
        group: target.group,
        offsets: offsets.into_iter().map(offset_to_proto).collect(),
        forwarded: true,
        principal: target.principal.to_string(),
        ..proto::CommitOffsetsRequest::default()
    };
    let Some(Committer {
        member: MemberRef { id, instance_id },
        generation,
        sequence,
    }) = by
    else {
        return of_all;
    };
    proto::CommitOffsetsRequest {
        member_id: id.to_string(),
        instance_id,
        generation: generation.get(),
        sequence: sequence.get(),
        ..of_all
    }
}

fn offset_to_proto(offset: OffsetToCommit) -> proto::PartitionOffset {
    let OffsetToCommit {
        topic,
        topic_id,
        partition,
        offset,
        metadata,
    } = offset;
    proto::PartitionOffset {
        topic,
        topic_id: topic_id.map(|id| id.0),
        partition,
        offset,
        metadata,
        committed_at_ms: 0,
    }
}

pub(super) fn fetch_offsets(
    target: GroupTarget,
    request: OffsetsRequest,
) -> proto::FetchOffsetsRequest {
    let OffsetsRequest { topics, page } = request;
    proto::FetchOffsetsRequest {
        group: target.group,
        topics,
        after: page.token(),
        limit: u32::try_from(page.max_count).unwrap_or(u32::MAX),
        forwarded: true,
        principal: target.principal.to_string(),
    }
}

pub(super) fn delete_offsets(
    target: GroupTarget,
    offsets: DeleteOffsets,
) -> proto::DeleteOffsetsRequest {
    proto::DeleteOffsetsRequest {
        group: target.group,
        topic: offsets.topic,
        partitions: offsets.partitions,
        forwarded: true,
        principal: target.principal.to_string(),
    }
}

pub(super) fn describe(
    target: GroupTarget,
    page: &PageRequest<DescribedPlace>,
) -> proto::DescribeGroupRequest {
    proto::DescribeGroupRequest {
        group: target.group,
        after: page.token(),
        limit: u32::try_from(page.max_count).unwrap_or(u32::MAX),
        forwarded: true,
        principal: target.principal.to_string(),
    }
}

pub(super) fn delete(target: GroupTarget) -> proto::DeleteGroupRequest {
    proto::DeleteGroupRequest {
        group: target.group,
        forwarded: true,
        principal: target.principal.to_string(),
    }
}

pub(super) fn list(request: ListRequest) -> proto::ListGroupsRequest {
    let ListRequest {
        after,
        max_count,
        principal,
        coordinator,
    } = request;
    proto::ListGroupsRequest {
        after,
        limit: u32::try_from(max_count).unwrap_or(u32::MAX),
        forwarded: true,
        principal: principal.to_string(),
        coordinator: coordinator.map(PartitionId::get),
    }
}

pub(super) fn member(reply: proto::MemberReply) -> MemberAnswer {
    let proto::MemberReply {
        generation,
        partitions,
        is_incomplete,
        session_timeout_ms,
        rebalance_timeout_ms,
        coordinator_node,
    } = reply;
    MemberAnswer {
        generation: Generation(generation),
        partitions: partitions.into_iter().map(assigned).collect(),
        is_incomplete,
        session_timeout_ms,
        rebalance_timeout_ms,
        node: lograft_core::NodeId(coordinator_node),
    }
}

const fn place(topic_id: u64, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: TopicId(topic_id),
        partition: PartitionId(partition),
    }
}

fn assigned(partition: proto::AssignedPartition) -> AnsweredPartition {
    let proto::AssignedPartition {
        topic,
        topic_id,
        partition,
        committed_offset,
        since_generation,
    } = partition;
    AnsweredPartition {
        topic,
        at: place(topic_id, partition),
        committed: committed_offset,
        since: Generation(since_generation),
    }
}

pub(super) fn committed(reply: proto::CommitOffsetsReply) -> Vec<Result<(), ApiError>> {
    let results = reply.results.into_iter();
    results
        .map(|result| {
            result
                .error
                .map_or(Ok(()), |error| Err(error_from_wire(error)))
        })
        .collect()
}

/// The place behind which the next page starts. Fails with INTERNAL on one that no node would send.
fn next<P: Place>(token: Option<String>) -> Result<Option<P>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    let place = P::of_token(&token).ok_or_else(|| {
        let text = format!("a coordinator has answered a page that ends at {token:?}");
        ApiError::new(Reason::Internal, text)
    });
    place.map(Some)
}

pub(super) fn offsets_page(reply: proto::FetchOffsetsReply) -> Result<OffsetsPage, ApiError> {
    Ok(OffsetsPage {
        offsets: offsets(reply.offsets),
        next: next(reply.next)?,
    })
}

fn offsets(found: Vec<proto::PartitionOffset>) -> Vec<StoredOffset> {
    let offset = |found: proto::PartitionOffset| {
        let proto::PartitionOffset {
            topic,
            topic_id,
            partition,
            offset,
            metadata,
            committed_at_ms,
        } = found;
        StoredOffset {
            topic,
            topic_id: TopicId(topic_id.unwrap_or_default()),
            partition: PartitionId(partition),
            offset,
            metadata,
            committed_at_ms,
        }
    };
    found.into_iter().map(offset).collect()
}

/// Fails with INTERNAL on a name that no node would send.
pub(super) fn described(reply: proto::DescribeGroupReply) -> Result<GroupDescription, ApiError> {
    let proto::DescribeGroupReply {
        group: _,
        state,
        generation,
        assignor,
        members,
        offsets: found,
        coordinator_node,
        next: token,
    } = reply;
    let members = members.into_iter().map(described_member);
    Ok(GroupDescription {
        state: state_from_proto(state),
        generation: Generation(generation),
        assignor: assignor_from_proto(assignor),
        members: members.collect::<Result<_, _>>()?,
        offsets: offsets(found),
        next: next(token)?,
        node: lograft_core::NodeId(coordinator_node),
    })
}

fn assignor_from_proto(assignor: i32) -> Assignor {
    match proto::Assignor::try_from(assignor) {
        Ok(proto::Assignor::Range) => Assignor::Range,
        _ => Assignor::Sticky,
    }
}

fn state_from_proto(state: i32) -> GroupState {
    match proto::GroupState::try_from(state) {
        Ok(proto::GroupState::Stable) => GroupState::Stable,
        Ok(proto::GroupState::Rebalancing) => GroupState::Rebalancing,
        _ => GroupState::Empty,
    }
}

fn described_member(member: proto::GroupMember) -> Result<MemberDescription, ApiError> {
    let proto::GroupMember {
        member_id,
        instance_id,
        client_id,
        principal,
        topics,
        topic_pattern,
        partitions,
    } = member;
    let id = MemberId::new(&member_id)?;
    let partitions = partitions.into_iter().map(|partition| MemberPartition {
        at: place(partition.topic_id, partition.partition),
        topic: partition.topic,
        is_revoking: partition.is_revoking,
    });
    Ok(MemberDescription {
        spec: MemberSpec {
            id,
            principal,
            client_id,
            instance_id,
            subscription: Subscription {
                topics: topics.into_iter().collect(),
                pattern: topic_pattern,
            },
            assignor: Assignor::Sticky,
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
        },
        partitions: partitions.collect(),
    })
}

pub(super) fn listed(reply: proto::ListGroupsReply) -> Vec<ListedGroup> {
    let group = |listed: proto::ListedGroup| ListedGroup {
        group: listed.group,
        state: state_from_proto(listed.state),
        member_count: listed.member_count,
    };
    reply.groups.into_iter().map(group).collect()
}
