//! The disruption budget: evictions, such as those of a node drain, take one pod at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::BuildInput;

/// Pods that are not ready may always be evicted.
const ALWAYS_ALLOW: &str = "AlwaysAllow";

pub(super) fn build(input: &BuildInput<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: input.metadata(input.names().disruption_budget()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(input.names().selector()),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: only_dead_pods_are_unready(input)
                .then(|| ALWAYS_ALLOW.to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

/// Whether pods are not ready, and all of these serve nobody: they have a trouble, such as a crash
/// loop, and nobody hears their node. Then no majority depends on them, and a drain of their host
/// must not wait for them. A pod that is not ready but alive may be part of a majority, so the
/// budget counts for it.
fn only_dead_pods_are_unready(input: &BuildInput<'_>) -> bool {
    let observed = input.observed;
    let mut unready = observed
        .pods
        .iter()
        .filter(|(_, pod)| !pod.ready)
        .peekable();
    unready.peek().is_some()
        && unready.all(|(at, pod)| {
            pod.trouble.is_some() && !observed.is_heard(*at, &input.names().pod(*at))
        })
}
