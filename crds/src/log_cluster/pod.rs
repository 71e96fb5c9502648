//! What a user says about the nodes' pods: what is added, where they run, how they are replaced.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, EnvVar, Toleration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{TOLERATIONS_MAX_COUNT, USER_ENV_MAX_COUNT, USER_LABELS_MAX_COUNT};
use crate::quantity::Period;
use crate::rules;

/// What is added to the nodes' pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::POD_TEMPLATE))]
pub struct PodTemplate {
    /// Labels of the pods, beside the operator's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods, beside the operator's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a host must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of hosts that do not keep the pods away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = TOLERATIONS_MAX_COUNT), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Affinity of the pods, beside their keeping away from each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Priority class of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Environment of the nodes' container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = USER_ENV_MAX_COUNT),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Vec<EnvVar>,
}

/// How nodes are spread over zones and hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Topology {
    /// Label of hosts that names their zone.
    #[schemars(length(min = 1, max = 317))]
    pub zone_key: String,
    /// How strictly.
    pub spread: Spread,
}

/// How strictly nodes are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Spread {
    /// Evenly where there is room.
    #[default]
    Preferred,
    /// Evenly, one node per host, or a pod waits.
    Required,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            zone_key: "topology.kubernetes.io/zone".to_owned(),
            spread: Spread::default(),
        }
    }
}

/// How changes are rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Update {
    /// Longest wait for a pod to hand over what it leads before it is replaced.
    pub drain_timeout: Period,
    /// Whether changes that replace pods wait. All else goes on: certificates, disks, repairs.
    pub paused: bool,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            drain_timeout: Period::from("5m"),
            paused: false,
        }
    }
}
