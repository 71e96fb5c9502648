//! A changed template waits for its turn: for other clusters, for a maintenance window, or for a
//! person.

use lograft_crds::log_cluster::{MaintenanceWindow, Weekday};
use lograft_operator_desired::ObjectKey;
use lograft_operator_desired::cluster::{Intervention, Wait, revision};
use lograft_operator_desired::fleet::{Cause, Held, Progress};
use serde_json::{Value, json};

use crate::converge::{NOW, Sim, running};
use crate::settings;

fn set(sim: &Sim) -> &Value {
    &sim.observed.live[&ObjectKey::new("StatefulSet", "lograft")]
}

fn image(sim: &Sim) -> String {
    let template = &set(sim)["spec"]["template"];
    let image = &template["spec"]["containers"][0]["image"];
    image.as_str().unwrap().to_owned()
}

/// A healthy cluster whose status says so.
fn ready() -> Sim {
    let mut sim = running();
    sim.cluster.metadata.generation = Some(1);
    let plan = sim.plan();
    sim.carry_out(&plan);
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "Serving", "message": "",
        "lastTransitionTime": "2027-01-01T00:00:00Z",
    });
    let status = sim.cluster.status.as_mut().unwrap();
    status.conditions = vec![serde_json::from_value(condition).unwrap()];
    sim
}

fn change_spec(sim: &mut Sim, version: &str) {
    sim.cluster.spec.version = Some(version.to_owned());
    *sim.cluster.metadata.generation.as_mut().unwrap() += 1;
}

fn request_cause(sim: &Sim) -> Option<Cause> {
    Some(sim.member(&settings()).request?.cause)
}

