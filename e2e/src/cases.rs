//! The cases.

/// Deletes objects by kind and name.
macro_rules! delete {
    ($world:ident, $($kind:ty: $name:literal),*) => {
        $($world.api::<$kind>().delete($name, &DeleteParams::default()).await.context($name)?;)*
    };
}

mod life;
mod many;
mod pods;
mod refusals;

use std::pin::Pin;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ApiResource;
use lograft_crds::LogCluster;

use crate::chart::Chart;
use crate::operator::Operator;
use crate::world::World;

type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A case that needs an API server alone.
pub(crate) struct ApiCase {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a World, &'a mut Operator) -> Running<'a>,
}

/// A case that needs nodes.
pub(crate) struct PodCase {
    pub(crate) name: &'static str,
    /// What it cannot run without, if that is not there.
    pub(crate) lacks: fn() -> Option<String>,
    pub(crate) run: for<'a> fn(&'a World, &'a Chart) -> Running<'a>,
}

macro_rules! api_cases {
    ($($module:ident::$case:ident),* $(,)?) => {
        /// In the order in which they run.
        pub(crate) const API: &[ApiCase] = &[$(ApiCase {
            name: stringify!($case),
            run: |world, operator| Box::pin($module::$case(world, operator)),
        }),*];
    };
}

macro_rules! pod_cases {
    ($($module:ident::$case:ident $(needs $lacks:path)?),* $(,)?) => {
        /// In the order in which they run.
        pub(crate) const PODS: &[PodCase] = &[$(PodCase {
            name: stringify!($case),
            lacks: pod_cases!(@lacks $($lacks)?),
            run: |world, chart| Box::pin(pods::$module::$case(world, chart)),
        }),*];
    };
    (@lacks) => { || None };
    (@lacks $lacks:path) => { $lacks };
}

api_cases! {
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
    many::a_hundred_clusters_come_to_rest,
}

pod_cases! {
    serving::a_cluster_is_ready_within_a_minute_and_then_quiet,
    serving::records_go_in_and_come_out_with_the_issued_certificate,
    changes::a_rolling_change_under_load_loses_nothing,
    changes::a_change_in_the_middle_of_another,
    changes::an_image_that_cannot_start_stops_at_the_first_pod,
    changes::disks_grow_under_their_pods,
    changes::nodes_come_and_go_and_stay_after_all,
    changes::certificates_are_loaded_without_a_restart,
    losses::a_deleted_pod_comes_back_with_its_disk,
    losses::a_lost_disk_joins_as_a_new_node,
    losses::a_deleted_stateful_set_adopts_its_pods,
    losses::what_is_deleted_is_put_back_and_pods_stay,
    losses::a_deleted_cluster_finds_its_disks_again,
    losses::the_operator_is_killed_in_each_lane,
    losses::pods_go_on_without_an_operator,
    changes::a_disk_that_fills_up_grows needs pods::changes::lacks_sized_disks,
    losses::a_lost_host_is_told_and_survived needs pods::losses::lacks_node_faults,
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
