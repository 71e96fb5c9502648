//! Growing and shrinking, seen from the objects.

use lograft_operator_desired::Observed;
use serde_json::Value;

use crate::{build, object, sample};

/// The world after the minimal sample with `replicas` was applied.
fn standing(replicas: i32) -> Observed {
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
fn pods_leave_when_they_hold_nothing() {
    let mut world = standing(5);
    assert_eq!(set(3, &world)["spec"]["replicas"], 5);
    world.emptied = [4].into();
    assert_eq!(set(3, &world)["spec"]["replicas"], 4);
    world.emptied = [3, 4].into();
    assert_eq!(set(3, &world)["spec"]["replicas"], 3);
    // Asked for again before the end: they stay.
    assert_eq!(set(5, &world)["spec"]["replicas"], 5);
}

#[test]
fn a_leaving_pod_keeps_its_configuration() {
    let mut cluster = sample("minimal");
    cluster.spec.replicas = 3;
    let desired = build(&cluster, &standing(4));
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

/// The claim template of a StatefulSet cannot change: it stays what it was.
#[test]
fn the_disks_size_in_the_set_stays() {
    let size = |set: &Value| {
        set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"].clone()
    };
    let mut cluster = sample("minimal");
    cluster.spec.storage.size = "20Gi".into();
    let fresh = object(&build(&cluster, &Observed::default()), "StatefulSet", "");
    assert_eq!(size(&fresh), "20Gi");
    let grown = object(&build(&cluster, &standing(3)), "StatefulSet", "");
    assert_eq!(size(&grown), "10Gi");
}

/// Old files stay as they are when nodes are added beyond those that are asked to join.
#[test]
fn seeds_do_not_grow_for_ever() {
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

/// The longest names and the most pods still fit into one ConfigMap.
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
