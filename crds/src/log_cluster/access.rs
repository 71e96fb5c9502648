//! Network access, listeners and authorization of a cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{
    ALLOWED_NAMESPACES_MAX_COUNT, HTTP_ORIGIN_MAX_BYTES, HTTP_ORIGINS_MAX_COUNT,
    NAMESPACE_MAX_BYTES, POLICY_PEERS_MAX_COUNT, SUPER_USERS_MAX_COUNT, TOPIC_NAME_MAX_BYTES,
    USER_GRANT_PREFIXES_MAX_COUNT, USER_LABELS_MAX_COUNT, USER_TEXT_MAX_BYTES,
};
use crate::rules;

/// Authorization of users. Rules of the cluster (`lograft acl`) say who may do what. Nodes follow a
/// change within seconds, without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::AUTHORIZATION))]
pub struct Authorization {
    /// Use `mode` instead. `enabled: true` without a mode means `enforced`; if a mode is set, the
    /// mode counts.
    pub enabled: bool,
    /// `disabled`: every certificate issued by the cluster's CA may do everything. `report-only`:
    /// the same, and nodes log and count what the rules refuse. `enforced`: users may do only what
    /// rules allow. Default: `enforced` for clusters that were created by an operator with this
    /// field, `disabled` for older ones (`status.authorization.defaultMode`). A LogCluster that
    /// adopts the disks of a deleted one keeps the mode of that, or `disabled` if it is not known.
    /// No mode has an effect before feature level 2 is finalized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<AuthorizationMode>,
    /// Users who may do everything, whatever the rules say: `NAME` or `user/NAME`, and
    /// `user/NAMESPACE/NAME` for users of another namespace. If empty, the user `admin`, whose
    /// certificate the operator issues with the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = SUPER_USERS_MAX_COUNT),
        inner(length(min = 1, max = USER_TEXT_MAX_BYTES)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub super_users: Vec<String>,
}

/// Whether authorization rules decide, the most permissive first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorizationMode {
    /// Users may do everything.
    #[default]
    Disabled,
    /// Users may do everything; operations that the rules refuse are counted and logged.
    ReportOnly,
    /// The rules decide.
    Enforced,
}

impl AuthorizationMode {
    /// The name in the spec and in the configuration of a node.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::ReportOnly => "report-only",
            Self::Enforced => "enforced",
        }
    }

    /// The mode with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = [Self::Disabled, Self::ReportOnly, Self::Enforced].into_iter();
        all.find(|mode| mode.name() == name)
    }
}

/// Namespaces whose objects may name a LogCluster of another namespace: those with one of the
/// names, and those that the selector matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedNamespaces {
    /// Names of namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = ALLOWED_NAMESPACES_MAX_COUNT),
        inner(length(min = 1, max = NAMESPACE_MAX_BYTES)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub names: Vec<String>,
    /// Labels of namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Bounds of the rules that LogUsers of a namespace may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserGrant {
    /// Name of the namespace; `*` for all that have no entry.
    #[schemars(length(min = 1, max = NAMESPACE_MAX_BYTES))]
    pub namespace: String,
    /// Prefixes of the names of topics and groups; `*` for all names. If empty, nothing.
    #[serde(default)]
    #[schemars(
        length(max = USER_GRANT_PREFIXES_MAX_COUNT),
        inner(length(min = 1, max = TOPIC_NAME_MAX_BYTES)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub prefixes: Vec<String>,
}

/// A selector of namespaces by the labels of their Namespace objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::NAMESPACE_SELECTOR))]
pub struct NamespaceSelector {
    /// Labels that a namespace must have, all of them; at least one.
    #[schemars(extend("maxProperties" = ALLOWED_NAMESPACES_MAX_COUNT))]
    pub match_labels: BTreeMap<String, String>,
}

/// Network access to the nodes. Peers and the operator are always allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkAccess {
    /// Whether to create a NetworkPolicy.
    pub enabled: bool,
    /// Peers that may connect to the client ports, gRPC and HTTP. If empty, any peer may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_PEERS_MAX_COUNT), extend("x-kubernetes-list-type" = "atomic"))]
    pub clients: Vec<NetworkPolicyPeer>,
    /// Peers that may connect to the health and metrics port, which needs no certificate: those
    /// that read metrics. If empty, the pods in the namespace of the cluster may. kubelet always
    /// may: Kubernetes never limits traffic between a pod and the machine that it runs on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_PEERS_MAX_COUNT), extend("x-kubernetes-list-type" = "atomic"))]
    pub metrics: Vec<NetworkPolicyPeer>,
}

impl Default for NetworkAccess {
    fn default() -> Self {
        Self {
            enabled: true,
            clients: Vec::new(),
            metrics: Vec::new(),
        }
    }
}

/// Services through which clients reach the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Listeners {
    /// Service for clients inside Kubernetes; always enabled.
    pub internal: InternalListener,
    /// HTTP and JSON, port 9402 of the same Service and of the nodes. Off unless this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpListener>,
    /// Service for clients outside Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalListener>,
}

/// The Service for clients inside Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InternalListener {
    /// Annotations of the Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub annotations: BTreeMap<String, String>,
}

/// HTTP and JSON for clients. They need the same certificates and rights as over gRPC. Half of the
/// connections that a node takes from clients are for this port then. A change replaces the pods,
/// one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::HTTP_LISTENER))]
pub struct HttpListener {
    /// Whether the nodes serve HTTP. It needs nodes of version 0.3.0 or later, and feature level 1.
    pub enabled: bool,
    /// Origins of browser pages that may read answers (CORS), `https://HOST` or
    /// `https://HOST:PORT`. If empty, none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = HTTP_ORIGINS_MAX_COUNT),
        inner(length(min = 1, max = HTTP_ORIGIN_MAX_BYTES)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub cors_allowed_origins: Vec<String>,
}

impl Default for HttpListener {
    fn default() -> Self {
        Self {
            enabled: true,
            cors_allowed_origins: Vec::new(),
        }
    }
}

/// Services for clients outside Kubernetes, one per node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalListener {
    /// Type of the Services.
    #[serde(rename = "type")]
    pub service_type: ExternalType,
    /// Annotations of the Services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub annotations: BTreeMap<String, String>,
}

/// Type of a Service for clients outside Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalType {
    /// A load balancer per node.
    LoadBalancer,
    /// A port on every host per node.
    NodePort,
}
