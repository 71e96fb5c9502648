//! Changes of the cluster size, seen in the objects.

use lograft_operator_desired::cluster::Observed;
use serde_json::Value;

use crate::{build, object, sample, view};

/// The observation after the minimal sample with `replicas` was applied.
fn applied(replicas: i32) -> Observed {
    let mut cluster = sample("minimal");
    cluster.spec.replicas = replicas;
    let desired = build(&cluster, &Observed::default());
    Observed {
        stateful_set: Some(desired.stateful_set),
        ..Observed::default()
    }
}

fn set(replicas: i32, observed: &Observed) -> Value {
    let mut cluster = sample("minimal");
    cluster.spec.replicas = replicas;
    object(&build(&cluster, observed), "StatefulSet", "")
}

#[test]
fn pods_are_removed_after_their_node() {
    let mut observed = applied(5);
    let cluster = sample("minimal");
    assert_eq!(set(3, &observed)["spec"]["replicas"], 5);
    observed.view = Some(view(&cluster, 5, &[4].into()));
    assert_eq!(set(3, &observed)["spec"]["replicas"], 4);
    observed.view = Some(view(&cluster, 5, &[3, 4].into()));
    assert_eq!(set(3, &observed)["spec"]["replicas"], 3);
    // Requested again before they are removed: they stay.
    assert_eq!(set(5, &observed)["spec"]["replicas"], 5);
}

#[test]
fn a_leaving_pod_keeps_its_configuration() {
    let mut cluster = sample("minimal");
    cluster.spec.replicas = 3;
    let desired = build(&cluster, &applied(4));
    let config = object(&desired, "ConfigMap", "-config");
    assert!(config["data"]["lograft-3.yaml"].is_string());
    let peers = object(&desired, "ConfigMap", "-peers");
    assert_eq!(
        peers["data"]["peer-addresses"]
            .as_str()
            .unwrap()
            .lines()
            .count(),
        4
    );
}

/// The PVC template of a StatefulSet is immutable.
#[test]
fn the_disks_size_in_the_set_stays() {
    let size = |set: &Value| {
        set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"].clone()
    };
    let mut cluster = sample("minimal");
    cluster.spec.storage.size = "20Gi".into();
    let fresh = object(&build(&cluster, &Observed::default()), "StatefulSet", "");
    assert_eq!(size(&fresh), "20Gi");
    let grown = object(&build(&cluster, &applied(3)), "StatefulSet", "");
    assert_eq!(size(&grown), "10Gi");
}

/// A large cluster does not change the files of the existing pods.
#[test]
fn the_number_of_seeds_is_bounded() {
    let files = |replicas: i32| {
        let mut cluster = sample("minimal");
        cluster.spec.replicas = replicas;
        object(
            &build(&cluster, &Observed::default()),
            "ConfigMap",
            "-config",
        )["data"]
            .clone()
    };
    assert_eq!(files(5)["lograft-2.yaml"], files(99)["lograft-2.yaml"]);
    assert_ne!(files(4)["lograft-2.yaml"], files(5)["lograft-2.yaml"]);
}

/// The longest names and the highest number of pods fit into one ConfigMap.
#[test]
fn the_largest_cluster_fits() {
    let mut cluster = sample("minimal");
    cluster.spec.replicas = 99;
    cluster.metadata.name = Some("n".repeat(40));
    cluster.metadata.namespace = Some("s".repeat(63));
    let config = object(
        &build(&cluster, &Observed::default()),
        "ConfigMap",
        "-config",
    );
    let bytes: usize = config["data"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| key.len() + value.as_str().unwrap().len())
        .sum();
    assert!(bytes < 512 * 1024, "{bytes} bytes");
}
