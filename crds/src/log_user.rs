//! LogUser: a user of a LogCluster, its certificate and its authorization rules, and its status.

mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{
    SECRET_NAME_MAX_BYTES, USER_RESOURCE_MAX_BYTES, USER_RULE_OPERATIONS_MAX_COUNT,
    USER_RULES_MAX_COUNT,
};
use crate::log_topic::ClusterRef;
use crate::quantity::Period;
use crate::rules;

pub use status::{LogUserStatus, UserCertificateStatus};

/// A user of a LogCluster.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lograft.io",
    version = "v1alpha1",
    kind = "LogUser",
    plural = "logusers",
    shortname = "lu",
    category = "all",
    namespaced,
    status = "LogUserStatus",
    derive = "PartialEq",
    doc = "A user of a LogCluster: its certificate and its authorization rules.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Principal", type_ = "string", json_path = ".status.principal"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".status.suspended"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Expires",
        type_ = "date",
        json_path = ".status.certificate.notAfter",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::USER_ROOT[0]
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::USER_SPEC))]
pub struct LogUserSpec {
    /// The LogCluster of the user. Immutable.
    pub cluster_ref: ClusterRef,
    /// Name of the Secret for the certificate, its key and the CA: `tls.crt`, `tls.key`, `ca.crt`.
    /// Default: the name of the LogUser followed by `-lograft-user`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = SECRET_NAME_MAX_BYTES),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub secret_name: Option<String>,
    /// Algorithm of the key. With another one a new certificate is issued.
    #[serde(default)]
    pub key_algorithm: KeyAlgorithm,
    /// Lifetime of a certificate, at least 1h. Default and maximum: `spec.tls.leafValidity` of the
    /// LogCluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity: Option<Period>,
    /// Time before its end at which a certificate is renewed. Default: a third of its lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Period>,
    /// Rules of the user. All of them are applied or, if one is not valid or the LogCluster does
    /// not permit to grant it, none is changed; the certificate is renewed all the same. Rules that
    /// others add for exactly this user are removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = USER_RULES_MAX_COUNT),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub rules: Vec<UserRule>,
    /// Whether all certificates of the user are refused and its connections are ended. The rules
    /// stay.
    #[serde(default)]
    pub suspended: bool,
}

/// Algorithm of the key of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// ECDSA with the curve P-256.
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserRule {
    /// Whether the operations are allowed or denied. A denial wins.
    #[serde(default)]
    pub effect: UserRuleEffect,
    /// On a topic `read`, `write`, `create`, `delete`, `alter`, `describe`; on a group `read`,
    /// `delete`, `alter`, `describe`; on the cluster `alter`, `describe`. A right to a resource
    /// includes to describe it.
    #[schemars(
        length(min = 1, max = USER_RULE_OPERATIONS_MAX_COUNT),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub operations: Vec<UserOperation>,
    /// `topic:NAME`, `topic:PREFIX*`, `topic:*`, the same with `group:`, or `cluster`.
    #[schemars(
        length(min = 1, max = USER_RESOURCE_MAX_BYTES),
        regex(pattern = r"^(cluster|(topic|group):(\*|[A-Za-z0-9._-]{1,249}\*?))$")
    )]
    pub resource: String,
}

/// Whether a rule allows or denies.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum UserRuleEffect {
    /// The operations are allowed, unless another rule denies them.
    #[default]
    Allow,
    /// The operations are denied.
    Deny,
}

/// An operation.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "UserRule says what each is for")]
pub enum UserOperation {
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
}

impl UserOperation {
    /// The name in rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Alter => "alter",
            Self::Describe => "describe",
        }
    }
}
