//! Appending records.

mod batch;
mod done;
mod json;
mod lines;
mod raw;
mod schema;
mod stream;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use lograft_core::acl::Principal;
use lograft_proto::Method;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::json as json_answer;
use super::error::HttpError;
use super::media::{BodyForm, body_form};
use super::number::Int;
use super::parts::HttpApi;
use super::query::{path, query};
use crate::access::Access;
use crate::api::caller::closing;
use crate::closing::Closing;
use crate::serving::engine::LogEngine;
use crate::serving::partitioning::TopicPartitions;

pub(super) use schema::{ProduceAnswer, ProduceBody, Produced};

const FORMS: &[BodyForm] = &[BodyForm::Json, BodyForm::Ndjson, BodyForm::Raw];

/// A topic in the path.
#[derive(Debug, Deserialize)]
pub(super) struct TopicPath {
    pub(super) topic: String,
}

/// Parameters of a produce.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProduceQuery {
    /// The partition of records that name none.
    partition: Option<u32>,
    /// Longest wait for the acknowledgement, milliseconds; 10000 by default, at most 120000.
    timeout_ms: Option<u32>,
}

/// A produce whose caller may make it.
struct ProduceCall {
    engine: Arc<LogEngine>,
    access: Access,
    principal: Arc<Principal>,
    closing: Closing,
    topic: String,
    partitions: TopicPartitions,
    query: ProduceQuery,
}

/// Append records
///
/// The body is a JSON object, a stream of JSON records (application/x-ndjson), or the bytes of one
/// value (application/octet-stream) with its key and headers in HTTP headers. The answer is sent
/// when the records are written and flushed on a majority of the replicas. Records of one request
/// for one partition are appended together or not at all, but those of a stream.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/records", tag = "records", operation_id = "produce",
    params(("topic" = String, Path, description = "Name of the topic"), ProduceQuery, raw::RawHeaders),
    request_body(
        description = "Records",
        content(
            (ProduceBody = "application/json", example = json!(schema::EXAMPLE.clone())),
            (super::record::NewRecord = "application/x-ndjson"),
            (String = "application/octet-stream"),
        )
    ),
    responses(
        (status = 200, description = "All records are appended", body = ProduceAnswer,
            content_type = "application/json"),
        (status = 207, description = "Some records are appended, others not", body = Produced,
            content_type = "application/json"),
    )
)]
pub(super) async fn produce(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, body) = request.into_parts();
    let TopicPath { topic } = path(&mut head).await?;
    let principal = api.authorize_topic(&head, (Method::LogProduce, &topic))?;
    let form = body_form(&head.headers, FORMS)?;
    let query = query(&head)?;
    let engine = Arc::clone(api.engine()?);
    let partitions = TopicPartitions::of(&engine, (&topic, &principal), &api.keyless).await?;
    let call = ProduceCall {
        engine,
        access: api.access().clone(),
        principal,
        closing: closing(&head.extensions),
        topic,
        partitions,
        query,
    };
    let request = Request::from_parts(head, body);
    match form {
        BodyForm::Json => json::produce(&api, call, request).await,
        BodyForm::Raw => raw::produce(&api, call, request).await,
        BodyForm::Ndjson => stream::produce(&api, call, request).await,
    }
}

/// An idempotent producer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Producer {
    /// Id of the producer, to be sent with its records.
    #[schema(value_type = String, pattern = "^[0-9]+$", example = "4711")]
    producer_id: Int<u64>,
    /// Epoch of the producer.
    #[schema(minimum = 0)]
    epoch: u32,
}

/// Get the id of an idempotent producer
///
/// A producer that sends its id, epoch and the sequence of its first record may repeat a request
/// without appending its records twice. Sequences start at 0 for each partition and grow by one
/// with each record.
#[utoipa::path(
    post, path = "/v1/producers", tag = "records", operation_id = "init_producer",
    responses((status = 200, description = "A producer id that no other producer has", body = Producer))
)]
pub(super) async fn init_producer(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (head, _) = request.into_parts();
    api.authorize_cluster(&head, Method::LogInitProducer)?;
    let id = api.engine()?.next_producer_id().await?;
    let producer = Producer {
        producer_id: Int(id.get()),
        epoch: 0,
    };
    Ok(json_answer(StatusCode::OK, &producer))
}
