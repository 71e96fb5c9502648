//! Members: join, heartbeat, leave.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use lograft_core::acl::Principal;
use lograft_core::consumer_group::{Assignor, Generation, MemberId, MemberSpec};
use lograft_core::limits::{HEARTBEAT_WAIT_MAX, HTTP_GROUP_WAIT_DEFAULT};
use lograft_proto::Method;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::schema::{HeartbeatBody, JoinGroup, MemberStatus};
use super::{GroupPath, MemberPath, member_ref, schema};
use crate::api::http::answer::{json, no_content};
use crate::api::http::body::read_json;
use crate::api::http::error::HttpError;
use crate::api::http::parts::HttpApi;
use crate::api::http::query::{path, query};
use crate::error::ApiError;
use crate::serving::consumer_groups::poll::other_answer;
use crate::serving::consumer_groups::request::{
    GroupAnswer, GroupCall, GroupTarget, Heartbeat, NewMember,
};

/// Join a group
///
/// Makes the caller a member of a group, which is created if it does not exist. The node makes a
/// member id unless the request has one. Safe to repeat with the same member id.
#[utoipa::path(
    post, path = "/v1/groups/{group}/members", tag = "groups", operation_id = "join_group",
    params(("group" = String, Path, description = "Name of the group")),
    request_body(content = JoinGroup, example = json!(schema::JOIN_EXAMPLE.clone())),
    responses((status = 200, description = "The member and its assignment", body = MemberStatus))
)]
pub(crate) async fn join_group(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, body) = request.into_parts();
    let GroupPath { group } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupJoinGroup, group))?;
    let join: JoinGroup = read_json(&api.bodies, Request::from_parts(head, body)).await?;
    let spec = member_spec(join, &target.principal)?;
    let id = spec.id.clone();
    answer(&api, target, (GroupCall::Join(spec), id)).await
}

fn member_spec(join: JoinGroup, principal: &Principal) -> Result<MemberSpec, ApiError> {
    let JoinGroup {
        member_id,
        instance_id,
        client_id,
        topics,
        topic_pattern,
        assignor,
        session_timeout_ms,
        rebalance_timeout_ms,
    } = join;
    let member = NewMember {
        id: member_id.unwrap_or_else(|| Uuid::new_v4().to_string()),
        client_id,
        instance_id,
        topics,
        topic_pattern,
        assignor: assignor.map(Assignor::from),
        session_timeout_ms,
        rebalance_timeout_ms,
    };
    member.spec(principal)
}

/// Send a heartbeat
///
/// Keeps a member in its group, acknowledges the generation, and returns the assignment when it
/// has changed, or after `max_wait_ms`. A poll does the same; members that poll need no heartbeat
/// unless they process records for longer than their session.
#[utoipa::path(
    post, path = "/v1/groups/{group}/members/{member}/heartbeat", tag = "groups",
    operation_id = "heartbeat",
    params(
        ("group" = String, Path, description = "Name of the group"),
        ("member" = String, Path, description = "Id of the member"),
    ),
    request_body(content = HeartbeatBody, example = json!(schema::HEARTBEAT_EXAMPLE.clone())),
    responses((status = 200, description = "The assignment", body = MemberStatus))
)]
pub(crate) async fn heartbeat(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, body) = request.into_parts();
    let MemberPath { group, member } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupHeartbeat, group))?;
    let HeartbeatBody {
        generation,
        max_wait_ms,
        instance_id,
    } = read_json(&api.bodies, Request::from_parts(head, body)).await?;
    let member = member_ref(&member, instance_id)?;
    let id = member.id.clone();
    let heartbeat = Heartbeat {
        member,
        acknowledged: Generation(generation.0),
        max_wait: max_wait(max_wait_ms),
    };
    answer(&api, target, (GroupCall::Heartbeat(heartbeat), id)).await
}

/// How long a call waits for news.
pub(super) fn max_wait(max_wait_ms: Option<u32>) -> Duration {
    let asked = max_wait_ms.map(|ms| Duration::from_millis(ms.into()));
    asked
        .unwrap_or(HTTP_GROUP_WAIT_DEFAULT)
        .min(HEARTBEAT_WAIT_MAX)
}

async fn answer(
    api: &HttpApi,
    target: GroupTarget,
    (call, member): (GroupCall, MemberId),
) -> Result<Response, HttpError> {
    match api.group_call(target, call).await? {
        GroupAnswer::Member(answer) => {
            let status = MemberStatus::new(&member, answer);
            Ok(json(StatusCode::OK, &status))
        }
        other => Err(other_answer(&other).into()),
    }
}

/// Parameters of a member that leaves.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LeaveQuery {
    /// The instance id with which it joined.
    instance_id: Option<String>,
}

/// Leave a group
///
/// The partitions of the member go to other members at once. Also succeeds if it is not in the
/// group.
#[utoipa::path(
    delete, path = "/v1/groups/{group}/members/{member}", tag = "groups",
    operation_id = "leave_group",
    params(
        ("group" = String, Path, description = "Name of the group"),
        ("member" = String, Path, description = "Id of the member"),
        LeaveQuery,
    ),
    responses((status = 204, description = "The member has left"))
)]
pub(crate) async fn leave_group(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let MemberPath { group, member } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupLeaveGroup, group))?;
    let LeaveQuery { instance_id } = query(&head)?;
    let call = GroupCall::Leave(member_ref(&member, instance_id)?);
    api.group_call(target, call).await?;
    Ok(no_content())
}
