//! Every object that should stand for a cluster. One module per kind, each a pure function.

mod account;
mod budget;
mod config;
mod node_config;
mod placement;
mod pod;
mod policy;
mod service;
mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use lograft_crds::names::{API_VERSION, ClusterNames};
use serde_json::Value;

use crate::cluster::lanes::scale;
use crate::cluster::replicas;
use crate::{Observed, Settings, ValidCluster};

/// Why an object was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A node's configuration does not encode.
    #[error("encoding the configuration of {pod}")]
    Config {
        /// The pod.
        pod: String,
        /// Why not.
        #[source]
        source: serde_yaml::Error,
    },
    /// The pods' template does not encode.
    #[error("hashing the pods' template")]
    Hash(#[source] serde_json::Error),
}

/// What should stand, in the order that it is applied: nothing refers to what comes later.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The pods' account. It has no rights, and its token is mounted nowhere: a node asks nothing
    /// of the API server.
    pub service_account: ServiceAccount,
    /// Each node's configuration.
    pub config: ConfigMap,
    /// The cluster's addresses, for people and clients.
    pub peers: ConfigMap,
    /// Each pod's DNS name.
    pub nodes_service: Service,
    /// Where clients begin.
    pub client_service: Service,
    /// Bounds what others may evict.
    pub disruption_budget: PodDisruptionBudget,
    /// Who may reach the nodes; none is to stand without it.
    pub network_policy: Option<NetworkPolicy>,
    /// The pods.
    pub stateful_set: StatefulSet,
}

impl Desired {
    /// The objects as the API server takes them, in order.
    pub fn objects(&self) -> Result<Vec<Value>, serde_json::Error> {
        let Self {
            service_account,
            config,
            peers,
            nodes_service,
            client_service,
            disruption_budget,
            network_policy,
            stateful_set,
        } = self;
        let mut objects = vec![
            serde_json::to_value(service_account)?,
            serde_json::to_value(config)?,
            serde_json::to_value(peers)?,
            serde_json::to_value(nodes_service)?,
            serde_json::to_value(client_service)?,
            serde_json::to_value(disruption_budget)?,
        ];
        if let Some(policy) = network_policy {
            objects.push(serde_json::to_value(policy)?);
        }
        objects.push(serde_json::to_value(stateful_set)?);
        Ok(objects)
    }
}

/// What should stand for `cluster` in this world.
pub fn desired(
    cluster: &ValidCluster,
    observed: &Observed,
    settings: &Settings,
) -> Result<Desired, BuildError> {
    let standing = observed.standing(cluster);
    let wanted = scale::room(cluster, observed, standing);
    let world = World {
        cluster,
        observed,
        settings,
        pods: replicas::pods(wanted, standing, &observed.emptied),
    };
    Ok(Desired {
        service_account: account::build(&world),
        config: config::nodes(&world)?,
        peers: config::peers(&world),
        nodes_service: service::nodes(&world),
        client_service: service::client(&world),
        disruption_budget: budget::build(&world),
        network_policy: policy::build(&world),
        stateful_set: stateful_set::build(&world)?,
    })
}

/// What every builder reads.
struct World<'a> {
    cluster: &'a ValidCluster,
    observed: &'a Observed,
    settings: &'a Settings,
    /// How many pods should stand now.
    pods: i32,
}

impl World<'_> {
    fn names(&self) -> ClusterNames<'_> {
        ClusterNames(&self.cluster.name)
    }

    /// Metadata of an object of the cluster: deleted with it, found by its labels.
    fn metadata(&self, name: String) -> ObjectMeta {
        owned_metadata(self.cluster, name)
    }
}

/// Metadata of an object of the cluster: deleted with it, found by its labels.
pub(crate) fn owned_metadata(cluster: &ValidCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(ClusterNames(&cluster.name).labels()),
        owner_references: Some(vec![OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: "LogCluster".to_owned(),
            name: cluster.name.clone(),
            uid: cluster.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}
