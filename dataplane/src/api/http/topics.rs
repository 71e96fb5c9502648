//! Topics: create, alter, delete, list, describe.

mod schema;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use lograft_core::limits::PAGE_MAX_COUNT;
use lograft_core::metadata::TopicId;
use lograft_core::topic_config::{SettingValue, SettingsChange};
use lograft_proto::Method;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::answer::{json, no_content};
use super::authorize::principal;
use super::body::read_json;
use super::error::HttpError;
use super::number::Int;
use super::parts::HttpApi;
use super::produce::TopicPath;
use super::query::{path, query};
use crate::api::caller::check_member;
use crate::api::page::Page;
use crate::control::topic_admin::{NewTopic, TopicChange, ready_timeout};
use crate::error::ApiError;

pub(super) use schema::{
    AlterTopic, ChangedTopic, CreateTopic, DeleteTopicQuery, PartitionStatus, TopicPage,
    TopicStatus, partition,
};

/// Create a topic
///
/// Answered when all partitions have a leader, or after `timeout_ms`; `ready` says which.
#[utoipa::path(
    post, path = "/v1/topics", tag = "topics", operation_id = "create_topic",
    request_body(content = CreateTopic, example = json!(schema::EXAMPLE.clone())),
    responses((status = 201, description = "The topic is created", body = ChangedTopic))
)]
pub(super) async fn create_topic(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    // The name, and so the resource, is in the body: the caller is refused after a body of bounded
    // size.
    let (head, body) = request.into_parts();
    let caller = std::sync::Arc::clone(principal(&head)?);
    let request = Request::from_parts(head.clone(), body);
    let topic: CreateTopic = read_json(&api.bodies, request).await?;
    api.authorize_topic(&head, (Method::AdminCreateTopic, &topic.name))?;
    check_member(api.control())?;
    let CreateTopic {
        name,
        partitions,
        replication_factor,
        settings,
        timeout_ms,
    } = topic;
    let new = NewTopic {
        name: name.clone(),
        partitions,
        replication_factor,
        retention: None,
        settings: settings_change(&settings, &[])?,
        ready_timeout: timeout(timeout_ms),
    };
    let ready = api.control().topics.create(new, &caller).await?;
    changed(&api, &name, (StatusCode::CREATED, ready)).await
}

/// Alter a topic
///
/// Partitions can be added, not removed.
#[utoipa::path(
    patch, path = "/v1/topics/{topic}", tag = "topics", operation_id = "alter_topic",
    params(("topic" = String, Path, description = "Name of the topic")),
    request_body = AlterTopic,
    responses((status = 200, description = "The topic is changed", body = ChangedTopic))
)]
pub(super) async fn alter_topic(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, body) = request.into_parts();
    let TopicPath { topic } = path(&mut head).await?;
    let by = api.authorize_topic(&head, (Method::AdminAlterTopic, &topic))?;
    check_member(api.control())?;
    let AlterTopic {
        partitions,
        replication_factor,
        settings,
        reset_settings,
        timeout_ms,
        topic_id,
    } = read_json(&api.bodies, Request::from_parts(head, body)).await?;
    let change = TopicChange {
        name: topic.clone(),
        id: topic_id.map(|Int(id)| TopicId(id)),
        partitions,
        replication_factor,
        retention: None,
        settings: settings_change(&settings, &reset_settings)?,
        ready_timeout: timeout(timeout_ms),
    };
    let ready = api.control().topics.alter(change, &by).await?;
    changed(&api, &topic, (StatusCode::OK, ready)).await
}

/// Delete a topic
///
/// Its records are deleted with it.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}", tag = "topics", operation_id = "delete_topic",
    params(("topic" = String, Path, description = "Name of the topic"), DeleteTopicQuery),
    responses((status = 204, description = "The topic is deleted"))
)]
pub(super) async fn delete_topic(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let TopicPath { topic } = path(&mut head).await?;
    let by = api.authorize_topic(&head, (Method::AdminDeleteTopic, &topic))?;
    check_member(api.control())?;
    let DeleteTopicQuery { topic_id } = query(&head)?;
    let topic = (topic, topic_id.map(TopicId));
    api.control().topics.delete(topic, &by).await?;
    Ok(no_content())
}

