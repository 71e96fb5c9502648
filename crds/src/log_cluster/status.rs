//! What the operator reports.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{BLOCKED_ON_MAX_BYTES, REPLICAS_MAX_COUNT};
use crate::rules;

/// What the operator reports, written only after what it says was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::STATUS))]
pub struct LogClusterStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The cluster's id, a UUID, made once and for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 36),
        regex(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    )]
    pub cluster_id: Option<String>,
    /// Whether the first node has made the cluster. Once true for ever: a second time would be a
    /// second cluster.
    pub bootstrapped: bool,
    /// Conditions; types and reasons are a closed list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// The nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 2 * REPLICAS_MAX_COUNT),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub members: Vec<MemberStatus>,
    /// Where clients reach the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// The cluster's CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaStatus>,
    /// One sentence: what the operator waits for and since when. Absent if it waits for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = BLOCKED_ON_MAX_BYTES))]
    pub blocked_on: Option<String>,
    /// Version that every ready node runs; `from > to` while it is being changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Number of pods.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Number of ready pods.
    #[schemars(range(min = 0))]
    pub ready_replicas: i32,
    /// `readyReplicas` and the nodes asked for, as `2/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_text: Option<String>,
    /// Selects the pods; for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The pod's name.
    pub name: String,
    /// The node's number in the cluster; absent until it has joined. An empty disk gets a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub node_id: Option<i64>,
    /// The zone it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether the pod is ready.
    #[serde(default)]
    pub ready: bool,
    /// The version it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it is to the cluster's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,
    /// Partitions that it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub leaders: Option<i32>,
    /// Entries that it is behind, over all its partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub lag: Option<i64>,
    /// When its certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_not_after: Option<Time>,
    /// Free bytes of its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub disk_free_bytes: Option<i64>,
}

/// What a node is to the cluster's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MemberRole {
    /// It leads.
    Leader,
    /// It votes.
    Voter,
    /// It follows without a vote.
    Learner,
}

/// Where clients reach the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Inside of Kubernetes, `host:port`.
    pub internal: String,
}

/// The cluster's CA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaStatus {
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
    /// When it ends.
    pub not_after: Time,
}
