//! Settings for the pods of the nodes: additions, placement, rollout.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, EnvVar, Toleration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MaintenanceWindow;
use crate::limits::{
    FINALIZE_AFTER_DEFAULT_SECONDS, FINALIZE_AFTER_MAX_SECONDS, TOLERATIONS_MAX_COUNT,
    USER_ENV_MAX_COUNT, USER_LABELS_MAX_COUNT, WINDOWS_MAX_COUNT,
};
use crate::quantity::Period;
use crate::rules;

/// Additions to the pods of the nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::POD_TEMPLATE))]
pub struct PodTemplate {
    /// Labels of the pods, in addition to the operator's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods, in addition to the operator's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a Kubernetes node must have to run a pod.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = USER_LABELS_MAX_COUNT))]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = TOLERATIONS_MAX_COUNT), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Affinity of the pods, in addition to their anti-affinity to each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Priority class of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Environment variables of the node container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = USER_ENV_MAX_COUNT),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Vec<EnvVar>,
}

/// Spread of nodes over zones and hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Topology {
    /// Label of Kubernetes nodes that names their zone. The nodes of the cluster learn it from the
    /// label of the same name of their pod, else from the operator within about a minute.
    #[schemars(length(min = 1, max = 317))]
    pub zone_key: String,
    /// Whether the spread is required or preferred.
    pub spread: Spread,
}

/// Whether the spread is required or preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Spread {
    /// Even where possible.
    #[default]
    Preferred,
    /// Even, with one node per host; otherwise a pod stays pending.
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

/// Rollout of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Update {
    /// Maximum wait for a pod to transfer its leaderships before it is replaced.
    pub drain_timeout: Period,
    /// Time by which a new pod must have become ready. After it the rollout is reported as stuck,
    /// with its cause, and stays stopped until the pod becomes ready or the spec is changed.
    pub progress_deadline: Period,
    /// If true, the nodes may go to a version below the one that they run, as far as the finalized
    /// feature level permits it. Otherwise such a change is refused, and the version stays.
    pub allow_downgrade: bool,
    /// If true, changes that replace pods wait. Certificates, disks and repairs continue.
    pub paused: bool,
    /// Times in which a rollout may start; none: at any time. One that has started is completed.
    /// A change of the spec does not wait while the cluster is not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = WINDOWS_MAX_COUNT), extend("x-kubernetes-list-type" = "atomic"))]
    pub maintenance_windows: Vec<MaintenanceWindow>,
    /// When the feature level of a new version is finalized. Before it is, the nodes may go back
    /// to the former version; afterwards the former version refuses to start.
    pub finalize: Finalize,
    /// With `finalize: Auto`, the time that all nodes must run one version, healthy and without
    /// other work, before its feature level is finalized, in seconds: 0 to 604800 (7 days).
    #[schemars(range(min = 0, max = FINALIZE_AFTER_MAX_SECONDS))]
    pub finalize_after_seconds: i64,
}

/// When the feature level of a new version is finalized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Finalize {
    /// By the operator, after `finalizeAfterSeconds`.
    #[default]
    Auto,
    /// By a person, with `lograft cluster finalize`.
    Manual,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            drain_timeout: Period::from("5m"),
            progress_deadline: Period::from("15m"),
            allow_downgrade: false,
            paused: false,
            maintenance_windows: Vec::new(),
            finalize: Finalize::default(),
            finalize_after_seconds: FINALIZE_AFTER_DEFAULT_SECONDS,
        }
    }
}
