//! The kinds of objects in plans, and access to objects by kind and namespace.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ApiResource, DynamicObject};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use lograft_crds::names::ClusterNames;
use lograft_operator_desired::ObjectKey;

/// A kind that no plan should contain.
#[derive(Debug, thiserror::Error)]
#[error("kind {0:?} is not supported")]
pub(crate) struct UnknownKind(String);

/// The API of a kind in a namespace.
pub(crate) fn api(
    client: &Client,
    namespace: &str,
    kind: &str,
) -> Result<Api<DynamicObject>, UnknownKind> {
    let resource = match kind {
        "ConfigMap" => ApiResource::erase::<ConfigMap>(&()),
        "NetworkPolicy" => ApiResource::erase::<NetworkPolicy>(&()),
        "PersistentVolumeClaim" => ApiResource::erase::<PersistentVolumeClaim>(&()),
        "Pod" => ApiResource::erase::<Pod>(&()),
        "PodDisruptionBudget" => ApiResource::erase::<PodDisruptionBudget>(&()),
        "Role" => ApiResource::erase::<Role>(&()),
        "RoleBinding" => ApiResource::erase::<RoleBinding>(&()),
        "Secret" => ApiResource::erase::<Secret>(&()),
        "Service" => ApiResource::erase::<Service>(&()),
        "ServiceAccount" => ApiResource::erase::<ServiceAccount>(&()),
        "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
        other => return Err(UnknownKind(other.to_owned())),
    };
    Ok(Api::namespaced_with(client.clone(), namespace, &resource))
}

/// The objects of a cluster without Secrets, pods and PVCs.
pub(crate) fn objects(names: ClusterNames<'_>) -> Vec<ObjectKey> {
    let key = |kind: &str, name: String| ObjectKey::new(kind, name);
    vec![
        key("ServiceAccount", names.service_account()),
        key("Role", names.endpoints_role()),
        key("RoleBinding", names.endpoints_role()),
        key("ConfigMap", names.config()),
        key("ConfigMap", names.peers()),
        key("Service", names.nodes_service()),
        key("Service", names.ready_service()),
        key("Service", names.client_service()),
        key("PodDisruptionBudget", names.disruption_budget()),
        key("NetworkPolicy", names.network_policy()),
        key("StatefulSet", names.stateful_set()),
    ]
}

/// The objects of a kind in a namespace, or in all.
pub(crate) fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Namespace and name.
pub(crate) fn key(cluster: &impl ResourceExt) -> String {
    let metadata = cluster.meta();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}")
}
