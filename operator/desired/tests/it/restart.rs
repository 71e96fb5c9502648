//! Restarts that people ask for, and drains of hosts with pods that crash.

use lograft_operator_desired::ObjectKey;
use lograft_operator_desired::cluster::NodeAnswer;
use serde_json::json;

use crate::converge::{Sim, running};

/// `kubectl rollout restart statefulset`.
fn restart_by_kubectl(sim: &mut Sim, at: &str) {
    let key = ObjectKey::new("StatefulSet", "lograft");
    let set = sim.observed.live.get_mut(&key).unwrap();
    let annotations = &mut set["spec"]["template"]["metadata"]["annotations"];
    annotations["kubectl.kubernetes.io/restartedAt"] = json!(at);
    sim.kubernetes();
}

#[test]
fn kubectl_rollout_restart_is_a_safe_rolling_restart() {
    let mut sim = running();
    restart_by_kubectl(&mut sim, "2026-11-29T20:00:00Z");
    sim.converge();
    // The leader of the metadata group goes last, and each node was prepared for its stop.
    assert_eq!(sim.replaced, ["lograft-2", "lograft-1", "lograft-0"]);
    assert_eq!(sim.stopped, [3, 2, 1]);
    restart_by_kubectl(&mut sim, "2026-11-29T21:00:00Z");
    sim.converge();
    assert_eq!(sim.replaced.len(), 6);
    // A change of the template keeps the mark and replaces each pod once.
    sim.cluster.spec.pod_template.priority_class_name = Some("high".to_owned());
    sim.converge();
    assert_eq!(sim.replaced.len(), 9);
}

#[test]
fn the_annotation_of_a_cluster_restarts_its_pods() {
    let mut sim = running();
    for (at, count) in [("now", 3), ("now", 3), ("again", 6)] {
        let annotations = sim.cluster.metadata.annotations.get_or_insert_default();
        annotations.insert("lograft.io/restart-at".to_owned(), at.to_owned());
        sim.converge();
        assert_eq!(sim.replaced.len(), count, "{at}");
    }
    assert!(sim.plan().is_empty());
}

/// Whether the budget lets pods that are not ready be evicted at any time.
fn always_allows(sim: &mut Sim) -> bool {
    let plan = sim.plan();
    sim.carry_out(&plan);
    let key = ObjectKey::new("PodDisruptionBudget", "lograft-nodes");
    let policy = &sim.observed.live[&key]["spec"]["unhealthyPodEvictionPolicy"];
    policy == "AlwaysAllow"
}

#[test]
fn a_drain_need_not_wait_for_pods_that_serve_nobody() {
    let mut sim = running();
    assert!(!always_allows(&mut sim));
    let pod = sim.observed.pods.get_mut(&1).unwrap();
    (pod.ready, pod.running) = (false, false);
    pod.trouble = Some("crashes again and again".to_owned());
    let silent = NodeAnswer::Silent("connection refused".to_owned());
    sim.observed.answers.insert(1, silent);
    sim.observed.view.as_mut().unwrap().nodes[1].reachable = false;
    assert!(always_allows(&mut sim));
    // Another pod is not ready, but its node is alive: it may be part of a majority.
    sim.observed.pods.get_mut(&2).unwrap().ready = false;
    let plan = sim.plan();
    assert_eq!(plan.mend.len() + plan.apply.len(), 1, "{plan:#?}");
}
