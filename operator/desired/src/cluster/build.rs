//! The desired objects of a cluster: one module per kind, each a pure function.

mod account;
mod budget;
mod config;
mod endpoints_access;
mod newer_fields;
mod node_config;
mod placement;
mod pod;
mod policy;
mod service;
mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use lograft_crds::names::{ANNOTATION_ROLLOUT_HASH, API_VERSION, ClusterNames, PORT_HTTP};
use serde_json::Value;

use crate::Settings;
use crate::cluster::observed::Observed;
use crate::cluster::replicas::desired_replicas;
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::FeatureLevel;
use crate::cluster::{http, image};

/// Why an object could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A node's configuration could not be encoded.
    #[error("cannot encode the configuration of {pod}")]
    Config {
        /// Pod of the node.
        pod: String,
        /// Cause.
        #[source]
        source: serde_yaml::Error,
    },
    /// The pod template could not be encoded.
    #[error("cannot hash the pod template")]
    Hash(#[source] serde_json::Error),
    /// The configuration that the nodes share could not be encoded.
    #[error("cannot encode the shared configuration")]
    SharedConfig(#[source] serde_yaml::Error),
}

/// The desired objects in the order in which they are applied: no object refers to a later one.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Service account of the pods. Its token is mounted only if nodes watch endpoints.
    pub service_account: ServiceAccount,
    /// What a node may do with its token; none if it watches no endpoints.
    pub endpoints_access: Option<(Role, RoleBinding)>,
    /// Configuration of each node.
    pub config: ConfigMap,
    /// Addresses of the cluster, for people and clients.
    pub peers: ConfigMap,
    /// Headless Service: DNS name of each pod.
    pub nodes_service: Service,
    /// Headless Service of the ready pods.
    pub ready_service: Service,
    /// Service for clients.
    pub client_service: Service,
    /// Limit on evictions by others.
    pub disruption_budget: PodDisruptionBudget,
    /// Access to the nodes; none if it is switched off.
    pub network_policy: Option<NetworkPolicy>,
    /// The pods.
    pub stateful_set: StatefulSet,
}

impl Desired {
    /// The objects in the form of the API server, in order.
    pub fn objects(&self) -> Result<Vec<Value>, serde_json::Error> {
        let Self {
            service_account,
            endpoints_access,
            config,
            peers,
            nodes_service,
            ready_service,
            client_service,
            disruption_budget,
            network_policy,
            stateful_set,
        } = self;
        let mut objects = vec![serde_json::to_value(service_account)?];
        if let Some((role, binding)) = endpoints_access {
            objects.push(serde_json::to_value(role)?);
            objects.push(serde_json::to_value(binding)?);
        }
        objects.extend([
            serde_json::to_value(config)?,
            serde_json::to_value(peers)?,
            serde_json::to_value(nodes_service)?,
            serde_json::to_value(ready_service)?,
            serde_json::to_value(client_service)?,
            serde_json::to_value(disruption_budget)?,
        ]);
        if let Some(policy) = network_policy {
            objects.push(serde_json::to_value(policy)?);
        }
        objects.push(serde_json::to_value(stateful_set)?);
        Ok(objects)
    }

    /// Whether the Service and the pods have the port for HTTP.
    pub(crate) fn serves_http(&self) -> bool {
        let service = self.client_service.spec.as_ref();
        let service = service.and_then(|spec| spec.ports.as_ref());
        let pod = self.stateful_set.spec.as_ref();
        let pod = pod.and_then(|spec| spec.template.spec.as_ref());
        let containers = pod.into_iter().flat_map(|pod| &pod.containers);
        let mut of_pod = containers.flat_map(|container| container.ports.iter().flatten());
        service
            .into_iter()
            .flatten()
            .any(|port| port.port == PORT_HTTP)
            && of_pod.any(|port| port.container_port == PORT_HTTP)
    }

    /// Number of pods.
    pub(crate) fn replicas(&self) -> i32 {
        let spec = self.stateful_set.spec.as_ref();
        spec.and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// Rollout hash of the pod template.
    pub(crate) fn rollout_hash(&self) -> &str {
        let spec = self.stateful_set.spec.as_ref();
        let metadata = spec.and_then(|spec| spec.template.metadata.as_ref());
        let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
        let hash = annotations.and_then(|all| all.get(ANNOTATION_ROLLOUT_HASH));
        hash.map_or("", String::as_str)
    }
}

/// The desired objects of a cluster.
pub fn desired(
    cluster: &ValidCluster,
    observed: &Observed,
    settings: &Settings,
) -> Result<Desired, BuildError> {
    let chosen = image::choose(cluster, observed, settings);
    desired_with(cluster, observed, settings, &chosen.image)
}

/// The desired objects with this image of the nodes.
pub(crate) fn desired_with(
    cluster: &ValidCluster,
    observed: &Observed,
    settings: &Settings,
    image: &str,
) -> Result<Desired, BuildError> {
    let input = BuildInput {
        cluster,
        observed,
        settings,
        pods: desired_replicas(cluster, observed),
        image,
    };
    Ok(Desired {
        service_account: account::build(&input),
        endpoints_access: endpoints_access::build(&input),
        config: config::nodes(&input)?,
        peers: config::peers(&input),
        nodes_service: service::nodes(&input),
        ready_service: service::ready(&input),
        client_service: service::client(&input),
        disruption_budget: budget::build(&input),
        network_policy: policy::build(&input),
        stateful_set: stateful_set::build(&input)?,
    })
}

/// The arguments of every builder.
struct BuildInput<'a> {
    cluster: &'a ValidCluster,
    observed: &'a Observed,
    settings: &'a Settings,
    /// Desired number of pods.
    pods: i32,
    /// Image of the nodes.
    image: &'a str,
}

impl BuildInput<'_> {
    fn names(&self) -> ClusterNames<'_> {
        ClusterNames(&self.cluster.name)
    }

    /// Whether the nodes serve HTTP.
    fn serves_http(&self) -> bool {
        http::is_served(self.cluster, self.observed, self.image)
    }

    /// The lowest level of a program that may read the configuration.
    fn lowest_level(&self) -> FeatureLevel {
        image::lowest_level(self.cluster, self.observed, self.image)
    }

    /// Metadata of an owned object.
    fn metadata(&self, name: String) -> ObjectMeta {
        owned_metadata(self.cluster, name)
    }
}

/// Metadata of an object that is deleted together with the LogCluster and found by its labels.
pub(crate) fn owned_metadata(cluster: &ValidCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(ClusterNames(&cluster.name).labels()),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}

/// A Secret without data, with this metadata.
pub(crate) fn owned_secret(cluster: &ValidCluster, name: &str) -> Secret {
    Secret {
        metadata: owned_metadata(cluster, name.to_owned()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The LogCluster as the owner of an object.
pub(crate) fn owner(cluster: &ValidCluster) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "LogCluster".to_owned(),
        name: cluster.name.clone(),
        uid: cluster.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
