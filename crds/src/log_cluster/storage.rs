//! Disks of the nodes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{
    GROW_THRESHOLD_DEFAULT_PERCENT, GROW_THRESHOLD_MAX_PERCENT, GROW_THRESHOLD_MIN_PERCENT,
};
use crate::quantity::ByteSize;
use crate::rules;

/// Disks of the nodes, one per node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::STORAGE))]
pub struct Storage {
    /// Size of each disk, at least 1Gi. It can grow but not shrink.
    pub size: ByteSize,
    /// Storage class of the disks. Default: the cluster's default class. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Whether the disks are kept when the LogCluster is deleted.
    pub retain_on_delete: bool,
    /// Automatic growth of disks that fill up. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_grow: Option<AutoGrow>,
}

/// Automatic growth of disks that fill up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoGrow {
    /// Maximum size of a disk.
    pub max_size: ByteSize,
    /// Usage in percent at which a disk grows.
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
