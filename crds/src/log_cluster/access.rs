//! Who may reach the cluster, where, and who may do what.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{POLICY_PEERS_MAX_COUNT, SUPER_USERS_MAX_COUNT, USER_LABELS_MAX_COUNT};

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorization {
    /// Whether users may do only what their rules say. Without it every certificate of the
    /// cluster's CA may do everything.
    pub enabled: bool,
    /// Users, by name, who may do everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = SUPER_USERS_MAX_COUNT),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub super_users: Vec<String>,
}

/// Who may reach the nodes. Peers and the operator always may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkAccess {
    /// Whether a NetworkPolicy stands.
    pub enabled: bool,
    /// Who may reach the client port; everyone if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_PEERS_MAX_COUNT), extend("x-kubernetes-list-type" = "atomic"))]
    pub clients: Vec<NetworkPolicyPeer>,
}

impl Default for NetworkAccess {
    fn default() -> Self {
        Self {
            enabled: true,
            clients: Vec::new(),
        }
    }
}

/// Where clients reach the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Listeners {
    /// Inside of Kubernetes: always there.
    pub internal: InternalListener,
    /// Outside of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalListener>,
}

/// The Service for clients inside of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InternalListener {
    /// Annotations of the Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub annotations: BTreeMap<String, String>,
}

/// Services for clients outside, one per node.
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

/// Type of a Service for clients outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalType {
    /// A load balancer for each node.
    LoadBalancer,
    /// A port of every host for each node.
    NodePort,
}
