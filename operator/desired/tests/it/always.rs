//! Properties of every cluster and every observation.

use std::collections::{BTreeMap, BTreeSet};

use lograft_crds::LogCluster;
use lograft_crds::log_cluster::Spread;
use lograft_operator_desired::cluster::{Observed, ObservedPod};
use proptest::prelude::*;
use serde_json::Value;

use crate::{build, sample, text, view};

/// A cluster that the API server would accept, and an observation of it.
fn clusters() -> impl Strategy<Value = (LogCluster, Observed)> {
    let names = ("[a-z]([-a-z0-9]{0,38}[a-z0-9])?", "[a-z0-9]{1,63}");
    let counts = (
        1..=99i32,
        0..=99i32,
        prop::collection::btree_set(0..99i32, 0..20),
    );
    let keys = prop::collection::btree_map("[a-z]{1,8}/[a-z]{1,8}", "[a-z]{0,8}", 0..6);
    let zones = prop::collection::btree_map(0..99i32, "[a-z]{1,8}", 0..6);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (names, counts, keys, zones, flags).prop_map(
        |((name, namespace), (wanted, existing, emptied), keys, zones, flags)| {
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
            let (cluster, mut observed) = with_replicas(cluster, wanted, existing);
            if existing > 0 {
                observed.view = Some(view(&cluster, existing, &emptied));
            }
            for (at, zone) in zones.into_iter().filter(|(at, _)| *at < existing) {
                let zone = Some(zone);
                let pod = ObservedPod {
                    host: Some("host-a".to_owned()),
                    zone,
                    ..ObservedPod::default()
                };
                observed.pods.insert(at, pod);
            }
            (cluster, observed)
        },
    )
}

/// The cluster with `wanted` requested nodes, observed with `existing` ones.
fn with_replicas(mut cluster: LogCluster, wanted: i32, existing: i32) -> (LogCluster, Observed) {
    let mut observed = Observed::default();
    if existing > 0 {
        cluster.spec.replicas = existing;
        observed.stateful_set = Some(build(&cluster, &observed).stateful_set);
    }
    cluster.spec.replicas = wanted;
    (cluster, observed)
}

/// Kind and name of every object but the network policy, which may be switched off.
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
    fn building_twice_gives_the_same_bytes((cluster, observed) in clusters()) {
        prop_assert_eq!(
            text(&build(&cluster, &observed)),
            text(&build(&cluster.clone(), &observed.clone()))
        );
    }

    /// Objects that were applied change nothing: the next build, from the objects of the first, is
    /// the same.
    #[test]
    fn applied_objects_are_built_again((cluster, observed) in clusters()) {
        let first = build(&cluster, &observed);
        let then = Observed { stateful_set: Some(first.stateful_set.clone()), ..observed };
        // All pods that may be removed are removed in one step.
        prop_assert_eq!(text(&build(&cluster, &then)), text(&first));
    }

    /// Names and selectors depend only on the name of the cluster: after any change the objects are
    /// found again and the disks are not lost.
    #[test]
    fn names_and_selectors_are_stable((cluster, observed) in clusters()) {
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

    /// Every selector matches the labels of the pods, and labels of users are kept.
    #[test]
    fn selectors_match_the_pods((cluster, observed) in clusters()) {
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

    /// Each existing pod has its file, and no requested pod is removed.
    #[test]
    fn every_pod_has_a_file((cluster, observed) in clusters()) {
        let desired = build(&cluster, &observed);
        let replicas = desired.stateful_set.spec.as_ref().and_then(|s| s.replicas).unwrap();
        prop_assert!(replicas >= cluster.spec.replicas);
        prop_assert!(replicas <= cluster.spec.replicas.max(observed.replicas()));
        let files = desired.config.data.unwrap();
        prop_assert_eq!(files.len(), usize::try_from(replicas).unwrap());
    }
}
