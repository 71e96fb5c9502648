//! Replacement of nodes and hosts that are lost for good.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Period;
use crate::rules;

/// Replacement of nodes and hosts that are lost for good. Nothing is done that would cost a
/// partition or the metadata its majority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::RECOVERY))]
pub struct Recovery {
    /// Whether other nodes take over the replicas of a node that is lost.
    pub dead_nodes: LostPolicy,
    /// Time without any sign of a node after which it counts as lost, 1m to 8760h. It should be
    /// longer than a restart of a host.
    pub dead_node_after: Period,
    /// Whether the operator deletes a PVC whose volume is on a host that Kubernetes has no Node of
    /// any more, after the same time: the pod can start nowhere else with it. It then starts on
    /// another host as a new node without data, copies its replicas from the others, and the
    /// former node is decommissioned.
    pub lost_host: LostPolicy,
}

/// Whether something that is lost is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LostPolicy {
    /// It is replaced.
    #[default]
    Replace,
    /// It is kept until a person decides.
    Keep,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            dead_nodes: LostPolicy::default(),
            dead_node_after: Period::from("10m"),
            lost_host: LostPolicy::default(),
        }
    }
}
