//! Committed offsets: commit, read, forget.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use lograft_core::consumer_group::Generation;
use lograft_core::limits::GROUP_PAGE_MAX_COUNT;
use lograft_proto::Method;
use serde::Deserialize;
use utoipa::IntoParams;

use super::schema::{
    CommitAnswer, CommitBody, DeletedOffsets, GroupOffset, GroupOffsets, to_commit,
};
use super::{GroupPath, held_json, member_ref, page_size, schema};
use crate::api::http::answer::json;
use crate::api::http::body::read_json;
use crate::api::http::error::HttpError;
use crate::api::http::offsets::numbers;
use crate::api::http::parts::HttpApi;
use crate::api::http::query::{path, query};
use crate::error::ApiError;
use crate::serving::consumer_groups::page::{PageRequest, Place as _};
use crate::serving::consumer_groups::poll::other_answer;
use crate::serving::consumer_groups::request::{
    CommitRequest, Committer, DeleteOffsets, GroupAnswer, GroupCall, OffsetsRequest,
    commit_sequence,
};

/// Commit offsets
///
/// Records how far partitions have been read: by a member with its `member_id` and `generation`,
/// or, without them, from outside of a group that has no members.
#[utoipa::path(
    post, path = "/v1/groups/{group}/offsets", tag = "groups", operation_id = "commit_offsets",
    params(("group" = String, Path, description = "Name of the group")),
    request_body(content = CommitBody, example = json!(schema::COMMIT_EXAMPLE.clone())),
    responses(
        (status = 200, description = "All offsets are committed", body = CommitAnswer),
        (status = 207, description = "Some offsets are not committed: they have an error",
            body = CommitAnswer),
    )
)]
pub(crate) async fn commit_offsets(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, body) = request.into_parts();
    let GroupPath { group } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupCommitOffsets, group))?;
    let CommitBody {
        member_id,
        instance_id,
        generation,
        sequence,
        offsets,
        _next_page_token: _,
    } = read_json(&api.bodies, Request::from_parts(head, body)).await?;
    let by = match (member_id, generation) {
        (Some(id), Some(generation)) => Some(Committer {
            member: member_ref(&id, instance_id)?,
            generation: Generation(generation.0),
            sequence: commit_sequence(sequence.map_or(0, |number| number.0))?,
        }),
        (None, None) if sequence.is_some() => {
            return Err(ApiError::invalid("sequence", "unset without member_id").into());
        }
        (None, None) => None,
        _ => {
            return Err(
                ApiError::invalid("generation", "set if member_id is, and only then").into(),
            );
        }
    };
    if offsets.is_empty() {
        return Err(ApiError::invalid("offsets", "at least 1, got 0").into());
    }
    let (places, offsets) = to_commit(offsets);
    let call = GroupCall::Commit(CommitRequest { by, offsets });
    match api.group_call(target, call).await? {
        GroupAnswer::Committed(outcomes) => {
            let status = if outcomes.iter().all(Result::is_ok) {
                StatusCode::OK
            } else {
                StatusCode::MULTI_STATUS
            };
            let answer = CommitAnswer {
                results: schema::outcomes(places, outcomes),
            };
            Ok(json(status, &answer))
        }
        other => Err(other_answer(&other).into()),
    }
}

/// Parameters of a question for committed offsets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GroupOffsetsQuery {
    /// Names of topics, with commas between them; all topics by default.
    topics: Option<String>,
    /// Most offsets to return; 10000 by default and at most.
    #[param(minimum = 1, maximum = 10_000)]
    page_size: Option<usize>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Read committed offsets
///
/// As they are after all commits that were acknowledged. Partitions without one are left out.
#[utoipa::path(
    get, path = "/v1/groups/{group}/offsets", tag = "groups", operation_id = "group_offsets",
    params(("group" = String, Path, description = "Name of the group"), GroupOffsetsQuery),
    responses((status = 200, description = "A page of the committed offsets", body = GroupOffsets))
)]
pub(crate) async fn group_offsets(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let GroupPath { group } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupFetchOffsets, group))?;
    let GroupOffsetsQuery {
        topics,
        page_size: size,
        page_token,
    } = query(&head)?;
    let topics = topics.iter().flat_map(|topics| topics.split(','));
    let token = page_token.unwrap_or_default();
    let size = page_size(size, GROUP_PAGE_MAX_COUNT)?;
    let call = GroupCall::Offsets(OffsetsRequest {
        topics: topics.map(str::to_owned).collect(),
        page: PageRequest::new(("page_token", &token), size)?,
    });
    let account = api.groups()?.reply_account(&target.principal, false);
    match api.group_call(target, call).await? {
        GroupAnswer::Offsets(page) => {
            let offsets = page.offsets.into_iter().map(GroupOffset::from);
            let page = GroupOffsets {
                offsets: offsets.collect(),
                next_page_token: page.next.map(|place| place.token()),
            };
            Ok(held_json(account, &page)?)
        }
        other => Err(other_answer(&other).into()),
    }
}

/// Parameters of a deletion of offsets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteOffsetsQuery {
    /// Name of the topic.
    topic: String,
    /// Numbers of partitions, with commas between them; all partitions by default.
    #[param(pattern = "^[0-9]{1,5}(,[0-9]{1,5})*$")]
    partitions: Option<String>,
}

/// Forget committed offsets
///
/// Those of a topic, of a group without members.
#[utoipa::path(
    delete, path = "/v1/groups/{group}/offsets", tag = "groups", operation_id = "delete_offsets",
    params(("group" = String, Path, description = "Name of the group"), DeleteOffsetsQuery),
    responses((status = 200, description = "The offsets are forgotten", body = DeletedOffsets))
)]
pub(crate) async fn delete_offsets(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let GroupPath { group } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupDeleteOffsets, group))?;
    let DeleteOffsetsQuery { topic, partitions } = query(&head)?;
    let partitions = partitions.as_deref().map(numbers).transpose()?;
    let call = GroupCall::DeleteOffsets(DeleteOffsets {
        topic,
        partitions: partitions.unwrap_or_default(),
    });
    match api.group_call(target, call).await? {
        GroupAnswer::Deleted(deleted_count) => {
            Ok(json(StatusCode::OK, &DeletedOffsets { deleted_count }))
        }
        other => Err(other_answer(&other).into()),
    }
}
