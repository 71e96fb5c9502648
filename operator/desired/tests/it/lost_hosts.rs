//! Hosts that are gone for good with their volumes, and hosts that never were enough.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use lograft_crds::log_cluster::{Blocked, LostPolicy};
use lograft_operator_desired::cluster::{Ask, Identity, NodeAnswer, Plan};

use crate::converge::{NOW, Sim, running};

const AFTER_SECONDS: i64 = 600;

/// A running cluster of three whose third pod has lost its host.
fn without_a_host() -> Sim {
    let mut sim = running();
    let pod = sim.observed.pods.get_mut(&2).unwrap();
    pod.ready = false;
    pod.running = false;
    pod.host = None;
    pod.address = None;
    pod.unscheduled = Some("0/3 nodes are available: 1 had volume node affinity".to_owned());
    sim.observed.disks.get_mut(&2).unwrap().gone_host = Some("host-c".to_owned());
    let silent = NodeAnswer::Silent("no route".to_owned());
    sim.observed.answers.insert(2, silent);
    let view = sim.observed.view.as_mut().unwrap();
    for node in view.nodes.iter_mut().filter(|node| node.id == 3) {
        node.reachable = false;
    }
    for partition in &mut view.partitions {
        partition.leader = partition.leader.map(|leader| leader.min(2));
        for replica in partition.replicas.iter_mut().filter(|it| it.node == 3) {
            replica.in_sync = false;
        }
    }
    sim
}

/// Stores the wait as the status would have it after a reconcile at `since`.
fn store_wait(sim: &mut Sim, since: i64) {
    let claim = "data-lograft-2";
    let status = sim.cluster.status.get_or_insert_default();
    status.blocked = vec![Blocked {
        reason: "HostLost".to_owned(),
        subject: Some(format!("PersistentVolumeClaim {claim}")),
        message: "gone".to_owned(),
        since: Time(Timestamp::from_second(since).unwrap()),
    }];
}

fn deleted(plan: &Plan) -> Vec<String> {
    let deletes = plan.delete.iter();
    deletes
        .map(|delete| delete.object.key.to_string())
        .collect()
}

#[test]
fn a_claim_on_a_host_that_is_gone_is_released_after_the_time() {
    let mut sim = without_a_host();
    let plan = sim.plan();
    assert_eq!(
        deleted(&plan),
        [""; 0],
        "the status does not say since when"
    );
    let text = "host host-c of PVC data-lograft-2 is gone: after 600 s the PVC is deleted";
    assert!(sim.wait_text().contains(text), "{}", sim.wait_text());
    store_wait(&mut sim, NOW - AFTER_SECONDS + 5);
    let plan = sim.plan();
    assert_eq!(deleted(&plan), [""; 0]);
    assert!(plan.requeue_seconds <= 5, "it is looked at when it is due");
    store_wait(&mut sim, NOW - AFTER_SECONDS);
    let plan = sim.plan();
    let gone = ["PersistentVolumeClaim data-lograft-2", "Pod lograft-2"];
    assert_eq!(deleted(&plan), gone);
    assert!(
        plan.events
            .iter()
            .any(|event| event.reason == "ReleasingDisk")
    );
    // It starts elsewhere as node 4, and node 3 is decommissioned.
    sim.observed.answers.remove(&2);
    sim.carry_out(&plan);
    sim.converge();
    assert!(sim.asked.contains(&Ask::Decommission { node_id: 3 }));
    assert!(!sim.wait_text().contains("host-c"), "{}", sim.wait_text());
}

#[test]
fn a_claim_is_kept_if_a_majority_needs_it_or_the_spec_says_so() {
    let due = || {
        let mut sim = without_a_host();
        store_wait(&mut sim, NOW - AFTER_SECONDS);
        sim
    };
    let kept = |sim: &Sim, why: &str| {
        assert_eq!(deleted(&sim.plan()), [""; 0], "{why}");
        assert!(sim.wait_text().contains(why), "{}", sim.wait_text());
    };
    let mut sim = due();
    sim.cluster.spec.recovery.lost_host = LostPolicy::Keep;
    kept(&sim, "set spec.recovery.lostHost to Replace");

    let mut sim = due();
    let view = sim.observed.view.as_mut().unwrap();
    view.partitions[1].replicas[0].in_sync = false;
    kept(&sim, "partition orders/1 would have no majority without it");

    // A single replica on the lost disk is all that is left of its partition.
    let mut sim = due();
    let view = sim.observed.view.as_mut().unwrap();
    view.partitions[0]
        .replicas
        .retain(|replica| replica.node == 3);
    view.partitions[0].leader = None;
    kept(&sim, "partition orders/0 would have no majority without it");

    let mut sim = due();
    sim.observed.view = None;
    kept(&sim, "kept until a node describes the cluster");

    // Its node is heard of: the host is not gone, whatever Kubernetes says.
    let mut sim = due();
    let view = sim.observed.view.as_mut().unwrap();
    view.nodes.iter_mut().for_each(|node| node.reachable = true);
    assert_eq!(deleted(&sim.plan()), [""; 0]);

    // One at a time.
    let mut sim = due();
    sim.observed.disks.get_mut(&0).unwrap().terminating = true;
    assert_eq!(deleted(&sim.plan()), [""; 0]);
}

/// Two of five pods have no host, and never had: the three that run make the cluster.
#[test]
fn pods_that_no_host_ever_took_do_not_hold_up_the_bootstrap() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 5;
    let mut has_id = false;
    for _ in 0..20 {
        let plan = sim.plan();
        has_id |= plan.identity == Identity::Mint;
        sim.carry_out(&plan);
        for at in 3..5 {
            let Some(pod) = sim.observed.pods.get_mut(&at) else {
                continue;
            };
            pod.running = false;
            pod.ready = false;
            pod.address = None;
            pod.unscheduled = Some("0/3 nodes are available".to_owned());
            sim.observed.answers.remove(&at);
            sim.observed.disks.get_mut(&at).unwrap().actual_bytes = None;
        }
    }
    assert!(has_id);
    let bootstraps = sim.asked.iter();
    let bootstraps = bootstraps.filter(|ask| matches!(ask, Ask::Bootstrap { .. }));
    assert_eq!(bootstraps.count(), 1);
    assert!(sim.cluster.status.as_ref().unwrap().bootstrapped);

    // With a volume, a disk may hold a cluster: its pod has to start first.
    let mut sim = Sim::new();
    let plan = sim.plan();
    sim.carry_out(&plan);
    let pod = sim.observed.pods.get_mut(&2).unwrap();
    pod.unscheduled = Some("0/3 nodes are available".to_owned());
    pod.running = false;
    sim.observed.answers.remove(&2);
    let plan = sim.plan();
    assert_eq!(plan.ask, []);
}
