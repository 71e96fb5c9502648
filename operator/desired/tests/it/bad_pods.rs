//! Pods that do not start, run without getting ready, or whose containers' states are wrong: none
//! that serves is deleted, and a mended spec always leads out.

use lograft_operator_desired::cluster::{NodeAnswer, Plan};

use crate::converge::{NOW, Sim, running};

/// Pods that the plan takes away.
fn taken(plan: &Plan) -> Vec<String> {
    let deleted = plan.delete.iter().map(|delete| &delete.object.key);
    let stopped = plan.stop.iter().map(|stop| &stop.pod.key);
    let pods = deleted.chain(stopped).filter(|key| key.kind == "Pod");
    pods.map(|key| key.name.clone()).collect()
}

/// A cluster with a changed template in its StatefulSet, and no pod replaced yet.
fn with_new_template() -> Sim {
    let mut sim = running();
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    let apply = sim.plan();
    sim.carry_out(&apply);
    sim
}

/// The states of all containers say that nothing runs, as those of a sidecar that crashes would.
fn lie_about_containers(sim: &mut Sim) {
    for pod in sim.observed.pods.values_mut() {
        (pod.running, pod.ready) = (false, false);
        pod.trouble = Some("CrashLoopBackOff".to_owned());
    }
}

#[test]
fn pods_whose_nodes_answer_are_not_deleted_whatever_their_containers_states() {
    let mut sim = with_new_template();
    lie_about_containers(&mut sim);
    assert_eq!(taken(&sim.plan()), [""; 0]);
    // Nor those that only their peers reach.
    for answer in sim.observed.answers.values_mut() {
        *answer = NodeAnswer::Silent("no route".to_owned());
    }
    assert_eq!(taken(&sim.plan()), [""; 0]);
}

#[test]
fn one_pod_at_most_goes_while_nobody_can_be_asked() {
    let mut sim = with_new_template();
    sim.observed.view = None;
    for answer in sim.observed.answers.values_mut() {
        *answer = NodeAnswer::Silent("no route".to_owned());
    }
    let mut taken_pods = Vec::new();
    for _ in 0..10 {
        lie_about_containers(&mut sim);
        let plan = sim.plan();
        taken_pods.extend(taken(&plan));
        for name in taken(&plan) {
            let at = name.rsplit('-').next().unwrap().parse().unwrap();
            sim.observed.pods.remove(&at);
            // It comes back from the new template; its state is wrong as well.
            let hash = sim.observed.hash().cloned();
            let mut pod = sim.observed.pods[&((at + 1) % 3)].clone();
            pod.hash = hash;
            sim.observed.pods.insert(at, pod);
        }
    }
    assert_eq!(taken_pods.len(), 1, "{taken_pods:?}");
}

/// Rolls out an image that runs and never gets ready, until `pods` of the cluster have it.
fn with_unready_image(pods: i32, is_silent: bool) -> Sim {
    let mut sim = running();
    sim.cluster.spec.version = Some("unready".to_owned());
    sim.unready_hash = Some(sim.desired_hash());
    sim.is_unready_silent = is_silent;
    sim.converge();
    assert_eq!(
        sim.replaced,
        ["lograft-2"],
        "the rollout stops at the first"
    );
    // The others go for another reason, and come back from the same template.
    for at in 2 - (pods - 1)..2 {
        sim.observed.pods.remove(&at);
    }
    sim.kubernetes();
    let unready = sim.observed.pods.values().filter(|pod| !pod.ready).count();
    assert_eq!(i32::try_from(unready), Ok(pods));
    if pods > 1 {
        // No group has a majority.
        let view = sim.observed.view.as_mut().unwrap();
        view.meta_leader = None;
        for partition in &mut view.partitions {
            partition.leader = None;
            for replica in &mut partition.replicas {
                replica.in_sync = i32::try_from(replica.node).unwrap() <= 3 - pods;
            }
        }
    }
    sim
}

