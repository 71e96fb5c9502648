//! What holds for every cluster and every world.

use std::collections::{BTreeMap, BTreeSet};

use lograft_crds::LogCluster;
use lograft_crds::log_cluster::Spread;
use lograft_operator_desired::Observed;
use proptest::prelude::*;
use serde_json::Value;

use crate::{build, sample, text};

/// A cluster that the API server would take, and a world.
fn worlds() -> impl Strategy<Value = (LogCluster, Observed)> {
    let names = ("[a-z]([-a-z0-9]{0,38}[a-z0-9])?", "[a-z0-9]{1,63}");
    let counts = (
        1..=99i32,
        0..=99i32,
        prop::collection::btree_set(0..99i32, 0..20),
    );
    let keys = prop::collection::btree_map("[a-z]{1,8}/[a-z]{1,8}", "[a-z]{0,8}", 0..6);
    let zones = prop::collection::btree_map(0..99i32, "[a-z]{1,8}", 0..6);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (names, counts, keys, zones, flags)
        .prop_map(
            |((name, namespace), (wanted, standing, emptied), keys, zones, flags)| {
                let mut cluster = sample("minimal");
                cluster.metadata.name = Some(name);
                cluster.metadata.namespace = Some(namespace);
                cluster.spec.pod_template.labels = keys.clone();
                cluster.spec.pod_template.node_selector = keys;
                cluster.spec.network_policy.enabled = flags.0;
                if flags.1 {
                    cluster.spec.topology.spread = Spread::Required;
                    cluster.status = None;
                }
                (with_world(cluster, wanted, standing), emptied, zones)
            },
        )
        .prop_map(|((cluster, mut observed), emptied, zones)| {
            observed.emptied = emptied;
            observed.zones = zones;
            (cluster, observed)
        })
}

/// The cluster with `wanted` nodes, in a world where it stands with `standing`.
fn with_world(mut cluster: LogCluster, wanted: i32, standing: i32) -> (LogCluster, Observed) {
    let mut observed = Observed::default();
    if standing > 0 {
        cluster.spec.replicas = standing;
        observed.stateful_set = Some(build(&cluster, &observed).stateful_set);
    }
    cluster.spec.replicas = wanted;
    (cluster, observed)
}

/// Kind and name of every object but the policy, which may be switched off.
fn names(cluster: &LogCluster, observed: &Observed) -> BTreeSet<String> {
    let objects = build(cluster, observed).objects().unwrap();
    let name = |o: &Value| format!("{} {}", o["kind"], o["metadata"]["name"]);
    objects
        .iter()
        .filter(|o| o["kind"] != "NetworkPolicy")
        .map(name)
        .collect()
}

fn map(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn planning_twice_gives_the_same_bytes((cluster, observed) in worlds()) {
        prop_assert_eq!(
            text(&build(&cluster, &observed)),
            text(&build(&cluster.clone(), &observed.clone()))
        );
    }

    /// What was applied changes nothing: the next plan, in the world that the first one made, is
    /// the first one.
    #[test]
    fn what_stands_is_planned_again((cluster, observed) in worlds()) {
        let first = build(&cluster, &observed);
        let then = Observed { stateful_set: Some(first.stateful_set.clone()), ..observed };
        // A pod that may leave leaves in one step, so one plan settles it.
        prop_assert_eq!(text(&build(&cluster, &then)), text(&first));
    }

    /// Names and selectors depend on the cluster's name alone: objects are found again, and disks
    /// are not lost, whatever else changes.
    #[test]
    fn names_and_selectors_are_stable((cluster, observed) in worlds()) {
        let mut other = sample("production");
        other.metadata.name.clone_from(&cluster.metadata.name);
        prop_assert_eq!(names(&cluster, &observed), names(&other, &Observed::default()));
        let spec = |cluster: &LogCluster, observed: &Observed| {
            let set = serde_json::to_value(build(cluster, observed).stateful_set).unwrap();
            set["spec"].clone()
        };
        let (one, two) = (spec(&cluster, &observed), spec(&other, &Observed::default()));
        prop_assert_eq!(&one["selector"], &two["selector"]);
        prop_assert_eq!(&one["serviceName"], &two["serviceName"]);
        let disk = |spec: &Value| spec["volumeClaimTemplates"][0]["metadata"].clone();
        prop_assert_eq!(disk(&one), disk(&two));
    }

    /// Every selector fits the pods' labels, and user's labels are kept.
    #[test]
    fn selectors_fit_the_pods((cluster, observed) in worlds()) {
        let desired = build(&cluster, &observed);
        let set = serde_json::to_value(&desired.stateful_set).unwrap();
        let labels = map(&set["spec"]["template"]["metadata"]["labels"]);
        for (key, value) in &cluster.spec.pod_template.labels {
            prop_assert_eq!(labels.get(key), Some(value));
        }
        for object in desired.objects().unwrap() {
            let spec = &object["spec"];
            let selector = match object["kind"].as_str() {
                Some("Service") => &spec["selector"],
                Some("StatefulSet" | "PodDisruptionBudget") => &spec["selector"]["matchLabels"],
                Some("NetworkPolicy") => &spec["podSelector"]["matchLabels"],
                _ => continue,
            };
            let selector = map(selector);
            prop_assert!(!selector.is_empty());
            for (key, value) in &selector {
                prop_assert_eq!(labels.get(key), Some(value));
            }
        }
    }

    /// Each pod that stands has its file, and no pod goes that is asked for.
    #[test]
    fn every_pod_has_a_file((cluster, observed) in worlds()) {
        let desired = build(&cluster, &observed);
        let replicas = desired.stateful_set.spec.as_ref().and_then(|s| s.replicas).unwrap();
        prop_assert!(replicas >= cluster.spec.replicas);
        prop_assert!(replicas <= cluster.spec.replicas.max(observed.replicas()));
        let files = desired.config.data.unwrap();
        prop_assert_eq!(files.len(), usize::try_from(replicas).unwrap());
    }
}