/// Describe a topic
#[utoipa::path(
    get, path = "/v1/topics/{topic}", tag = "topics", operation_id = "describe_topic",
    params(("topic" = String, Path, description = "Name of the topic")),
    responses((status = 200, description = "The topic", body = TopicStatus))
)]
pub(super) async fn describe_topic(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let TopicPath { topic } = path(&mut head).await?;
    api.authorize_topic(&head, (Method::AdminDescribeTopic, &topic))?;
    check_member(api.control())?;
    Ok(json(StatusCode::OK, &described(&api, &topic).await?))
}

/// Parameters of a page of topics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopicsQuery {
    /// Most topics to return; 1000 by default and at most.
    #[param(minimum = 1, maximum = 1000)]
    page_size: Option<usize>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List topics
///
/// Those that the caller may describe, in the order of their names.
#[utoipa::path(
    get, path = "/v1/topics", tag = "topics", operation_id = "list_topics",
    params(TopicsQuery),
    responses((status = 200, description = "A page of topics", body = TopicPage))
)]
pub(super) async fn list_topics(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (head, _) = request.into_parts();
    let caller = api.authorize_cluster(&head, Method::AdminListTopics)?;
    let TopicsQuery {
        page_size,
        page_token,
    } = query(&head)?;
    let size = page_count(page_size)?;
    check_member(api.control())?;
    let visible = api.visibility(&caller);
    let metadata = api.control().view.load();
    let shown = metadata
        .topics_after(page_token.as_deref().unwrap_or_default())
        .filter(|topic| visible.includes_topic(&topic.name));
    let page = Page::of(shown, size);
    let next = page.next(|last| last.name.clone());
    let topics = page.items.into_iter();
    let page = TopicPage {
        topics: topics.map(|topic| schema::summary(topic)).collect(),
        next_page_token: Some(next).filter(|next| !next.is_empty()),
    };
    Ok(json(StatusCode::OK, &page))
}

/// How many topics a page has, if a request asks for so many.
fn page_count(page_size: Option<usize>) -> Result<u32, ApiError> {
    let Some(size) = page_size else {
        return Ok(PAGE_MAX_COUNT);
    };
    let count = u32::try_from(size).ok();
    let count = count.filter(|count| (1..=PAGE_MAX_COUNT).contains(count));
    let bound = format_args!("between 1 and {PAGE_MAX_COUNT}, got {size}");
    count.ok_or_else(|| ApiError::invalid("page_size", bound))
}

async fn changed(
    api: &HttpApi,
    name: &str,
    (status, ready): (StatusCode, bool),
) -> Result<Response, HttpError> {
    let topic = described(api, name).await?;
    Ok(json(status, &ChangedTopic { topic, ready }))
}

async fn described(api: &HttpApi, name: &str) -> Result<TopicStatus, ApiError> {
    let described = api.control().cluster.describe_topic(name).await;
    described
        .map(schema::topic)
        .ok_or_else(|| ApiError::unknown_topic(name))
}

fn timeout(timeout_ms: Option<u32>) -> Duration {
    ready_timeout(timeout_ms.unwrap_or(0))
}

/// The settings that a request sets and removes. Numbers may be strings, as everywhere.
fn settings_change(
    settings: &BTreeMap<String, Value>,
    removed: &[String],
) -> Result<SettingsChange, ApiError> {
    let mut change = SettingsChange::default();
    for (key, value) in settings {
        let value = match value {
            Value::Number(number) => number.as_u64().map(SettingValue::Number),
            Value::String(text) => Some(match text.parse() {
                Ok(number) => SettingValue::Number(number),
                Err(_) => SettingValue::Text(text),
            }),
            _ => None,
        };
        change.set(key, value)?;
    }
    for key in removed {
        change.remove(key)?;
    }
    Ok(change)
}
