//! What topics take that say nothing themselves, and bounds of the log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{PARTITIONS_DEFAULT_COUNT, PARTITIONS_MAX_COUNT, REPLICATION_FACTOR_MAX_COUNT};
use crate::quantity::{ByteSize, Period};
use crate::rules;

/// What topics take that say nothing themselves, and bounds of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::LOG))]
pub struct LogDefaults {
    /// Partitions of a topic.
    #[schemars(range(min = 1, max = PARTITIONS_MAX_COUNT))]
    pub partitions: i32,
    /// Replicas of a partition, at most `replicas`. Without it 3, or all nodes if there are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = REPLICATION_FACTOR_MAX_COUNT))]
    pub replication_factor: Option<i32>,
    /// What is kept of a partition; everything if nothing is said.
    pub retention: Retention,
    /// Largest segment file, 1Mi to 64Mi.
    pub segment_size: ByteSize,
    /// Largest record batch, at most 2Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<ByteSize>,
}

/// What is kept of a partition. With both bounds, the one that is met first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::RETENTION))]
pub struct Retention {
    /// Size of a partition above which its oldest segments go, at least 1Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// Age above which segments go.
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
        }
    }
}
