//! Calls for consumer groups, whatever protocol they come by: the rights to the topics that they
//! name, and the topics that their answers may show.

use std::collections::BTreeSet;
use std::sync::Arc;

use lograft_core::acl::{Principal, Resource};

use super::call_rules::{ALTER_GROUP, READ_TOPIC};
use crate::access::{Access, Visibility};
use crate::error::ApiError;
use crate::serving::consumer_groups::GroupEngine;
use crate::serving::consumer_groups::request::{GroupAnswer, GroupCall, GroupRequest};

/// Carries out a call. The right to the group itself is the method's: the caller of this function
/// MUST have checked it.
pub(super) async fn call(
    engine: &GroupEngine,
    access: &Access,
    request: GroupRequest,
) -> Result<GroupAnswer, ApiError> {
    check(access, &request)?;
    let principal = Arc::clone(&request.target.principal);
    let mut answer = engine.call(request).await?;
    leave_out_hidden(&mut answer, &access.visibility(&principal));
    Ok(answer)
}

/// Checks that a principal may read topics.
pub(super) fn check_topics<'a>(
    access: &Access,
    principal: &Principal,
    topics: impl IntoIterator<Item = &'a String>,
) -> Result<(), ApiError> {
    let topics: BTreeSet<&String> = topics.into_iter().collect();
    let mut checks = topics
        .into_iter()
        .map(|topic| access.check(principal, READ_TOPIC, Resource::Topic(topic)));
    checks.try_for_each(|check| check)
}

fn check(access: &Access, request: &GroupRequest) -> Result<(), ApiError> {
    let GroupRequest { target, call } = request;
    let principal = &target.principal;
    match call {
        GroupCall::Join(spec) => check_topics(access, principal, &spec.subscription.topics),
        GroupCall::Commit(commit) => {
            if commit.by.is_none() {
                access.check(principal, ALTER_GROUP, Resource::Group(&target.group))?;
            }
            let topics = commit.offsets.iter().map(|offset| &offset.topic);
            check_topics(access, principal, topics)
        }
        GroupCall::DeleteOffsets(offsets) => check_topics(access, principal, [&offsets.topic]),
        GroupCall::Heartbeat(_)
        | GroupCall::Leave(_)
        | GroupCall::Offsets(_)
        | GroupCall::Describe(_)
        | GroupCall::Delete => Ok(()),
    }
}

fn leave_out_hidden(answer: &mut GroupAnswer, visible: &Visibility<'_>) {
    match answer {
        GroupAnswer::Offsets(page) => {
            page.offsets
                .retain(|offset| visible.includes_topic(&offset.topic));
        }
        GroupAnswer::Described(description) => {
            description.retain_topics(|topic| visible.includes_topic(topic));
        }
        GroupAnswer::Member(_)
        | GroupAnswer::Done
        | GroupAnswer::Committed(_)
        | GroupAnswer::Deleted(_) => {}
    }
}
