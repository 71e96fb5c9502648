//! The JSON of a produce.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::http::number::Int;
use crate::api::http::problem::Problem;
use crate::api::http::record::{NewRecord, NewRecords};

/// A request that a test sends.
pub(super) static EXAMPLE: LazyLock<Value> = LazyLock::new(|| {
    json!({"records": [
        {"key": {"text": "ann"}, "value": {"json": {"clicks": 3}}},
        {"key": {"text": "bob"}, "value": {"base64": "AP8="},
         "headers": [{"key": "source", "value": {"text": "web"}}]},
        {"value": null},
    ]})
});

/// Records to append.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProduceBody {
    /// The records, at least one.
    #[schema(value_type = Vec<NewRecord>, min_items = 1, max_items = 100_000)]
    pub(super) records: NewRecords,
    /// Id of an idempotent producer; `epoch` and `sequence` are required with it, and all records
    /// must be for one partition.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]{1,20}$")]
    pub(super) producer_id: Option<Int<u64>>,
    /// Epoch of the producer.
    #[serde(default)]
    pub(super) epoch: Option<u32>,
    /// Sequence of the first record.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]{1,20}$")]
    pub(super) sequence: Option<Int<u64>>,
}

/// What an acknowledgement guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Durability {
    /// The records are written and flushed on a majority of the replicas.
    MajorityFsync,
}

/// The outcome of a produce.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Produced {
    pub(super) durability: Durability,
    /// Batches that were appended, by partition.
    pub(super) partitions: Vec<PartitionResult>,
    /// The records, in the order of the request.
    pub(super) records: Vec<RecordResult>,
}

/// The records of a request that were appended to one partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartitionResult {
    pub(super) partition: u32,
    /// Offset of the first one; null for a duplicate that is too far back in the log for its offset
    /// to be known.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    pub(super) base_offset: Option<Int<u64>>,
    pub(super) record_count: u32,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) leader_epoch: Int<u64>,
    /// Milliseconds since the Unix epoch, by the leader's clock.
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub(super) append_time_ms: Int<i64>,
    /// Whether an earlier attempt of the producer had appended them already.
    pub(super) duplicate: bool,
}

/// The outcome of a record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordResult {
    pub(super) partition: u32,
    /// Its offset; null if it was not appended, and if `base_offset` of its partition is.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    pub(super) offset: Option<Int<u64>>,
    /// Why it was not appended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Problem>,
}

/// The answer to a produce: `Produced` for records of one request, `Streamed` for a stream.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of both")]
pub(crate) enum ProduceAnswer {
    Produced(Produced),
    Streamed(Streamed),
}

/// The outcome of a stream of records.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Streamed {
    pub(super) durability: Durability,
    /// Records that were appended.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) record_count: Int<u64>,
    pub(super) partitions: Vec<StreamedPartition>,
}

/// Records of a stream that were appended to one partition. Records of others may be among them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamedPartition {
    pub(super) partition: u32,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) record_count: Int<u64>,
    /// Offset of the first one.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) first_offset: Int<u64>,
    /// Offset of the last one.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) last_offset: Int<u64>,
}
