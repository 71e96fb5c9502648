//! Placement of pods: spread over zones, and apart from each other on hosts.

use k8s_openapi::api::core::v1::{
    Affinity, PodAffinityTerm, PodAntiAffinity, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use lograft_crds::log_cluster::Spread;

use super::BuildInput;

/// Label of a Kubernetes node that holds its host name.
const LABEL_HOST: &str = "kubernetes.io/hostname";
/// The highest weight of a preference.
const WEIGHT: i32 = 100;

/// Even spread over zones; strict if the spec requires it.
pub(super) fn spread(input: &BuildInput<'_>) -> TopologySpreadConstraint {
    let topology = &input.cluster.spec.topology;
    let otherwise = match topology.spread {
        Spread::Preferred => "ScheduleAnyway",
        Spread::Required => "DoNotSchedule",
    };
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology.zone_key.clone(),
        when_unsatisfiable: otherwise.to_owned(),
        label_selector: Some(selector(input)),
        ..TopologySpreadConstraint::default()
    }
}

/// The user's affinity, and one pod per host: preferred, or required if the spec requires it.
pub(super) fn affinity(input: &BuildInput<'_>) -> Affinity {
    let spec = &input.cluster.spec;
    let mut affinity = spec.pod_template.affinity.clone().unwrap_or_default();
    let mut anti = affinity.pod_anti_affinity.take().unwrap_or_default();
    let term = PodAffinityTerm {
        label_selector: Some(selector(input)),
        topology_key: LABEL_HOST.to_owned(),
        ..PodAffinityTerm::default()
    };
    add(&mut anti, term, spec.topology.spread);
    affinity.pod_anti_affinity = Some(anti);
    affinity
}

fn add(anti: &mut PodAntiAffinity, term: PodAffinityTerm, spread: Spread) {
    match spread {
        Spread::Preferred => {
            let terms = &mut anti.preferred_during_scheduling_ignored_during_execution;
            terms.get_or_insert_default().push(WeightedPodAffinityTerm {
                weight: WEIGHT,
                pod_affinity_term: term,
            });
        }
        Spread::Required => {
            let terms = &mut anti.required_during_scheduling_ignored_during_execution;
            terms.get_or_insert_default().push(term);
        }
    }
}

fn selector(input: &BuildInput<'_>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(input.names().selector()),
        ..LabelSelector::default()
    }
}