#[test]
fn a_template_that_waits_is_not_applied_and_an_edit_of_the_kept_one_is_reverted() {
    let mut sim = ready();
    let former = image(&sim);
    change_spec(&mut sim, "0.2.0");
    sim.held = Some(Held::Slots(2));
    let plan = sim.plan();
    assert!(
        plan.waits.contains(&Wait::Turn(Held::Slots(2))),
        "{plan:#?}"
    );
    sim.converge();
    assert_eq!(image(&sim), former);
    assert!(sim.replaced.is_empty());
    // Somebody edits the template.
    let key = ObjectKey::new("StatefulSet", "lograft");
    let live = sim.observed.live.get_mut(&key).unwrap();
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil:1");
    live["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "none"});
    sim.kubernetes();
    sim.converge();
    assert_eq!(image(&sim), former);
    assert!(
        set(&sim)["spec"]["template"]["spec"]
            .get("nodeSelector")
            .is_none()
    );
    // A pod that starts again for another reason gets the kept template, and is not outdated.
    sim.observed.pods.remove(&1);
    sim.kubernetes();
    sim.converge();
    assert!(sim.replaced.is_empty());
    // Its turn.
    sim.held = None;
    sim.converge();
    assert_ne!(image(&sim), former);
    assert_eq!(sim.replaced.len(), 3);
    let annotations = &set(&sim)["metadata"]["annotations"];
    assert!(annotations.get("lograft.io/kept-template").is_none());
    assert!(sim.plan().is_empty());
}

#[test]
fn a_stateful_set_that_is_deleted_while_its_template_waits_replaces_no_pod() {
    let mut sim = ready();
    change_spec(&mut sim, "0.2.0");
    sim.held = Some(Held::Slots(2));
    sim.converge();
    sim.observed
        .live
        .remove(&ObjectKey::new("StatefulSet", "lograft"));
    sim.observed.stateful_set = None;
    sim.converge();
    assert!(sim.replaced.is_empty());
    sim.held = None;
    sim.converge();
    assert_eq!(sim.replaced.len(), 3);
}

#[test]
fn a_paused_update_keeps_the_template() {
    let mut sim = ready();
    let former = image(&sim);
    sim.cluster.spec.update.paused = true;
    change_spec(&mut sim, "0.2.0");
    sim.converge();
    assert_eq!(image(&sim), former);
    assert!(
        sim.plan()
            .waits
            .contains(&Intervention::UpdatePaused.into())
    );
    sim.cluster.spec.update.paused = false;
    sim.converge();
    assert_eq!(sim.replaced.len(), 3);
}

#[test]
fn outside_of_its_windows_a_cluster_changes_no_pod_but_one_that_needs_repair() {
    let mut sim = ready();
    // NOW is a Friday, 08:00 UTC.
    sim.cluster.spec.update.maintenance_windows = vec![MaintenanceWindow {
        days: vec![Weekday::Sat],
        start: "02:00".to_owned(),
        duration: "4h".into(),
    }];
    change_spec(&mut sim, "0.2.0");
    let plan = sim.plan();
    let opens = NOW + 18 * 3600;
    assert!(
        plan.waits.contains(&Wait::Turn(Held::Window(opens))),
        "{plan:#?}"
    );
    sim.converge();
    assert!(sim.replaced.is_empty());
    assert_eq!(sim.plan().requeue_seconds, 60);
    let text = Wait::Turn(Held::Window(opens)).to_string();
    assert!(text.contains("opens at 2027-01-16T02:00:00Z"), "{text}");
    let mut open = ready();
    open.cluster = sim.cluster.clone();
    open.observed = sim.observed.clone();
    open.observed.now_unix_seconds = opens;
    open.converge();
    assert_eq!(open.replaced.len(), 3);
    // A restart that a person asks for does not wait, nor does the repair of a broken cluster.
    let mut restarted = ready();
    restarted.cluster.spec.update = sim.cluster.spec.update.clone();
    restarted.carry_out(&restarted.plan());
    let annotations = restarted
        .cluster
        .metadata
        .annotations
        .get_or_insert_default();
    annotations.insert("lograft.io/restart-at".to_owned(), "now".to_owned());
    restarted.converge();
    assert_eq!(restarted.replaced.len(), 3);
    sim.cluster.status.as_mut().unwrap().conditions.clear();
    sim.converge();
    assert_eq!(sim.replaced.len(), 3);
}

#[test]
fn what_has_changed_a_template_is_known() {
    let mut sim = ready();
    assert_eq!(request_cause(&sim), None);
    // Another number of nodes is not another template.
    sim.cluster.spec.replicas = 5;
    sim.cluster.metadata.generation = Some(2);
    sim.converge();
    assert_eq!(request_cause(&sim), None);
    // The operator's default version moves it.
    let mut newer = settings();
    (newer.version, newer.upgrade_clusters) = ("0.2.0".to_owned(), true);
    let of_operator = |sim: &Sim| sim.member(&newer);
    assert_eq!(of_operator(&sim).request.unwrap().cause, Cause::Operator);
    // A scaling while it waits does not make it a change of the spec.
    sim.cluster.spec.replicas = 4;
    sim.cluster.metadata.generation = Some(3);
    assert_eq!(of_operator(&sim).request.unwrap().cause, Cause::Operator);
    change_spec(&mut sim, "0.3.0");
    assert_eq!(of_operator(&sim).request.unwrap().cause, Cause::Spec);
    assert_eq!(request_cause(&sim), Some(Cause::Spec));
    sim.converge();
    let annotations = sim.cluster.metadata.annotations.get_or_insert_default();
    annotations.insert("lograft.io/restart-at".to_owned(), "now".to_owned());
    assert_eq!(request_cause(&sim), Some(Cause::Restart));
}

#[test]
fn a_rollout_is_complete_when_all_pods_have_the_template_and_are_ready() {
    let mut sim = ready();
    let progress = |sim: &Sim| sim.member(&settings());
    change_spec(&mut sim, "0.2.0");
    let plan = sim.plan();
    sim.carry_out(&plan);
    assert_eq!(progress(&sim).progress, Progress::Rolling);
    sim.converge();
    let member = progress(&sim);
    assert_eq!(member.progress, Progress::Settled(Some(NOW)));
    assert_eq!(member.revision, Some(settings().revision));
    // The time of its end is kept.
    sim.carry_out(&sim.plan());
    sim.observed.now_unix_seconds += 1000;
    sim.converge();
    assert_eq!(progress(&sim).progress, Progress::Settled(Some(NOW)));
}

#[test]
fn a_paused_cluster_asks_for_no_turn_that_it_would_not_use() {
    let mut sim = ready();
    change_spec(&mut sim, "0.2.0");
    sim.cluster.spec.paused = true;
    let request = sim.member(&settings()).request.unwrap();
    assert!(request.is_paused && !request.may_start);
}

#[test]
fn only_what_holds_up_a_rollout_makes_it_stuck() {
    let mut sim = ready();
    change_spec(&mut sim, "0.2.0");
    sim.carry_out(&sim.plan());
    let progress = |sim: &mut Sim, reason: &str, seconds: i64| {
        let since = k8s_openapi::jiff::Timestamp::from_second(NOW - seconds).unwrap();
        let wait = json!({"reason": reason, "message": "", "since": since.to_string()});
        let status = sim.cluster.status.as_mut().unwrap();
        status.blocked = vec![serde_json::from_value(wait).unwrap()];
        sim.member(&settings()).progress
    };
    let day = 86_400;
    assert_eq!(progress(&mut sim, "RolloutStuck", 0), Progress::Stuck);
    assert_eq!(progress(&mut sim, "MajorityAtRisk", 899), Progress::Rolling);
    assert_eq!(progress(&mut sim, "MajorityAtRisk", 900), Progress::Stuck);
    for other in ["UpgradeNotFinalized", "Contested", "NodesNotReady"] {
        assert_eq!(progress(&mut sim, other, day), Progress::Rolling, "{other}");
    }
}

#[test]
fn other_teams_are_not_named() {
    let mut sim = ready();
    change_spec(&mut sim, "0.2.0");
    for (other, text) in [
        ("prod/a", "LogCluster prod/a"),
        ("rival/a", "of another namespace"),
    ] {
        sim.held = Some(Held::Canary(other.to_owned()));
        let waits = sim.plan().waits;
        let found = waits.iter().find(|wait| matches!(wait, Wait::Turn(_)));
        let sentence = found.unwrap().to_string();
        assert!(sentence.contains(text), "{sentence}");
    }
}

#[test]
fn the_revision_changes_with_the_settings_and_the_template() {
    let first = revision(&settings(), "0.3.0").unwrap();
    assert_eq!(revision(&settings(), "0.3.0").unwrap(), first);
    assert_ne!(revision(&settings(), "0.4.0").unwrap(), first);
    let mut other = settings();
    other.image_repository = "elsewhere/node".to_owned();
    assert_ne!(revision(&other, "0.3.0").unwrap(), first);
}
