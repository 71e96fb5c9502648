//! When pods are replaced: the hash changes with everything that needs a restart of a pod, and with
//! nothing else.

use std::collections::BTreeMap;

use lograft_crds::LogCluster;
use lograft_crds::log_cluster::LogFormat;
use lograft_operator_desired::cluster::{Observed, ObservedPod};

use crate::{build, object, sample};

fn hash_in(cluster: &LogCluster, observed: &Observed) -> String {
    let set = object(&build(cluster, observed), "StatefulSet", "");
    let annotations = &set["spec"]["template"]["metadata"]["annotations"];
    let hash = annotations["lograft.io/rollout-hash"].as_str().unwrap();
    assert_eq!(hash.len(), 16);
    hash.to_owned()
}

/// An observation of one pod in this zone.
fn in_zone(ordinal: i32, zone: &str) -> Observed {
    let pod = ObservedPod {
        host: Some("host-a".to_owned()),
        zone: Some(zone.to_owned()),
        ..ObservedPod::default()
    };
    Observed {
        pods: BTreeMap::from([(ordinal, pod)]),
        ..Observed::default()
    }
}

fn hash(change: impl FnOnce(&mut LogCluster)) -> String {
    let mut cluster = sample("production");
    change(&mut cluster);
    hash_in(&cluster, &Observed::default())
}

#[test]
fn changes_that_need_a_restart_change_the_hash() {
    let before = hash(|_| {});
    let label = || BTreeMap::from([("team".to_owned(), "other".to_owned())]);
    let hashes = [
        hash(|c| c.spec.version = Some("0.2.0".to_owned())),
        hash(|c| c.spec.resources = None),
        hash(|c| c.spec.log.segment_size = "1Mi".into()),
        hash(|c| c.spec.observability.log_level = "debug".to_owned()),
        hash(|c| c.spec.observability.log_format = LogFormat::Text),
        hash(|c| c.spec.pod_template.labels = label()),
        hash(|c| c.spec.topology.zone_key = "rack".to_owned()),
    ];
    for after in &hashes {
        assert_ne!(*after, before);
    }
}

#[test]
fn other_changes_do_not() {
    let before = hash(|_| {});
    let hashes = [
        hash(|c| c.spec.replicas = 9),
        hash(|c| c.spec.paused = true),
        hash(|c| c.spec.update.paused = true),
        hash(|c| c.spec.storage.size = "200Gi".into()),
        hash(|c| c.spec.storage.retain_on_delete = false),
        hash(|c| c.spec.log.partitions = 1),
        hash(|c| c.spec.network_policy.enabled = false),
        hash(|c| c.spec.tls.leaf_validity = "1440h".into()),
        hash(|c| c.status = None),
    ];
    for after in &hashes {
        assert_eq!(*after, before);
    }
    let placed = in_zone(0, "zone-a");
    assert_eq!(hash_in(&sample("production"), &placed), before);
}

#[test]
fn a_zone_is_in_the_file_of_its_node_only() {
    let placed = in_zone(1, "zone-b");
    let config = object(
        &build(&sample("production"), &placed),
        "ConfigMap",
        "-config",
    );
    let file = |pod: &str| {
        config["data"][format!("{pod}.yaml")]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(file("events-1").contains("zone: zone-b"));
    assert!(!file("events-0").contains("zone-b"));
}
