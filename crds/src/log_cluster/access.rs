//! Network access, listeners and authorization of a cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{
    ALLOWED_NAMESPACES_MAX_COUNT, NAMESPACE_MAX_BYTES, POLICY_PEERS_MAX_COUNT,
    SUPER_USERS_MAX_COUNT, USER_LABELS_MAX_COUNT,
};
use crate::rules;

/// Authorization of users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorization {
    /// If true, users may do only what their rules allow. If false, every certificate issued by the
    /// cluster's CA may do everything.
    pub enabled: bool,
    /// Names of users who may do everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = SUPER_USERS_MAX_COUNT),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub super_users: Vec<String>,
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
    /// Peers that may connect to the client port. If empty, any peer may.
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
