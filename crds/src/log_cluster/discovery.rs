//! How the nodes of a cluster find each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Period;
use crate::rules;

/// How the nodes find each other and follow changed addresses. All sources are used side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::DISCOVERY))]
pub struct Discovery {
    /// Addresses in the configuration of the nodes.
    pub seeds: Seeds,
    /// Whether the nodes watch the EndpointSlices of their Service. Their pods get a token that may
    /// get, list and watch EndpointSlices in the namespace, and nothing else.
    pub endpoints: bool,
    /// Encrypted datagrams between the nodes, UDP 9404.
    pub gossip: GossipSpec,
}

/// Addresses that the nodes start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Seeds {
    /// The DNS names of the first pods.
    #[default]
    Pods,
    /// The DNS name of the headless Service: the addresses of all pods.
    Service,
    /// None: endpoints or gossip find the others.
    None,
}

/// Gossip between the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GossipSpec {
    /// Whether the nodes gossip.
    pub enabled: bool,
    /// Time after which the key is replaced, at least one hour. No pod is restarted.
    pub key_validity: Period,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            seeds: Seeds::default(),
            endpoints: true,
            gossip: GossipSpec::default(),
        }
    }
}

impl Default for GossipSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            key_validity: Period::from("2160h"),
        }
    }
}
