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
    /// Which hosts count as lost for good, after the same time. The operator deletes a PVC whose
    /// volume can be used on such hosts alone, since its pod can start nowhere else with it. The
    /// pod starts on another host as a new node without data, copies its replicas from the others,
    /// and the former node is decommissioned. `Replace`: hosts that Kubernetes has no Node of, and
    /// those that are not ready and have the taint `node.kubernetes.io/out-of-service`.
    /// `ReplaceUnreachable`: also those that are not ready, if no node hears of the pod; the pod is
    /// deleted by force. `Keep`: none.
    pub lost_host: LostHostPolicy,
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

/// Which hosts count as lost for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LostHostPolicy {
    /// Hosts without a Node, and hosts that are declared out of service.
    #[default]
    Replace,
    /// Also hosts that are not ready.
    ReplaceUnreachable,
    /// None.
    Keep,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            dead_nodes: LostPolicy::default(),
            dead_node_after: Period::from("10m"),
            lost_host: LostHostPolicy::default(),
        }
    }
}
