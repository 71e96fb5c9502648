//! Rollouts in status: a restart of the operator changes nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::TEXT_MAX_BYTES;

/// A rollout of a pod template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// Rollout hash of the template that the pods may have.
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub template_hash: String,
    /// Cause of the change: `Operator`, `Spec` or `Restart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub cause: Option<String>,
    /// Version and settings of the operator that has started the rollout, as a hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub operator_revision: Option<String>,
    /// Time at which all pods had the template and were ready; absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<Time>,
    /// Generation of the spec that the template was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_generation: Option<i64>,
    /// Hash of the fields of the spec that the template is made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub spec_hash: Option<String>,
    /// Value of the annotation `lograft.io/restart-at` that the template was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub restart_at: Option<String>,
    /// Cause of a changed template that waits for its turn; absent if none waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub waiting: Option<String>,
}
