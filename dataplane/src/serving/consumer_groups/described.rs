//! Groups as clients see them.

use lograft_core::NodeId;
use lograft_core::consumer_group::{ConsumerGroup, GroupError, Member, MemberId, TopicPartition};
use lograft_core::metadata::Metadata;

use super::offsets::stored;
use super::request::{
    AnsweredPartition, GroupDescription, ListRequest, ListedGroup, MemberAnswer, MemberDescription,
    MemberPartition, StoredOffset,
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

/// A group with its members and offsets.
pub(super) fn describe(
    groups: &SharedGroups,
    group: &str,
    (metadata, node): (&Metadata, NodeId),
) -> Result<GroupDescription, ApiError> {
    let state = groups.lock();
    let found = state.group(group).ok_or_else(|| unknown_group(group))?;
    let membership = found.membership();
    let members = membership.members.values();
    Ok(GroupDescription {
        state: membership.state(),
        generation: membership.generation,
        assignor: membership.assignor(),
        members: members
            .map(|member| described(membership, member))
            .collect(),
        // Their metadata may be long, and many.
        offsets: stored(metadata, &[], found.offsets().iter())?
            .into_iter()
            .map(|offset| StoredOffset {
                metadata: String::new(),
                ..offset
            })
            .collect(),
        node,
    })
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
