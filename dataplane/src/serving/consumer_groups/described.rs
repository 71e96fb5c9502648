//! Groups as clients see them.

use std::ops::Bound;
use std::sync::Arc;

use lograft_core::NodeId;
use lograft_core::consumer_group::{
    CommittedOffset, ConsumerGroup, GroupError, Member, MemberId, TopicPartition,
};
use lograft_core::metadata::Metadata;

use super::offsets::{Row, named};
use super::page::{DescribedPlace, OFFSET_BYTES, PageRequest, Room};
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
///
/// Rights are decided outside of the state's lock, for which apply waits.
pub(super) fn list(
    groups: &SharedGroups,
    request: &ListRequest,
    is_visible: &dyn Fn(&str) -> bool,
) -> Vec<ListedGroup> {
    let mut listed = Vec::new();
    let mut after = request.after.clone();
    loop {
        let part = names_after(groups, &after, request.max_count);
        let is_last = part.len() < request.max_count;
        let Some((last, _)) = part.last() else {
            return listed;
        };
        after.clone_from(last);
        let visible = part.into_iter().filter(|(name, _)| is_visible(name));
        let left = request.max_count - listed.len();
        listed.extend(visible.take(left).map(listed_group));
        if is_last || listed.len() == request.max_count {
            return listed;
        }
    }
}

/// The groups after this name, at most so many.
fn names_after(
    groups: &SharedGroups,
    after: &str,
    max_count: usize,
) -> Vec<(String, Arc<ConsumerGroup>)> {
    let state = groups.lock();
    let found = state.groups_after(after).take(max_count);
    found
        .map(|(name, group)| (name.to_owned(), Arc::clone(group.membership())))
        .collect()
}

fn listed_group((group, membership): (String, Arc<ConsumerGroup>)) -> ListedGroup {
    ListedGroup {
        group,
        state: membership.state(),
        member_count: u32::try_from(membership.members.len()).unwrap_or(u32::MAX),
    }
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
            if !room.take(OFFSET_BYTES) {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use lograft_core::PartitionId;
    use lograft_core::acl::Principal;
    use lograft_core::consumer_group::{CommitSequence, GroupCommand, OffsetCommit};
    use lograft_core::metadata::TopicId;

    use super::*;

    /// Longer than a lock is held that nobody waits for.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn groups(names: &[&str]) -> SharedGroups {
        let groups = SharedGroups::default();
        let partition = TopicPartition {
            topic: TopicId(1),
            partition: PartitionId(0),
        };
        let commit = |name: &&str| OffsetCommit {
            group: (*name).to_owned(),
            member: None,
            sequence: CommitSequence::NONE,
            partition,
            offset: 0,
            metadata: String::new(),
            committed_at_ms: 0,
        };
        let commits = names.iter().map(commit).collect();
        let committed = groups.lock().apply(&GroupCommand::Commit { commits });
        committed.unwrap();
        groups
    }

    fn names(groups: &SharedGroups, after: &str, max_count: usize) -> Vec<String> {
        let request = ListRequest {
            after: after.to_owned(),
            max_count,
            principal: Arc::new(Principal::Operator),
            coordinator: None,
        };
        let listed = list(groups, &request, &|name| !name.starts_with("hidden"));
        listed.into_iter().map(|listed| listed.group).collect()
    }

    #[test]
    fn hidden_groups_take_no_room_on_a_page() {
        let groups = groups(&["a", "b", "hidden-1", "hidden-2", "hidden-3", "i", "j"]);
        assert_eq!(names(&groups, "", 3), ["a", "b", "i"]);
        assert_eq!(names(&groups, "i", 3), ["j"]);
        assert_eq!(names(&groups, "a", 10), ["b", "i", "j"]);
        assert_eq!(names(&groups, "hidden-0", 2), ["i", "j"]);
        assert!(names(&groups, "j", 2).is_empty());
    }

    #[test]
    fn rights_are_decided_while_the_state_is_free() {
        let groups = groups(&["a", "b"]);
        let is_free = |_: &str| {
            let (groups, (taken, is_taken)) = (groups.clone(), mpsc::channel());
            thread::spawn(move || {
                drop(groups.lock());
                taken.send(()).ok();
            });
            is_taken.recv_timeout(PATIENCE).is_ok()
        };
        let request = ListRequest {
            after: String::new(),
            max_count: 10,
            principal: Arc::new(Principal::Operator),
            coordinator: None,
        };
        assert_eq!(list(&groups, &request, &is_free).len(), 2);
    }
}
