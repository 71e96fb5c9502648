//! The status of a LogUser, written by the operator.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{
    BLOCKED_MAX_COUNT, REPLICAS_MAX_COUNT, SECRET_NAME_MAX_BYTES, TEXT_MAX_BYTES,
    USER_TEXT_MAX_BYTES,
};
use crate::log_cluster::Blocked;

/// Observed state of the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogUserStatus {
    /// Generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// UUID of the cluster that the certificate is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub cluster_id: Option<String>,
    /// Name of the user in rules and in its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = USER_TEXT_MAX_BYTES))]
    pub principal: Option<String>,
    /// Name of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = SECRET_NAME_MAX_BYTES))]
    pub secret_name: Option<String>,
    /// The certificate in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<UserCertificateStatus>,
    /// Latest end of all certificates that were issued for the user. When the user is deleted, the
    /// cluster keeps the revocation of its certificates until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_not_after: Option<Time>,
    /// Number of rules that the cluster has for exactly this user: one for each effect and
    /// resource. Absent if no node has been asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub rules_applied: Option<i32>,
    /// Version of the metadata with these rules and revocations. Absent while they are being
    /// changed, or if no node says which version it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub applied_version: Option<i64>,
    /// Nodes that have applied that version, or a later one. One that fails later stays here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = REPLICAS_MAX_COUNT),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub applied_by: Vec<String>,
    /// Whether the cluster refuses all certificates of the user.
    pub suspended: bool,
    /// Certificates of the user whose validity starts before this time are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_before: Option<Time>,
    /// Conditions of the user. Types and reasons are a closed list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// Everything that keeps the user from being ready, the most important first. The reasons are
    /// those of the condition Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = BLOCKED_MAX_COUNT),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub blocked: Vec<Blocked>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserCertificateStatus {
    /// Serial number, hexadecimal, as `lograft acl revoke` writes it.
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub serial: String,
    /// Start of its validity.
    pub not_before: Time,
    /// End of its validity.
    pub not_after: Time,
}
