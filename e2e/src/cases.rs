//! All test cases.

/// Deletes objects by kind and name.
macro_rules! delete {
    ($sandbox:ident, $($kind:ty: $name:literal),*) => {
        $($sandbox.api::<$kind>().delete($name, &DeleteParams::default()).await.context($name)?;)*
    };
}

mod authorization;
mod blocked;
mod edits;
mod hosts;
mod http;
mod life;
mod many;
mod obstacles;
mod pods;
mod processes;
mod refusals;
mod rest;
mod rivals;
mod said;
mod topic_waits;
mod topics;
mod topics_many;
mod user_waits;
mod users;
mod users_many;
mod versions;

use std::pin::Pin;

use crate::chart::Chart;
use crate::operator::Operator;
use crate::sandbox::Sandbox;

type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A case that needs only an API server.
pub(crate) struct ApiCase {
    pub(crate) name: &'static str,
    /// The missing requirement, if there is one.
    pub(crate) lacks: fn() -> Option<String>,
    pub(crate) run: for<'a> fn(&'a Sandbox, &'a mut Operator) -> Running<'a>,
}

/// A case that needs nodes.
pub(crate) struct PodCase {
    pub(crate) name: &'static str,
    /// The missing requirement, if there is one.
    pub(crate) lacks: fn() -> Option<String>,
    pub(crate) run: for<'a> fn(&'a Sandbox, &'a Chart) -> Running<'a>,
}

macro_rules! lacks {
    () => {
        || None
    };
    ($lacks:path) => {
        $lacks
    };
}

macro_rules! api_cases {
    ($($module:ident::$case:ident $(needs $lacks:path)?),* $(,)?) => {
        /// Listed in execution order.
        pub(crate) const API: &[ApiCase] = &[$(ApiCase {
            name: stringify!($case),
            lacks: lacks!($($lacks)?),
            run: |sandbox, operator| Box::pin($module::$case(sandbox, operator)),
        }),*];
    };
}

macro_rules! pod_cases {
    ($($module:ident::$case:ident $(needs $lacks:path)?),* $(,)?) => {
        /// Listed in execution order.
        pub(crate) const PODS: &[PodCase] = &[$(PodCase {
            name: stringify!($case),
            lacks: lacks!($($lacks)?),
            run: |sandbox, chart| Box::pin(pods::$module::$case(sandbox, chart)),
        }),*];
    };
}

api_cases! {
    refusals::bad_clusters_are_refused_with_advice,
    refusals::identity_in_status_is_immutable,
    refusals::unsupported_fields_are_reported,
    authorization::a_new_cluster_is_closed_and_a_change_restarts_nothing,
    authorization::an_older_cluster_stays_open,
    http::http_is_opened_on_request_and_nothing_of_it_stays,
    http::nodes_that_do_not_serve_http_are_left_alone,
    life::a_new_cluster_gets_its_objects_and_is_then_quiet,
    life::deleted_objects_are_recreated,
    life::edited_objects_are_restored,
    life::a_paused_cluster_is_not_reconciled,
    life::scaling_up_adds_pods_and_certificates,
    life::an_object_of_another_owner_is_not_touched,
    life::a_killed_operator_repeats_nothing,
    life::a_stopped_operator_releases_its_lease,
    life::silent_connections_hold_up_no_probe,
    edits::additions_to_objects_are_removed,
    edits::an_edit_that_blocks_an_apply_is_reverted,
    edits::an_immutable_config_map_is_made_again,
    edits::secrets_are_owned_again_after_an_orphaning_delete,
    edits::a_pod_without_labels_gets_them_back,
    rivals::two_operators_of_one_namespace_do_not_fight,
    rivals::a_field_that_a_controller_rewrites_is_named_and_then_mended,
    blocked::a_blocked_cluster_lists_reasons_with_their_times,
    blocked::a_status_of_a_former_operator_keeps_its_time,
    blocked::a_failed_renewal_is_reported,
    blocked::an_invalid_spec_does_not_stop_the_renewal_of_certificates,
    versions::a_version_below_the_running_one_is_refused_unless_allowed,
    versions::another_default_version_moves_clusters_only_if_told_so,
    obstacles::what_keeps_a_pod_from_running_is_named,
    obstacles::a_crash_loop_is_one_state_and_one_event,
    hosts::a_volume_on_a_host_that_is_gone_is_named,
    hosts::a_volume_on_an_unreachable_host_is_released_on_request,
    topics::bad_topics_are_refused_with_advice,
    topics::a_topic_is_created_changed_and_kept_or_deleted,
    topics::changes_of_topics_by_others_are_reverted_or_named,
    topics::a_lost_answer_creates_no_topic_twice,
    topics::an_existing_topic_is_adopted_only_when_told,
    topic_waits::topics_name_the_state_of_their_cluster,
    topic_waits::refused_topics_are_named_and_repeated_seldom,
    topic_waits::of_two_topics_with_one_name_the_older_owns_it,
    topic_waits::topics_of_another_namespace_need_consent,
    topic_waits::a_deleted_topic_waits_for_its_cluster_but_not_for_one_that_is_gone,
    topics_many::a_thousand_topics_settle_and_are_quiet,
    users::a_user_gets_a_certificate_and_rules_and_is_revoked_when_deleted,
    users::a_suspended_user_has_a_way_back,
    users::nodes_that_apply_the_rules_are_listed,
    users::certificates_follow_the_ca_and_the_key_algorithm,
    users::the_bundle_of_a_lost_secret_has_the_roots_of_the_others,
    user_waits::users_name_the_state_of_their_cluster,
    user_waits::a_user_waits_for_the_ca_of_its_cluster,
    user_waits::names_and_grants_that_are_not_allowed_are_refused,
    user_waits::users_of_another_namespace_need_consent,
    users_many::two_hundred_users_settle_and_are_quiet,
    topics_many::a_thousand_topics_and_two_hundred_users_are_quiet_together,
    many::a_hundred_clusters_settle,
    processes::processes_find_each_other_by_endpoints_alone
        needs crate::node_processes::lacks_processes,
}

