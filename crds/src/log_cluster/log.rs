//! Defaults for new topics, and log limits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{PARTITIONS_DEFAULT_COUNT, PARTITIONS_MAX_COUNT, REPLICATION_FACTOR_MAX_COUNT};
use crate::quantity::{ByteSize, Period};
use crate::rules;

/// Defaults for new topics, and log limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::LOG))]
pub struct LogDefaults {
    /// Number of partitions of a topic.
    #[schemars(range(min = 1, max = PARTITIONS_MAX_COUNT))]
    pub partitions: i32,
    /// Number of replicas of a partition, at most `replicas`. Default: 3, or the number of nodes if
    /// smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = REPLICATION_FACTOR_MAX_COUNT))]
    pub replication_factor: Option<i32>,
    /// Retention of a partition. Default: everything is kept.
    pub retention: Retention,
    /// Maximum size of a segment file, 1Mi to 64Mi.
    pub segment_size: ByteSize,
    /// Maximum size of a record batch, at most 3076Ki. Default: 2Mi, or 4Ki more than
    /// `maxRecordSize` if that is larger. More than 2Mi is used once feature level 2 is finalized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<ByteSize>,
    /// Maximum size of a record: its key, value and headers together, 1Ki to 3Mi. `maxBatchSize`,
    /// if set, is at least 4Ki more. Default: 1Mi. Used once feature level 2 is finalized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_record_size: Option<ByteSize>,
}

/// Retention of a partition. If both bounds are set, the one reached first applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::RETENTION))]
pub struct Retention {
    /// Maximum size per partition before old segments are deleted, at least 1Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// Maximum age of records before old segments are deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Period>,
}

impl Default for LogDefaults {
    fn default() -> Self {
        Self {
            partitions: PARTITIONS_DEFAULT_COUNT,
            replication_factor: None,
            retention: Retention::default(),
            segment_size: ByteSize::from("64Mi"),
            max_batch_size: None,
            max_record_size: None,
        }
    }
}