/// The replicas of ready nodes are in sync, and the groups have leaders.
fn recover(sim: &mut Sim) {
    let ready = |id: u64| {
        let at = i32::try_from(id).unwrap() - 1;
        sim.observed.pods.get(&at).is_some_and(|pod| pod.ready)
    };
    let ready: Vec<u64> = (1..=3).filter(|id| ready(*id)).collect();
    let Some(view) = sim.observed.view.as_mut() else {
        return;
    };
    let leader = (ready.len() > 1).then(|| ready[0]);
    view.meta_leader = leader;
    for partition in &mut view.partitions {
        partition.leader = leader;
        for replica in &mut partition.replicas {
            replica.in_sync = ready.contains(&replica.node);
        }
    }
}

#[test]
fn a_mended_spec_leads_out_of_an_image_that_runs_and_is_never_ready() {
    for pods in 1..=3 {
        for is_silent in [false, true] {
            for is_described in [false, true] {
                let what = format!("{pods} pods, silent {is_silent}, described {is_described}");
                let mut sim = with_unready_image(pods, is_silent);
                let view = sim.observed.view.clone();
                let replaced_before = sim.replaced.len();
                sim.cluster.spec.version = None;
                for _ in 0..40 {
                    let ready = sim.observed.pods.values().filter(|pod| pod.ready).count();
                    let is_blind = !is_described && ready < 2;
                    sim.observed.view = if is_blind {
                        None
                    } else {
                        sim.observed.view.or(view.clone())
                    };
                    let plan = sim.plan();
                    assert!(taken(&plan).len() <= 1, "{what}");
                    // The simulated nodes join with a view alone.
                    sim.observed.view = sim.observed.view.or(view.clone());
                    sim.carry_out(&plan);
                    recover(&mut sim);
                }
                let is_ready = sim.observed.pods.values().all(|pod| pod.ready);
                assert!(is_ready, "{what}: {}", sim.wait_text());
                let replaced = sim.replaced.len() - replaced_before;
                assert_eq!(i32::try_from(replaced), Ok(pods), "{what}");
            }
        }
    }
}

#[test]
fn a_new_pod_that_never_gets_ready_is_reported_as_stuck_after_the_deadline() {
    for is_silent in [false, true] {
        let mut sim = with_unready_image(1, is_silent);
        sim.observed.now_unix_seconds = NOW + 899;
        assert!(!sim.wait_text().contains("progressDeadline"));
        for waited in [900, 5000] {
            sim.observed.now_unix_seconds = NOW + waited;
            let text = sim.wait_text();
            assert!(text.contains("lograft-2"), "{text}");
            assert!(
                text.contains("not ready within spec.update.progressDeadline (15m)"),
                "{text}"
            );
            assert_eq!(text.contains("does not answer"), is_silent, "{text}");
        }
        // A pod that was ready once is no failed rollout.
        let pod = sim.observed.pods.get_mut(&2).unwrap();
        pod.never_ready_since = None;
        assert!(!sim.wait_text().contains("progressDeadline"));
    }
}

/// Whether the replicas of node 2 are in sync.
fn sync_second(sim: &mut Sim, in_sync: bool) {
    for partition in &mut sim.observed.view.as_mut().unwrap().partitions {
        partition.replicas[1].in_sync = in_sync;
    }
}

#[test]
fn pods_that_only_a_sidecar_keeps_from_being_ready_are_replaced_one_at_a_time() {
    let mut sim = running();
    sim.unready_hash = sim.observed.hash().cloned();
    sim.kubernetes();
    assert!(sim.observed.pods.values().all(|pod| !pod.ready));
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    let apply = sim.plan();
    sim.carry_out(&apply);
    sync_second(&mut sim, false);
    let plan = sim.plan();
    assert!(
        taken(&plan).is_empty() && plan.drain.is_empty(),
        "{plan:#?}"
    );
    let text = sim.wait_text();
    assert!(text.contains("majority without pod lograft-2"), "{text}");
    sync_second(&mut sim, true);
    sim.converge();
    assert_eq!(sim.replaced, ["lograft-2", "lograft-1", "lograft-0"]);
    assert_eq!(sim.stopped.len(), 3, "each was prepared for its stop");
    assert!(sim.observed.pods.values().all(|pod| pod.ready));
}
