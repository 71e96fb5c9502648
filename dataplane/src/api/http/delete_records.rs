//! Deletion of the records of a partition before an offset.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use lograft_core::Offset;
use lograft_proto::Method;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::json;
use super::error::HttpError;
use super::fetch::PartitionPath;
use super::number::Int;
use super::parts::HttpApi;
use super::query::{path, query};
use crate::error::ApiError;
use crate::serving::delete_records::delete_records as delete;
use crate::serving::request::{DeleteBefore, DeleteRecordsRequest, DeletedRecords, Target};

/// The word for the end of the committed records.
const HIGH_WATERMARK: &str = "high_watermark";

/// Parameters of a deletion.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// The offset of the first record to keep, or `high_watermark` to keep none of those that are
    /// committed.
    #[param(pattern = "^([0-9]{1,18}|high_watermark)$")]
    before: String,
}

/// The bounds of the partition after a deletion.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RemainingRecords {
    partition: u32,
    /// The first offset that is still in the log.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    log_start_offset: Int<u64>,
    /// End of the committed records, exclusive.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    high_watermark: Int<u64>,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    leader_epoch: Int<u64>,
}

/// Delete records
///
/// Deletes the records of a partition before an offset, on all replicas. Reads below it fail with
/// OFFSET_OUT_OF_RANGE from then on. An offset below the oldest one changes nothing.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}/partitions/{partition}/records", tag = "records",
    operation_id = "delete_records",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("partition" = u32, Path, description = "Number of the partition"),
        DeleteQuery,
    ),
    responses((status = 200, description = "The records are deleted", body = RemainingRecords))
)]
pub(super) async fn delete_records(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, _) = request.into_parts();
    let PartitionPath { topic, partition } = path(&mut head).await?;
    let principal = api.authorize_topic(&head, (Method::LogDeleteRecords, &topic))?;
    let DeleteQuery { before } = query(&head)?;
    let request = DeleteRecordsRequest {
        target: Target {
            topic,
            topic_id: None,
            partition,
            is_forwarded: false,
            principal,
        },
        before: first_kept(&before)?,
    };
    let DeletedRecords {
        log_start_offset,
        high_watermark,
        term,
    } = delete(api.engine()?, request).await?;
    let remaining = RemainingRecords {
        partition,
        log_start_offset: Int(log_start_offset.get()),
        high_watermark: Int(high_watermark.get()),
        leader_epoch: Int(term.get()),
    };
    Ok(json(StatusCode::OK, &remaining))
}

fn first_kept(before: &str) -> Result<DeleteBefore, ApiError> {
    if before == HIGH_WATERMARK {
        return Ok(DeleteBefore::HighWatermark);
    }
    let bound = format_args!("an offset or {HIGH_WATERMARK}, got {before:?}");
    let offset = before.parse().map(Offset);
    offset
        .map(DeleteBefore::Offset)
        .map_err(|_| ApiError::invalid("before", bound))
}
