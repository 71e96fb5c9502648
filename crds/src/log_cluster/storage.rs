//! The nodes' disks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{
    GROW_THRESHOLD_DEFAULT_PERCENT, GROW_THRESHOLD_MAX_PERCENT, GROW_THRESHOLD_MIN_PERCENT,
};
use crate::quantity::ByteSize;
use crate::rules;

/// The nodes' disks, one each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::STORAGE))]
pub struct Storage {
    /// Size of each disk, at least 1Gi. May grow, never shrink.
    pub size: ByteSize,
    /// Storage class of the disks, the namespace's default without one. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Whether the disks stay when the LogCluster is deleted.
    pub retain_on_delete: bool,
    /// Growth of disks that fill up; none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_grow: Option<AutoGrow>,
}

/// Growth of disks that fill up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoGrow {
    /// Size at which growing ends.
    pub max_size: ByteSize,
    /// Share of the disk in use, percent, at which it grows.
    #[serde(default = "threshold_percent")]
    #[schemars(range(min = GROW_THRESHOLD_MIN_PERCENT, max = GROW_THRESHOLD_MAX_PERCENT))]
    pub threshold_percent: i32,
}

fn threshold_percent() -> i32 {
    GROW_THRESHOLD_DEFAULT_PERCENT
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: ByteSize::from("10Gi"),
            storage_class_name: None,
            retain_on_delete: true,
            auto_grow: None,
        }
    }
}
