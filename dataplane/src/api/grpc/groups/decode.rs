//! Calls of the group service from their messages.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::acl::Principal;
use lograft_core::consumer_group::{
    Assignor, CommitSequence, Generation, MemberId, MemberSpec, validate_group_name,
};
use lograft_core::limits::{COMMIT_OFFSETS_MAX_COUNT, HEARTBEAT_WAIT_MAX};
use lograft_core::metadata::TopicId;
use lograft_proto::log::v1 as proto;

use crate::error::ApiError;
use crate::serving::consumer_groups::page::{PageRequest, page_limit};
use crate::serving::consumer_groups::request::{
    CommitRequest, Committer, DeleteOffsets, GroupTarget, Heartbeat, MemberRef, NewMember,
    OffsetToCommit, OffsetsRequest, commit_sequence,
};

/// The group that a call of a principal is for. Fails with INVALID_ARGUMENT if it has no valid
/// name.
pub(crate) fn target(
    group: &str,
    is_forwarded: bool,
    principal: &Arc<Principal>,
) -> Result<GroupTarget, ApiError> {
    validate_group_name(group)?;
    Ok(GroupTarget {
        group: group.to_owned(),
        is_forwarded,
        principal: Arc::clone(principal),
    })
}

/// A new member of a principal.
pub(crate) fn join(
    request: proto::JoinGroupRequest,
    principal: &Principal,
) -> Result<MemberSpec, ApiError> {
    let proto::JoinGroupRequest {
        group: _,
        member_id,
        instance_id,
        client_id,
        topics,
        topic_pattern,
        assignor,
        session_timeout_ms,
        rebalance_timeout_ms,
        forwarded: _,
        principal: _,
    } = request;
    let set = |ms: u32| (ms != 0).then_some(ms);
    let member = NewMember {
        id: member_id,
        client_id,
        instance_id,
        topics,
        topic_pattern,
        assignor: assignor_from(assignor)?,
        session_timeout_ms: set(session_timeout_ms),
        rebalance_timeout_ms: set(rebalance_timeout_ms),
    };
    member.spec(principal)
}

fn assignor_from(assignor: i32) -> Result<Option<Assignor>, ApiError> {
    match proto::Assignor::try_from(assignor) {
        Ok(proto::Assignor::Unspecified) => Ok(None),
        Ok(proto::Assignor::Sticky) => Ok(Some(Assignor::Sticky)),
        Ok(proto::Assignor::Range) => Ok(Some(Assignor::Range)),
        Err(_) => Err(ApiError::invalid(
            "assignor",
            "ASSIGNOR_STICKY or ASSIGNOR_RANGE",
        )),
    }
}

fn member(member_id: &str, instance_id: Option<String>) -> Result<MemberRef, ApiError> {
    let id = MemberId::new(member_id)?;
    Ok(MemberRef { id, instance_id })
}

/// A sign of life.
pub(crate) fn heartbeat(request: proto::HeartbeatRequest) -> Result<Heartbeat, ApiError> {
    let proto::HeartbeatRequest {
        group: _,
        member_id,
        instance_id,
        generation,
        max_wait_ms,
        forwarded: _,
        principal: _,
    } = request;
    Ok(Heartbeat {
        member: member(&member_id, instance_id)?,
        acknowledged: Generation(generation),
        max_wait: Duration::from_millis(max_wait_ms.into()).min(HEARTBEAT_WAIT_MAX),
    })
}

/// A member that leaves.
pub(crate) fn leave(request: proto::LeaveGroupRequest) -> Result<MemberRef, ApiError> {
    member(&request.member_id, request.instance_id)
}

/// Offsets to record.
pub(crate) fn commit(request: proto::CommitOffsetsRequest) -> Result<CommitRequest, ApiError> {
    let proto::CommitOffsetsRequest {
        group: _,
        member_id,
        instance_id,
        generation,
        offsets,
        forwarded: _,
        principal: _,
        sequence,
    } = request;
    let sequence = commit_sequence(sequence)?;
    if offsets.is_empty() || offsets.len() > COMMIT_OFFSETS_MAX_COUNT {
        let bound = format_args!("1 to {COMMIT_OFFSETS_MAX_COUNT}, got {}", offsets.len());
        return Err(ApiError::invalid("offsets", bound));
    }
    let by = if member_id.is_empty() {
        if sequence != CommitSequence::NONE {
            return Err(ApiError::invalid("sequence", "unset without member_id"));
        }
        None
    } else {
        Some(Committer {
            member: member(&member_id, instance_id)?,
            generation: Generation(generation),
            sequence,
        })
    };
    Ok(CommitRequest {
        by,
        offsets: offsets.into_iter().map(offset).collect(),
    })
}

fn offset(offset: proto::PartitionOffset) -> OffsetToCommit {
    let proto::PartitionOffset {
        topic,
        topic_id,
        partition,
        offset,
        metadata,
        committed_at_ms: _,
    } = offset;
    OffsetToCommit {
        topic,
        topic_id: topic_id.map(TopicId),
        partition,
        offset,
        metadata,
    }
}

/// A question for committed offsets.
pub(crate) fn offsets(request: proto::FetchOffsetsRequest) -> Result<OffsetsRequest, ApiError> {
    let page = PageRequest::new(("after", &request.after), page_limit(request.limit))?;
    let topics = request.topics;
    Ok(OffsetsRequest { topics, page })
}

/// Offsets to forget.
pub(crate) fn delete_offsets(request: proto::DeleteOffsetsRequest) -> DeleteOffsets {
    DeleteOffsets {
        topic: request.topic,
        partitions: request.partitions,
    }
}
