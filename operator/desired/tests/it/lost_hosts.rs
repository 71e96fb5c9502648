//! Hosts that are gone for good with their volumes, and hosts that never were enough.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use lograft_crds::log_cluster::{Blocked, LostHostPolicy};
use lograft_operator_desired::cluster::{
    Ask, Deletion, DiskHost, HostLoss, Identity, NodeAnswer, Plan,
};

use crate::converge::{NOW, Sim, running};

const AFTER_SECONDS: i64 = 600;
const AGE_SECONDS: i64 = 86_400;

/// A running cluster of three whose third pod has lost its host.
fn without_a_host() -> Sim {
    let mut sim = running();
    let pod = sim.observed.pods.get_mut(&2).unwrap();
    pod.ready = false;
    pod.running = false;
    pod.host = None;
    pod.address = None;
    pod.unscheduled = Some("0/3 nodes are available: 1 had volume node affinity".to_owned());
    let disk = sim.observed.disks.get_mut(&2).unwrap();
    disk.created = NOW - AGE_SECONDS;
    disk.lost_host = Some(DiskHost {
        name: "host-c".to_owned(),
        loss: HostLoss::Gone,
        can_move: false,
    });
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

/// Nothing is deleted, and the wait says why.
fn kept(sim: &Sim, why: &str) {
    assert_eq!(deleted(&sim.plan()), [""; 0], "{why}");
    assert!(sim.wait_text().contains(why), "{}", sim.wait_text());
}

/// The pod starts elsewhere as node 4, and node 3 is decommissioned.
fn starts_elsewhere(mut sim: Sim, plan: &Plan) {
    sim.observed.answers.remove(&2);
    sim.carry_out(plan);
    sim.converge();
    assert!(sim.asked.contains(&Ask::Decommission { node_id: 3 }));
    assert!(!sim.wait_text().contains("host-c"), "{}", sim.wait_text());
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
    starts_elsewhere(sim, &plan);
}

#[test]
fn a_claim_is_kept_if_a_majority_needs_it_or_the_spec_says_so() {
    let due = || {
        let mut sim = without_a_host();
        store_wait(&mut sim, NOW - AFTER_SECONDS);
        sim
    };
    let mut sim = due();
    sim.cluster.spec.recovery.lost_host = LostHostPolicy::Keep;
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
    hear(&mut sim);
    assert_eq!(deleted(&sim.plan()), [""; 0]);

    // A disk that is younger than the loss of its predecessor.
    let mut sim = due();
    sim.observed.disks.get_mut(&2).unwrap().created = NOW - AFTER_SECONDS + 5;
    assert_eq!(deleted(&sim.plan()), [""; 0]);

    // One at a time.
    let mut sim = due();
    sim.observed.disks.get_mut(&0).unwrap().terminating = true;
    assert_eq!(deleted(&sim.plan()), [""; 0]);
}

/// A running cluster of three whose third pod is on a host that is not ready for `lasts_seconds`.
/// Kubernetes has tried to delete the pod, and its kubelet does not answer.
fn on_an_unreachable_host(policy: LostHostPolicy, lasts_seconds: i64) -> Sim {
    let mut sim = without_a_host();
    sim.cluster.spec.recovery.lost_host = policy;
    lose(
        &mut sim,
        HostLoss::Unreachable {
            since: NOW - lasts_seconds,
        },
    );
    let pod = sim.observed.pods.get_mut(&2).unwrap();
    pod.unscheduled = None;
    pod.host = Some("host-c".to_owned());
    pod.address = Some("10.0.0.3".to_owned());
    pod.terminating = true;
    sim
}

fn lose(sim: &mut Sim, loss: HostLoss) {
    let disk = sim.observed.disks.get_mut(&2).unwrap();
    disk.lost_host.as_mut().unwrap().loss = loss;
}

fn hear(sim: &mut Sim) {
    let view = sim.observed.view.as_mut().unwrap();
    view.nodes.iter_mut().for_each(|node| node.reachable = true);
}

#[test]
fn a_pod_on_an_unreachable_host_starts_elsewhere_if_the_spec_says_so() {
    let policy = LostHostPolicy::ReplaceUnreachable;
    let mut sim = on_an_unreachable_host(policy, AFTER_SECONDS);
    let text = "host host-c of PVC data-lograft-2 is unreachable: after 600 s the PVC is deleted";
    assert_eq!(deleted(&sim.plan()), [""; 0]);
    assert!(sim.wait_text().contains(text), "{}", sim.wait_text());
    store_wait(&mut sim, NOW - AFTER_SECONDS + 5);
    assert_eq!(deleted(&sim.plan()), [""; 0]);
    store_wait(&mut sim, NOW - AFTER_SECONDS);
    let plan = sim.plan();
    let gone = ["PersistentVolumeClaim data-lograft-2", "Pod lograft-2"];
    assert_eq!(deleted(&plan), gone);
    let how: Vec<Deletion> = plan.delete.iter().map(|delete| delete.how).collect();
    assert_eq!(how, [Deletion::Usual, Deletion::Force]);
    // The PVC waits for its pod: if the operator ends between the two, only the pod is left.
    let mut interrupted = sim.clone();
    interrupted.observed.disks.get_mut(&2).unwrap().terminating = true;
    assert_eq!(deleted(&interrupted.plan()), ["Pod lograft-2"]);
    interrupted.observed.pods.get_mut(&2).unwrap().host = None;
    assert_eq!(deleted(&interrupted.plan()), [""; 0], "the next pod");
    starts_elsewhere(sim, &plan);
}

#[test]
fn a_pod_on_an_unreachable_host_stays_unless_all_conditions_hold() {
    let due = |policy| {
        let mut sim = on_an_unreachable_host(policy, AFTER_SECONDS);
        store_wait(&mut sim, NOW - AFTER_SECONDS);
        sim
    };
    let replace = || due(LostHostPolicy::ReplaceUnreachable);
    let registered = "delete its Node, or taint it node.kubernetes.io/out-of-service, or set \
                      spec.recovery.lostHost to ReplaceUnreachable";
    kept(&due(LostHostPolicy::Replace), registered);
    let advice = "set spec.recovery.lostHost to ReplaceUnreachable";
    kept(&due(LostHostPolicy::Keep), advice);

    // The Node was ready in between.
    let mut sim = replace();
    let since = NOW - AFTER_SECONDS + 5;
    lose(&mut sim, HostLoss::Unreachable { since });
    kept(&sim, "after 600 s the PVC is deleted");

    let mut sim = replace();
    let view = sim.observed.view.as_mut().unwrap();
    view.partitions[1].replicas[0].in_sync = false;
    kept(&sim, "partition orders/1 would have no majority without it");

    let mut sim = replace();
    sim.observed.disks.get_mut(&0).unwrap().terminating = true;
    kept(&sim, "after 600 s the PVC is deleted");

    // A network disk could be attached to two hosts at once.
    let mut sim = replace();
    let disk = sim.observed.disks.get_mut(&2).unwrap();
    disk.lost_host.as_mut().unwrap().can_move = true;
    kept(
        &sim,
        "can start elsewhere with its disk once the host is known to be off",
    );

    // Kubelet alone does not answer: the others hear the node.
    let mut sim = replace();
    hear(&mut sim);
    assert_eq!(deleted(&sim.plan()), [""; 0]);
    assert!(!sim.wait_text().contains("host-c"), "{}", sim.wait_text());

    // The disk of a removed node is kept, also if its host is not ready.
    let mut sim = replace();
    let disk = sim.observed.disks[&2].clone();
    sim.observed.disks.insert(7, disk);
    let text = format!("{:?}", sim.plan().waits);
    assert!(!text.contains("data-lograft-7"), "{text}");
}

#[test]
fn a_host_that_is_declared_out_of_service_is_lost() {
    let due = |policy, since| {
        let mut sim = on_an_unreachable_host(policy, AFTER_SECONDS);
        lose(&mut sim, HostLoss::OutOfService { since });
        store_wait(&mut sim, NOW - AFTER_SECONDS);
        sim
    };
    let long = NOW - AFTER_SECONDS;
    let gone = ["PersistentVolumeClaim data-lograft-2", "Pod lograft-2"];
    assert_eq!(deleted(&due(LostHostPolicy::Replace, long).plan()), gone);
    let sim = due(LostHostPolicy::Replace, long + 5);
    assert_eq!(deleted(&sim.plan()), [""; 0]);
    let text = "host host-c of PVC data-lograft-2 is out of service: after 600 s";
    assert!(sim.wait_text().contains(text), "{}", sim.wait_text());
    let sim = due(LostHostPolicy::Keep, long);
    assert_eq!(deleted(&sim.plan()), [""; 0]);
    let text = "set spec.recovery.lostHost to Replace, or";
    assert!(sim.wait_text().contains(text), "{}", sim.wait_text());
}

/// No host takes these pods, and none ever did.
fn leave_homeless(sim: &mut Sim, ordinals: &[i32]) {
    for at in ordinals {
        let Some(pod) = sim.observed.pods.get_mut(at) else {
            continue;
        };
        pod.running = false;
        pod.ready = false;
        pod.address = None;
        pod.unscheduled = Some("0/3 nodes are available".to_owned());
        sim.observed.answers.remove(at);
        sim.observed.disks.get_mut(at).unwrap().actual_bytes = None;
    }
}

/// A host takes them.
fn take_in(sim: &mut Sim, ordinals: &[i32]) {
    for at in ordinals {
        let pod = sim.observed.pods.get_mut(at).unwrap();
        pod.unscheduled = None;
        pod.running = true;
        pod.address = Some("10.0.0.9".to_owned());
        sim.observed.answers.insert(*at, NodeAnswer::Empty);
        sim.observed.disks.get_mut(at).unwrap().actual_bytes = Some(10 << 30);
    }
}

/// Two of five pods have no host, and never had: the three that run make the cluster.
#[test]
fn pods_that_no_host_ever_took_do_not_hold_up_the_bootstrap() {
    for (homeless, first) in [([3, 4], 0), ([0, 3], 1), ([0, 1], 2)] {
        let mut sim = Sim::new();
        sim.cluster.spec.replicas = 5;
        let mut has_id = false;
        for _ in 0..20 {
            let plan = sim.plan();
            has_id |= plan.identity == Identity::Mint;
            sim.carry_out(&plan);
            leave_homeless(&mut sim, &homeless);
        }
        assert!(has_id);
        let asked = |sim: &Sim| -> Vec<i32> {
            let asked = sim.asked.iter().filter_map(|ask| match ask {
                Ask::Bootstrap { ordinal, .. } => Some(*ordinal),
                _ => None,
            });
            asked.collect()
        };
        assert_eq!(asked(&sim), [first]);
        assert!(sim.cluster.status.as_ref().unwrap().bootstrapped);
        // They join once there is a host.
        take_in(&mut sim, &homeless);
        sim.kubernetes();
        sim.converge();
        assert_eq!(asked(&sim), [first]);
        assert_eq!(sim.observed.view.as_ref().unwrap().nodes.len(), 5);
    }

    // With a volume, a disk may hold a cluster: its pod has to start first.
    for at in [0, 2] {
        let mut sim = Sim::new();
        let plan = sim.plan();
        sim.carry_out(&plan);
        let pod = sim.observed.pods.get_mut(&at).unwrap();
        pod.unscheduled = Some("0/3 nodes are available".to_owned());
        pod.running = false;
        sim.observed.answers.remove(&at);
        let plan = sim.plan();
        assert_eq!(plan.ask, []);
    }
}

/// The request to the second pod may be on its way when the first one gets a host. Both would
/// bootstrap if the first one was asked then.
#[test]
fn the_node_that_bootstraps_is_chosen_once() {
    let mut sim = Sim::new();
    let plan = sim.plan();
    sim.carry_out(&plan);
    leave_homeless(&mut sim, &[0]);
    let plan = sim.plan();
    let is_ask_of = |plan: &Plan, at: i32| {
        let [Ask::Bootstrap { ordinal, .. }] = plan.ask.as_slice() else {
            return false;
        };
        *ordinal == at
    };
    assert!(is_ask_of(&plan, 1), "{:?}", plan.ask);
    assert_eq!(plan.bootstrap_ordinal, Some(1), "stored before it is asked");
    // The choice is stored, the answer of the node is lost.
    let status = sim.cluster.status.as_mut().unwrap();
    status.bootstrap_ordinal = plan.bootstrap_ordinal;
    take_in(&mut sim, &[0]);
    let plan = sim.plan();
    assert!(is_ask_of(&plan, 1), "{:?}", plan.ask);
    assert_eq!(plan.bootstrap_ordinal, None, "it never changes");
    // Its node is silent: nobody else is asked, also if its pod is gone.
    let silent = NodeAnswer::Silent("no route".to_owned());
    sim.observed.answers.insert(1, silent);
    assert_eq!(sim.plan().ask, []);
    let text = "1 node(s) to start and answer, first lograft-1";
    assert!(sim.wait_text().contains(text), "{}", sim.wait_text());
    leave_homeless(&mut sim, &[1]);
    assert_eq!(sim.plan().ask, []);
    take_in(&mut sim, &[1]);
    sim.converge();
    let bootstraps = sim.asked.iter();
    let bootstraps = bootstraps.filter(|ask| matches!(ask, Ask::Bootstrap { .. }));
    assert_eq!(bootstraps.count(), 1);
}
