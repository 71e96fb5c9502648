//! Reading records: once, or as a stream.

mod consistency;
mod events;
mod lines;
mod page;
mod position;
mod tail;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use lograft_core::Offset;
use lograft_proto::Method;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::{EVENTS, NDJSON, with_body};
use super::content::Form;
use super::error::HttpError;
use super::media::AnswerForm;
use super::parts::HttpApi;
use super::produce::TopicPath;
use super::query::{path, query};
use super::record::{Forms, RecordFields};
use crate::api::caller::closing;
use crate::api::held_reply::hold;
use crate::error::ApiError;
use crate::serving::request::{ReadPoint, ReadTerms};
use consistency::Consistency;
use position::{Boundary, Start};
use tail::{Tail, TailCall};

pub(super) use events::{EndEvent, OpenEvent};
pub(super) use lines::LastLine;
pub(super) use page::FetchedPage;

/// A partition in the path.
#[derive(Debug, Deserialize)]
pub(super) struct PartitionPath {
    pub(super) topic: String,
    pub(super) partition: u32,
}

/// Parameters of a read. At most one of `at`, `offset` and `timestamp_ms`; the oldest record if
/// there is none.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FetchQuery {
    /// Start at the oldest record, or behind the newest one.
    #[param(inline)]
    at: Option<Boundary>,
    /// Start at this offset.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,20}$")]
    offset: Option<u64>,
    /// Start at the first record of this time or later, milliseconds since the Unix epoch.
    #[param(value_type = Option<String>, pattern = "^-?[0-9]{1,18}$")]
    timestamp_ms: Option<i64>,
    /// Most bytes of records to return at once; 524288 by default, at most 2097152.
    max_bytes: Option<u32>,
    /// Most records to return, of a stream all of its records together.
    #[param(minimum = 1)]
    max_records: Option<u32>,
    /// Wait up to this time, milliseconds, while there is no record; at most 30000. Not for
    /// streams.
    #[param(maximum = 30000)]
    wait_ms: Option<u32>,
    /// Which replica may answer: `leader` by default; `session`: the one of the node that is asked,
    /// whose end of the log may be some seconds old; `linearizable`: the leader, confirmed by a
    /// majority.
    #[param(inline)]
    consistency: Option<Consistency>,
    /// With `session`: the greatest high watermark of former answers. No older answer is given.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,20}$")]
    seen_high_watermark: Option<u64>,
    /// For application/x-ndjson: whether to wait for new records at the end of the log.
    follow: Option<bool>,
    /// Form of keys.
    #[param(inline)]
    key_as: Option<Form>,
    /// Form of values and of the values of headers.
    #[param(inline)]
    value_as: Option<Form>,
}

impl FetchQuery {
    fn forms(&self) -> Forms {
        Forms {
            key: self.key_as.unwrap_or_default(),
            value: self.value_as.unwrap_or_default(),
        }
    }

    /// Checks what the types do not.
    fn check(&self) -> Result<(), ApiError> {
        if self.max_records == Some(0) {
            return Err(ApiError::invalid("max_records", "at least 1, got 0"));
        }
        Ok(())
    }

    /// How the read is answered.
    fn terms(&self) -> ReadTerms {
        ReadTerms {
            consistency: self.consistency.unwrap_or_default().into(),
            seen: ReadPoint {
                high_watermark: Offset(self.seen_high_watermark.unwrap_or(0)),
                ..ReadPoint::default()
            },
            ..ReadTerms::default()
        }
    }

    fn start(&self) -> Result<Start, ApiError> {
        let Self {
            at,
            offset,
            timestamp_ms,
            ..
        } = *self;
        Start::new(at, offset, timestamp_ms)
    }
}

