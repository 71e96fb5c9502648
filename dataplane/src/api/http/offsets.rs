//! The bounds of partitions.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use lograft_proto::Method;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::json;
use super::error::HttpError;
use super::number::Int;
use super::parts::HttpApi;
use super::problem::Problem;
use super::produce::TopicPath;
use super::query::{path, query};
use crate::error::ApiError;
use crate::serving::offsets::list_offsets as list;
use crate::serving::request::{ListOffsetsRequest, OffsetBounds};

/// Parameters of a list of offsets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OffsetsQuery {
    /// Numbers of partitions, with commas between them; all partitions by default.
    #[param(pattern = "^[0-9]{1,5}(,[0-9]{1,5})*$")]
    partitions: Option<String>,
    /// Also find the first record of this time or later, milliseconds since the Unix epoch.
    #[param(value_type = Option<String>, pattern = "^-?[0-9]{1,18}$")]
    timestamp_ms: Option<i64>,
}

/// The bounds of partitions of a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Offsets {
    partitions: Vec<PartitionOffsets>,
}

/// The bounds of a partition. Without a leader there is an error instead of them.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct PartitionOffsets {
    partition: u32,
    /// The oldest offset.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    log_start_offset: Option<Int<u64>>,
    /// End of the committed records, exclusive.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    high_watermark: Option<Int<u64>>,
    /// The first offset of the time that was asked for, if there is one.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    offset_at_timestamp: Option<Int<u64>>,
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    leader_epoch: Option<Int<u64>>,
    /// Why the bounds are not known.
    error: Option<Problem>,
}

/// List offsets
///
/// The bounds of partitions, each from its leader.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/offsets", tag = "records", operation_id = "list_offsets",
    params(("topic" = String, Path, description = "Name of the topic"), OffsetsQuery),
    responses((status = 200, description = "The bounds of the partitions", body = Offsets))
)]
pub(super) async fn list_offsets(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let TopicPath { topic } = path(&mut head).await?;
    let principal = api.authorize_topic(&head, (Method::LogListOffsets, &topic))?;
    let OffsetsQuery {
        partitions,
        timestamp_ms,
    } = query(&head)?;
    let partitions = partitions.as_deref().map(numbers).transpose()?;
    let request = ListOffsetsRequest {
        topic,
        topic_id: None,
        partitions: partitions.unwrap_or_default(),
        timestamp_ms,
        is_forwarded: false,
        principal,
    };
    let found = list(api.engine()?, request).await?;
    let partitions = found.into_iter().map(|(partition, bounds)| match bounds {
        Ok(bounds) => known(partition, &bounds),
        Err(error) => PartitionOffsets {
            partition,
            error: Some(Problem::of(&error.into())),
            ..PartitionOffsets::default()
        },
    });
    let offsets = Offsets {
        partitions: partitions.collect(),
    };
    Ok(json(StatusCode::OK, &offsets))
}

fn known(partition: u32, bounds: &OffsetBounds) -> PartitionOffsets {
    let OffsetBounds {
        log_start_offset,
        high_watermark,
        at_timestamp,
        term,
    } = bounds;
    PartitionOffsets {
        partition,
        log_start_offset: Some(Int(log_start_offset.get())),
        high_watermark: Some(Int(high_watermark.get())),
        offset_at_timestamp: at_timestamp.map(|offset| Int(offset.get())),
        leader_epoch: Some(Int(term.get())),
        error: None,
    }
}

pub(super) fn numbers(list: &str) -> Result<Vec<u32>, ApiError> {
    let bound = "numbers with commas between them";
    let numbers = list.split(',').map(|number| number.parse().ok());
    let numbers: Option<Vec<u32>> = numbers.collect();
    numbers.ok_or_else(|| ApiError::invalid("partitions", bound))
}
