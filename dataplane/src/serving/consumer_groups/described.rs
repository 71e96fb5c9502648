//! Groups as clients see them.

use std::ops::Bound;
use std::sync::Arc;

use lograft_core::NodeId;
use lograft_core::consumer_group::{
    CommittedOffset, ConsumerGroup, GroupError, Member, MemberId, TopicPartition,
};
use lograft_core::metadata::Metadata;

use super::offsets::{Row, named};
use super::page::{DescribedPlace, OFFSET_MAX_BYTES, PageRequest, Room};
use super::request::{
    AnsweredPartition, GroupDescription, ListRequest, ListedGroup, MemberAnswer, MemberDescription,
    MemberPartition,
};
use crate::error::ApiError;
use crate::state_machine::SharedGroups;

/// The group does not exist.
pub(super) fn unknown_group(group: &str) -> ApiError {
    let group = group.to_owned();
    GroupError::UnknownGroup { group }.into()
}

/// The member is not in its group.
pub(super) fn unknown_member(member: &MemberId) -> ApiError {
    let member = member.to_string();
    GroupError::UnknownMember { member }.into()
}

/// The groups of a coordinator by name, those that are visible.
pub(super) fn list(
    groups: &SharedGroups,
    request: &ListRequest,
    is_visible: &dyn Fn(&str) -> bool,
) -> Vec<ListedGroup> {
    let state = groups.lock();
    let after = state.groups_after(&request.after);
    after
        .filter(|(name, _)| is_visible(name))
        .take(request.max_count)
        .map(|(name, found)| ListedGroup {
            group: name.to_owned(),
            state: found.membership().state(),
            member_count: u32::try_from(found.membership().members.len()).unwrap_or(u32::MAX),
        })
        .collect()
}

/// A page of a group: its members, then its offsets.
pub(super) fn describe(
    groups: &SharedGroups,
    (group, request): (&str, &PageRequest<DescribedPlace>),
    (metadata, node): (&Metadata, NodeId),
) -> Result<GroupDescription, ApiError> {
    let membership = {
        let state = groups.lock();
        let found = state.group(group).ok_or_else(|| unknown_group(group))?;
        Arc::clone(found.membership())
    };
    let mut room = Room::new(request.max_count);
    let (members, mut next) = members_page(&membership, request.after.as_ref(), &mut room);
    let mut rows = Vec::new();
    if next.is_none() {
        let after = match request.after {
            Some(DescribedPlace::Offset(at)) => Bound::Excluded(at),
            Some(DescribedPlace::Member(_)) | None => Bound::Unbounded,
        };
        let last_member = members.last().map(|member| member.spec.id.clone());
        let state = groups.lock();
        let offsets = state.group(group).into_iter().flat_map(|found| {
            let offsets = found.offsets();
            offsets.range((after, Bound::Unbounded))
        });
        for (at, committed) in offsets {
            if !room.take(OFFSET_MAX_BYTES) {
                let last: Option<&Row> = rows.last();
                let last = last.map(|(at, _)| DescribedPlace::Offset(*at));
                next = last.or(last_member.map(DescribedPlace::Member));
                break;
            }
            let without_text = CommittedOffset {
                metadata: String::new(),
                ..*committed
            };
            rows.push((*at, without_text));
        }
    }
    Ok(GroupDescription {
        state: membership.state(),
        generation: membership.generation,
        assignor: membership.assignor(),
        members,
        offsets: named(metadata, rows)?,
        next,
        node,
    })
}

/// The members on a page, and the last one if others follow.
fn members_page(
    membership: &ConsumerGroup,
    after: Option<&DescribedPlace>,
    room: &mut Room,
) -> (Vec<MemberDescription>, Option<DescribedPlace>) {
    let start = match after {
        None => Bound::Unbounded,
        Some(DescribedPlace::Member(id)) => Bound::Excluded(id),
        Some(DescribedPlace::Offset(_)) => return (Vec::new(), None),
    };
    let mut members: Vec<MemberDescription> = Vec::new();
    let behind = membership
        .members
        .range::<MemberId, _>((start, Bound::Unbounded));
    for (_, member) in behind {
        let next = described(membership, member);
        if !room.take(next.max_bytes()) {
            let last = members.last().map(|member| member.spec.id.clone());
            return (members, last.map(DescribedPlace::Member));
        }
        members.push(next);
    }
    (members, None)
}

fn described(group: &ConsumerGroup, member: &Member) -> MemberDescription {
    let partition = |at: &TopicPartition, is_revoking| {
        let topic = group.topics.get(&at.topic);
        MemberPartition {
            topic: topic.map(|topic| topic.name.clone()).unwrap_or_default(),
            at: *at,
            is_revoking,
        }
    };
    let assigned = member.assigned.keys().map(|at| partition(at, false));
    let revoking = member.revoking.keys().map(|at| partition(at, true));
    MemberDescription {
        spec: member.spec.clone(),
        partitions: assigned.chain(revoking).collect(),
    }
}

/// The reply to a member; none if it is not in the group.
pub(super) fn answer(
    groups: &SharedGroups,
    group: &str,
    (id, node): (&MemberId, NodeId),
) -> Option<MemberAnswer> {
    let state = groups.lock();
    let found = state.group(group)?;
    let membership = found.membership();
    let assignment = membership.reply(id)?;
    let spec = &membership.members.get(id)?.spec;
    let partitions = assignment.partitions.iter().map(|(at, since)| {
        let topic = membership.topics.get(&at.topic);
        AnsweredPartition {
            topic: topic.map(|topic| topic.name.clone()).unwrap_or_default(),
            at: *at,
            committed: found.offset(*at).map(|committed| committed.offset),
            since: *since,
        }
    });
    Some(MemberAnswer {
        generation: assignment.generation,
        partitions: partitions.collect(),
        is_incomplete: assignment.is_incomplete,
        session_timeout_ms: spec.session_timeout_ms,
        rebalance_timeout_ms: spec.rebalance_timeout_ms,
        node,
    })
}