pod_cases! {
    serving::a_cluster_is_ready_within_a_minute_and_then_quiet,
    serving::records_are_produced_and_consumed_with_the_issued_certificate,
    changes::a_rolling_change_under_load_loses_nothing,
    changes::a_change_during_another_change,
    changes::an_image_that_cannot_start_stops_at_the_first_pod,
    changes::disks_grow_under_their_pods,
    changes::scaling_up_and_down_and_reverting_it,
    changes::a_cluster_of_one_that_grows_protects_its_topics,
    rescale::three_nodes_become_five_and_three_again_under_load
        needs crate::pod_client::lacks_pod_network,
    rescale::rescaling_ends_right_while_the_operator_and_nodes_are_killed
        needs crate::pod_client::lacks_pod_network,
    changes::certificates_are_reloaded_without_a_restart,
    losses::a_deleted_pod_comes_back_with_its_disk,
    losses::a_lost_disk_joins_as_a_new_node,
    losses::a_deleted_stateful_set_adopts_its_pods,
    losses::deleted_objects_are_recreated_and_pods_stay,
    losses::a_recreated_cluster_adopts_its_disks,
    losses::the_operator_is_killed_in_each_lane,
    losses::pods_keep_running_without_an_operator,
    obstacles::a_quota_is_named_and_the_cluster_starts_without_it,
    obstacles::an_unknown_storage_class_is_named,
    obstacles::pods_that_no_host_takes_have_the_words_of_the_scheduler,
    obstacles::a_crash_loop_is_one_state_and_one_event,
    obstacles::a_planned_replacement_is_no_alarm,
    discovery::pods_find_each_other_by_endpoints_alone,
    discovery::pods_find_each_other_by_gossip_alone,
    discovery::pods_find_each_other_by_dns_alone,
    discovery::a_pod_at_another_address_is_reached_within_two_seconds,
    discovery::the_gossip_key_is_replaced_under_load,
    discovery::a_zone_that_pods_have_no_label_for_is_that_of_the_host,
    evictions::a_rollout_restart_under_load_takes_one_pod_at_a_time,
    evictions::a_drain_beside_a_crash_loop_ends,
    evictions::an_interrupted_spot_host_loses_nothing,
    evictions::evictions_during_a_rollout_take_one_pod_at_a_time,
    topics::topics_are_created_grown_restored_and_deleted
        needs crate::pod_client::lacks_pod_network,
    topics::a_namespace_with_topics_and_users_is_deleted
        needs crate::pod_client::lacks_pod_network,
    users::rules_of_users_allow_exactly_what_they_say
        needs crate::pod_client::lacks_pod_network,
    users::a_suspended_user_works_again_and_a_deleted_one_is_revoked
        needs crate::pod_client::lacks_pod_network,
    users::a_user_of_another_namespace_needs_consent
        needs crate::pod_client::lacks_pod_network,
    authorization::users_are_served_while_others_are_deleted_and_certificates_replaced
        needs crate::pod_client::lacks_pod_network,
    http::http_is_switched_on_and_off_under_load needs crate::curl_pod::lacks_curl,
    http::a_tail_over_http_resumes_while_all_pods_are_replaced
        needs crate::curl_pod::lacks_curl_or_pod_network,
    http::the_network_policy_covers_http needs crate::curl_pod::lacks_curl_or_network_policy,
    http::nodes_of_the_former_version_get_http_with_their_upgrade
        needs pods::http::lacks_curl_or_former_images,
    fleet::a_change_of_the_operator_stops_at_the_first_cluster_that_gets_stuck,
    fleet::a_change_of_the_operator_goes_to_one_cluster_first_then_by_wave
        needs pods::versions::lacks_former_images,
    changes::a_disk_that_fills_up_grows needs pods::changes::lacks_sized_disks,
    losses::a_lost_host_is_reported_and_survived needs pods::losses::lacks_node_faults,
    lost_hosts::a_host_lost_for_good_is_replaced_by_a_spare needs pods::losses::lacks_node_faults,
    lost_hosts::without_a_spare_a_lost_host_is_named_and_nothing_shrinks
        needs pods::lost_hosts::lacks_node_faults_or_pod_network,
    versions::versions_run_side_by_side_and_go_back_until_finalized
        needs pods::versions::lacks_former_images,
}
