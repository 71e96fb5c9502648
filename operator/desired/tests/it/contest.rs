//! Fields that somebody else changes again after each write: three rounds, then the operator says
//! who it is, writes seldom, and mends the object once that stops.

use lograft_operator_desired::ObjectKey;
use lograft_operator_desired::cluster::Plan;
use serde_json::{Value, json};

use crate::converge::{Sim, running};

/// What somebody does to the StatefulSet after each write.
type Rewrite = fn(&mut Value);

/// A rewrite of the registry, as policies do it.
fn mirror(set: &mut Value) {
    let image = &mut set["spec"]["template"]["spec"]["containers"][0]["image"];
    *image = json!("mirror.example/node:1");
}

/// A container that a webhook injects.
fn inject(set: &mut Value) {
    let containers = &mut set["spec"]["template"]["spec"]["containers"];
    let containers = containers.as_array_mut().unwrap();
    let is_there = containers
        .iter()
        .any(|container| container["name"] == "proxy");
    if !is_there {
        containers.push(json!({"name": "proxy", "image": "proxy"}));
    }
}

fn set_key() -> ObjectKey {
    ObjectKey::new("StatefulSet", "lograft")
}

/// Runs `seconds` seconds, one plan per second; the times at which the set was written.
fn run(sim: &mut Sim, seconds: i64, rewrite: Option<Rewrite>) -> Vec<i64> {
    run_in_steps(sim, seconds, 1, rewrite)
}

/// Runs `count` plans, one per `step` seconds.
fn run_in_steps(sim: &mut Sim, count: i64, step: i64, rewrite: Option<Rewrite>) -> Vec<i64> {
    let started = sim.observed.now_unix_seconds;
    let mut writes = Vec::new();
    for _ in 0..count {
        sim.observed.now_unix_seconds += step;
        if let Some(rewrite) = rewrite {
            rewrite(sim.observed.live.get_mut(&set_key()).unwrap());
        }
        let plan = sim.plan();
        if is_written(&plan) {
            writes.push(sim.observed.now_unix_seconds - started);
        }
        sim.carry_out(&plan);
    }
    writes
}

fn is_written(plan: &Plan) -> bool {
    let applied = plan.apply.iter().map(ObjectKey::of);
    let mended = plan.mend.iter().map(|mend| mend.object.key.clone());
    applied.chain(mended).any(|key| key == set_key())
}

#[test]
fn a_field_that_is_rewritten_each_time_is_named_and_written_seldom() {
    for rewrite in [mirror as Rewrite, inject] {
        let mut sim = running();
        let writes = run(&mut sim, 3, Some(rewrite));
        assert_eq!(writes, [1, 2, 3]);
        assert_eq!(sim.wait_text(), "");
        let writes = run_in_steps(&mut sim, 360, 10, Some(rewrite));
        assert!(writes.len() < 12, "{writes:?}");
        assert!(writes[0] >= 30, "{writes:?}");
        let text = sim.wait_text();
        assert!(text.contains("StatefulSet lograft"), "{text}");
        assert!(text.contains("spec.template.spec.containers["), "{text}");
        assert!(text.contains("admission webhook"), "{text}");
        // Once it stops, the object is mended, and after a while nothing is said any more.
        run_in_steps(&mut sim, 132, 10, None);
        assert_eq!(sim.wait_text(), "");
        assert!(sim.plan().is_empty());
        assert_eq!(sim.observed.contests.len(), 0);
    }
}

#[test]
fn the_wait_names_the_owner_of_the_field_and_does_not_flap() {
    let mut sim = running();
    let rewrite: Rewrite = |set| {
        mirror(set);
        set["metadata"]["managedFields"] = json!([{
            "manager": "image-policy", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {
                "f:containers": {"k:{\"name\":\"node\"}": {"f:image": {}}},
            }}}},
        }]);
    };
    run(&mut sim, 4, Some(rewrite));
    for _ in 0..60 {
        run_in_steps(&mut sim, 1, 5, Some(rewrite));
        let text = sim.wait_text();
        assert!(text.contains("image-policy"), "{text}");
    }
}

/// Edits by people are reverted at once, however many there are.
#[test]
fn edits_from_time_to_time_are_no_contest() {
    let mut sim = running();
    for _ in 0..10 {
        mirror(sim.observed.live.get_mut(&set_key()).unwrap());
        assert_eq!(run(&mut sim, 1, None).len(), 1);
        run_in_steps(&mut sim, 9, 10, None);
    }
    assert_eq!(sim.wait_text(), "");
}

/// A policy that rewrites the template must not stop all changes of the cluster.
#[test]
fn a_rollout_goes_on_with_a_template_that_is_rewritten() {
    let mut sim = running();
    run(&mut sim, 10, Some(mirror));
    sim.cluster.spec.pod_template.priority_class_name = Some("high".to_owned());
    for _ in 0..60 {
        run(&mut sim, 1, Some(mirror));
    }
    assert_eq!(sim.replaced.len(), 3);
    assert!(sim.wait_text().contains("StatefulSet lograft"));
}

/// A policy that strips annotations takes the mark of the desired state away too.
#[test]
fn a_mark_that_is_stripped_each_time_is_not_written_without_end() {
    let mut sim = running();
    let strip: Rewrite = |set| {
        let annotations = set["metadata"]["annotations"].as_object_mut();
        annotations.unwrap().remove("lograft.io/applied");
    };
    let writes = run(&mut sim, 60, Some(strip));
    assert!(writes.len() <= 5, "{writes:?}");
    let text = sim.wait_text();
    assert!(text.contains("metadata.annotations"), "{text}");
}
