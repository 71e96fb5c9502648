//! The status of a LogTopic, written by the operator.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{BLOCKED_MAX_COUNT, TEXT_MAX_BYTES, TOPIC_NAME_MAX_BYTES};
use crate::log_cluster::Blocked;

/// Observed state of the topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogTopicStatus {
    /// Generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// UUID of the cluster that has the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub cluster_id: Option<String>,
    /// ID of the topic in that cluster: the proof that the LogTopic owns the topic. One that was
    /// deleted and created again under the same name has another ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub topic_id: Option<i64>,
    /// Name of the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TOPIC_NAME_MAX_BYTES))]
    pub topic_name: Option<String>,
    /// Whether a creation was requested whose outcome is not known yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub creating: bool,
    /// Number of partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub partitions: Option<i32>,
    /// Number of replicas of a partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replication_factor: Option<i32>,
    /// Number of partitions that have a leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub leaders: Option<i32>,
    /// Number of partitions with a leader that lack a replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub under_replicated: Option<i32>,
    /// Bytes of all partitions on the disks of their leaders, rounded down; absent if the cluster
    /// has too many partitions to ask for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes: Option<i64>,
    /// Settings that the spec has set. One that the spec has no longer returns to its default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = crate::limits::TOPIC_SETTINGS_MAX_COUNT),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub managed_settings: Vec<String>,
    /// Conditions of the topic. Types and reasons are a closed list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// Everything that keeps the topic from being ready, the most important first. The reasons are
    /// those of the condition Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = BLOCKED_MAX_COUNT),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub blocked: Vec<Blocked>,
}