/// Read a partition
///
/// One answer by default, which may wait for new records (`wait_ms`). With
/// `Accept: application/x-ndjson` or `text/event-stream` a stream: the first one up to the end of
/// the log unless `follow` is set, server-sent events without an end. The partition's leader
/// answers unless `consistency` says otherwise.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/partitions/{partition}/records", tag = "records",
    operation_id = "fetch",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("partition" = u32, Path, description = "Number of the partition"),
        FetchQuery,
        ("Last-Event-ID" = Option<String>, Header, description =
            "For server-sent events: continue behind the event with this id, instead of `at`, `offset` or `timestamp_ms`"),
    ),
    responses((status = 200, description = "Records", content(
        (FetchedPage = "application/json"),
        (RecordFields = "application/x-ndjson"),
        (String = "text/event-stream"),
    )))
)]
pub(super) async fn fetch(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    const OFFERED: &[AnswerForm] = &[AnswerForm::Json, AnswerForm::Ndjson, AnswerForm::Events];
    let (mut head, _) = request.into_parts();
    let PartitionPath { topic, partition } = path(&mut head).await?;
    let call = read_call(&api, &head, Method::LogFetch, (topic, Some(partition)))?;
    let bound = "application/json, application/x-ndjson or text/event-stream";
    match AnswerForm::accepted(&head.headers, OFFERED, bound)? {
        AnswerForm::Json => page::fetch(&call, partition).await,
        form => stream(call, &head, form).await,
    }
}

/// Read a whole topic
///
/// A stream of the records of all partitions, at most 64: server-sent events
/// (`Accept: text/event-stream`), or JSON lines. Records of one partition are in order.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/records", tag = "records", operation_id = "consume",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        FetchQuery,
        ("Last-Event-ID" = Option<String>, Header, description =
            "For server-sent events: continue behind the event with this id"),
    ),
    responses((status = 200, description = "Records", content(
        (RecordFields = "application/x-ndjson"),
        (String = "text/event-stream"),
    )))
)]
pub(super) async fn consume(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    const OFFERED: &[AnswerForm] = &[AnswerForm::Ndjson, AnswerForm::Events];
    let (mut head, _) = request.into_parts();
    let TopicPath { topic } = path(&mut head).await?;
    let call = read_call(&api, &head, Method::LogConsume, (topic, None))?;
    let bound = "application/x-ndjson or text/event-stream";
    let form = AnswerForm::accepted(&head.headers, OFFERED, bound)?;
    stream(call, &head, form).await
}

/// A read that the caller may make, with the parameters of its query.
fn read_call(
    api: &HttpApi,
    head: &Parts,
    method: Method,
    (topic, partition): (String, Option<u32>),
) -> Result<TailCall, HttpError> {
    let principal = api.authorize_topic(head, (method, &topic))?;
    let query: FetchQuery = query(head)?;
    query.check()?;
    Ok(TailCall {
        engine: Arc::clone(api.engine()?),
        access: api.access().clone(),
        principal,
        closing: closing(&head.extensions),
        topic,
        partition,
        query,
    })
}

/// Starts a stream of records.
async fn stream(call: TailCall, head: &Parts, form: AnswerForm) -> Result<Response, HttpError> {
    let (forms, is_events) = (call.query.forms(), form == AnswerForm::Events);
    let start = match head.headers.get("last-event-id").filter(|_| is_events) {
        Some(id) => Start::after_event(id, call.partition)?,
        None => call.query.start()?,
    };
    let follow = is_events || call.query.follow.unwrap_or(false);
    let account = call.engine.replies.account_of(&call.principal, false);
    let tail = Tail::open(call, start, follow).await?;
    let (kind, body) = if is_events {
        (EVENTS, Body::from_stream(events::encode(tail, forms)))
    } else {
        (NDJSON, Body::from_stream(lines::encode(tail, forms)))
    };
    let mut response = with_body(StatusCode::OK, kind, body);
    if is_events {
        let no = HeaderValue::from_static("no");
        response.headers_mut().insert("x-accel-buffering", no);
    }
    hold(response.extensions_mut(), account, None);
    Ok(response)
}
