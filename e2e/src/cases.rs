//! The cases.

mod life;
mod refusals;

use std::pin::Pin;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ApiResource;
use lograft_crds::LogCluster;

use crate::operator::Operator;
use crate::world::World;

/// What a case does.
type Run = for<'a> fn(
    &'a World,
    &'a mut Operator,
) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: Run,
}

macro_rules! cases {
    ($($module:ident::$case:ident),* $(,)?) => {
        /// In the order in which they run.
        pub(crate) const CASES: &[Case] = &[$(Case {
            name: stringify!($case),
            run: |world, operator| Box::pin($module::$case(world, operator)),
        }),*];
    };
}

cases! {
    refusals::bad_clusters_are_refused_with_advice,
    refusals::what_a_status_says_once_stays,
    refusals::what_the_data_plane_lacks_is_told,
    life::a_cluster_gets_its_objects_and_then_peace,
    life::what_is_deleted_is_put_back,
    life::what_is_edited_is_put_back,
    life::hands_are_kept_off_a_paused_cluster,
    life::a_new_size_gives_pods_and_certificates,
    life::another_owners_object_is_left_alone,
    life::a_killed_operator_doubles_nothing,
    life::a_stopped_operator_gives_its_lease_back,
}

/// Kinds that the operator makes, and its own.
pub(crate) fn kinds() -> Vec<ApiResource> {
    vec![
        ApiResource::erase::<LogCluster>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<StatefulSet>(&()),
    ]
}
