//! Consumer groups: members, offsets, groups, and polls.

pub(super) mod members;
pub(super) mod offsets;
pub(super) mod poll;
mod schema;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use lograft_core::acl::Resource;
use lograft_core::consumer_group::{MemberId, validate_group_name};
use lograft_core::limits::{GROUP_PAGE_MAX_COUNT, GROUPS_PAGE_MAX_COUNT};
use lograft_proto::Method;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::answer::{JSON, json_bytes, no_content, with_body};
use super::error::HttpError;
use super::parts::HttpApi;
use super::query::{path, query};
use crate::api::group_calls;
use crate::api::held_reply::hold;
use crate::error::ApiError;
use crate::serving::consumer_groups::page::PageRequest;
use crate::serving::consumer_groups::poll::other_answer;
use crate::serving::consumer_groups::request::{
    GroupAnswer, GroupCall, GroupRequest, GroupTarget, ListRequest, MemberRef,
};
use crate::serving::reply_memory::ReplyAccount;

use schema::{GroupPage, GroupStatus, summary};

/// A group in the path.
#[derive(Debug, Deserialize)]
struct GroupPath {
    group: String,
}

/// A member in the path.
#[derive(Debug, Deserialize)]
struct MemberPath {
    group: String,
    member: String,
}

impl HttpApi {
    /// Checks a call for a group. Returns the group, with the principal whose call it is.
    fn authorize_group(
        &self,
        head: &Parts,
        (method, group): (Method, String),
    ) -> Result<GroupTarget, ApiError> {
        let principal = self.authorize(head, (method, Resource::Group(&group)))?;
        validate_group_name(&group)?;
        Ok(GroupTarget {
            group,
            is_forwarded: false,
            principal,
        })
    }

    async fn group_call(
        &self,
        target: GroupTarget,
        call: GroupCall,
    ) -> Result<GroupAnswer, ApiError> {
        let request = GroupRequest { target, call };
        group_calls::call(self.groups()?, self.access(), request).await
    }
}

/// An answer with its memory. Fails with TOO_MANY_READS if there is none: the answer is in memory
/// already, so it does not wait.
fn held_json<T: Serialize>(account: ReplyAccount, answer: &T) -> Result<Response, ApiError> {
    let bytes = json_bytes(answer);
    let memory = account.reserve_now(bytes.len())?;
    let mut response = with_body(StatusCode::OK, JSON, bytes.into());
    hold(response.extensions_mut(), account, Some(memory));
    Ok(response)
}

fn member_ref(id: &str, instance_id: Option<String>) -> Result<MemberRef, ApiError> {
    let id = MemberId::new(id)?;
    Ok(MemberRef { id, instance_id })
}

/// Parameters of a page of a group.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GroupQuery {
    /// Most members and offsets to return together; 10000 by default and at most.
    #[param(minimum = 1, maximum = 10_000)]
    page_size: Option<usize>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// The number of items on a page, within 1 and `max`; that by default.
fn page_size(asked: Option<usize>, max: usize) -> Result<usize, ApiError> {
    let size = asked.unwrap_or(max);
    if (1..=max).contains(&size) {
        return Ok(size);
    }
    let bound = format_args!("between 1 and {max}, got {size}");
    Err(ApiError::invalid("page_size", bound))
}

/// Describe a group
///
/// Its members, then its committed offsets. If the group changes meanwhile, its pages are of
/// different generations.
#[utoipa::path(
    get, path = "/v1/groups/{group}", tag = "groups", operation_id = "describe_group",
    params(("group" = String, Path, description = "Name of the group"), GroupQuery),
    responses((status = 200, description = "A page of the group", body = GroupStatus))
)]
pub(super) async fn describe_group(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let GroupPath { group } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupDescribeGroup, group.clone()))?;
    let GroupQuery {
        page_size: size,
        page_token,
    } = query(&head)?;
    let token = page_token.unwrap_or_default();
    let size = page_size(size, GROUP_PAGE_MAX_COUNT)?;
    let page = PageRequest::new(("page_token", &token), size)?;
    let account = api.groups()?.reply_account(&target.principal, false);
    match api.group_call(target, GroupCall::Describe(page)).await? {
        GroupAnswer::Described(description) => {
            let group = GroupStatus::new(group, description);
            Ok(held_json(account, &group)?)
        }
        other => Err(other_answer(&other).into()),
    }
}

/// Delete a group
///
/// With its offsets. It must have no members.
#[utoipa::path(
    delete, path = "/v1/groups/{group}", tag = "groups", operation_id = "delete_group",
    params(("group" = String, Path, description = "Name of the group")),
    responses((status = 204, description = "The group is deleted"))
)]
pub(super) async fn delete_group(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let GroupPath { group } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupDeleteGroup, group))?;
    api.group_call(target, GroupCall::Delete).await?;
    Ok(no_content())
}

/// Parameters of a page of groups.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GroupsQuery {
    /// Most groups to return; 1000 by default and at most.
    #[param(minimum = 1, maximum = 1000)]
    page_size: Option<usize>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List groups
///
/// Those that the caller may describe, in the order of their names.
#[utoipa::path(
    get, path = "/v1/groups", tag = "groups", operation_id = "list_groups",
    params(GroupsQuery),
    responses((status = 200, description = "A page of groups", body = GroupPage))
)]
pub(super) async fn list_groups(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (head, _) = request.into_parts();
    let principal = api.authorize_cluster(&head, Method::GroupListGroups)?;
    let GroupsQuery {
        page_size: size,
        page_token,
    } = query(&head)?;
    let size = page_size(size, GROUPS_PAGE_MAX_COUNT)?;
    let visible = api.visibility(&principal);
    let request = ListRequest {
        after: page_token.unwrap_or_default(),
        // One more tells whether others follow.
        max_count: size + 1,
        principal: std::sync::Arc::clone(&principal),
        coordinator: None,
    };
    let mut groups = api
        .groups()?
        .list(request, false, &|name| visible.includes_group(name))
        .await?;
    let has_more = groups.len() > size;
    groups.truncate(size);
    let next = groups.last().filter(|_| has_more);
    let page = GroupPage {
        next_page_token: next.map(|group| group.group.clone()),
        groups: groups.into_iter().map(summary).collect(),
    };
    let account = api.groups()?.reply_account(&principal, false);
    Ok(held_json(account, &page)?)
}
