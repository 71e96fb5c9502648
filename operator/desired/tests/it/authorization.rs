//! Authorization: which mode a cluster gets, and that a change of it restarts no pod.

use lograft_crds::log_cluster::{AuthorizationMode, AuthorizationStatus};
use lograft_crds::names::ClusterNames;
use lograft_operator_desired::ObjectKey;
use lograft_operator_desired::cluster::{
    FeatureLevel, Identity, Outcome, Plan, ValidCluster, status,
};
use serde_json::Value;

use crate::converge::Sim;

/// A converged new cluster without a mode in its spec, of this level.
fn created(level: u32) -> Sim {
    let mut sim = Sim::new();
    sim.first_level = FeatureLevel(level);
    sim.cluster.spec.authorization.mode = None;
    sim.converge();
    sim
}

/// The authorization section in the file of the first node as it was applied.
fn section(sim: &Sim) -> Value {
    let name = sim.cluster.metadata.name.as_deref().unwrap();
    let names = ClusterNames(name);
    let key = ObjectKey::new("ConfigMap", names.config());
    let file = &sim.observed.live[&key]["data"][format!("{}.yaml", names.pod(0))];
    let file: Value = serde_yaml::from_str(file.as_str().unwrap()).unwrap();
    if file["authorization"].is_object() {
        let mut newer = file["ignore_if_unknown"].as_array().unwrap().iter();
        assert!(newer.any(|path| path == "authorization"), "{file}");
    }
    file["authorization"].clone()
}

fn next_status(sim: &Sim) -> (Option<AuthorizationStatus>, Vec<String>) {
    let valid = ValidCluster::new(&sim.cluster).unwrap();
    let (plan, outcome) = (sim.plan(), Outcome::default());
    let next = status::next(&sim.cluster, &valid, &sim.observed, &plan, &outcome);
    let reasons = next.blocked.iter().map(|it| it.reason.clone()).collect();
    (next.authorization, reasons)
}

#[test]
fn a_new_cluster_is_closed() {
    let sim = created(2);
    assert_eq!(section(&sim)["mode"], "enforced");
    assert_eq!(section(&sim)["super_users"][0], "user/admin");
    let stored = sim.cluster.status.as_ref().unwrap().authorization.as_ref();
    assert_eq!(stored.unwrap().default_mode, AuthorizationMode::Enforced);
    let (found, blocked) = next_status(&sim);
    let mode = Some(AuthorizationMode::Enforced);
    assert_eq!(found.unwrap().mode, mode);
    assert_eq!(blocked, [""; 0]);
}

#[test]
fn a_cluster_from_before_stays_open() {
    let mut sim = created(2);
    sim.cluster.status.as_mut().unwrap().authorization = None;
    sim.converge();
    assert_eq!(section(&sim)["mode"], "disabled");
    let (found, blocked) = next_status(&sim);
    let off = AuthorizationStatus {
        default_mode: AuthorizationMode::Disabled,
        mode: Some(AuthorizationMode::Disabled),
    };
    assert_eq!(found, Some(off));
    assert_eq!(blocked, [""; 0]);
    // Its status keeps it so.
    sim.cluster.status.as_mut().unwrap().authorization = found;
    assert!(sim.plan().is_empty());
}

/// The LogCluster was deleted and is created again without a mode; its disks are still there.
fn adopted(disks: &[Option<AuthorizationMode>], chosen: Option<AuthorizationMode>) -> (Sim, Plan) {
    let mut sim = created(2);
    for (disk, mode) in sim.observed.disks.values_mut().zip(disks) {
        disk.authorization = *mode;
    }
    sim.cluster.status = None;
    sim.cluster.spec.authorization.mode = chosen;
    let plan = sim.plan();
    assert!(matches!(plan.identity, Identity::Adopt(_)), "{plan:#?}");
    sim.converge();
    (sim, plan)
}

fn warns(plan: &Plan) -> bool {
    let mut warnings = plan.events.iter().filter(|event| event.is_warning);
    warnings.any(|event| {
        event.reason == "AuthorizationDisabled" && event.text.contains("spec.authorization.mode")
    })
}

#[test]
fn a_cluster_that_adopts_disks_keeps_its_mode() {
    use AuthorizationMode::{Disabled, Enforced, ReportOnly};
    let cases: [([Option<AuthorizationMode>; 3], _, bool); 5] = [
        ([Some(Enforced); 3], Enforced, false),
        ([Some(Disabled); 3], Disabled, false),
        // The operator was killed between two disks.
        ([Some(Disabled), Some(ReportOnly), None], ReportOnly, false),
        ([None, None, Some(Enforced)], Enforced, false),
        ([None; 3], Disabled, true),
    ];
    for (disks, wanted, has_warning) in cases {
        let (sim, plan) = adopted(&disks, None);
        assert_eq!(section(&sim)["mode"], wanted.name(), "{disks:?}");
        assert_eq!(warns(&plan), has_warning, "{disks:?}");
        let mut disks = sim.observed.disks.values();
        assert!(disks.all(|disk| disk.authorization == Some(wanted)));
        assert!(sim.plan().is_empty());
    }
    // Who names a mode needs no advice.
    let (sim, plan) = adopted(&[None; 3], Some(Enforced));
    assert_eq!(section(&sim)["mode"], "enforced");
    assert!(!warns(&plan));
}

/// The status that is written after the adoption must not have the default of a new cluster.
#[test]
fn the_status_of_an_adoption_has_the_mode_that_was_stored() {
    let mut sim = created(2);
    for disk in sim.observed.disks.values_mut() {
        disk.authorization = None;
    }
    sim.cluster.status = None;
    let valid = ValidCluster::new(&sim.cluster).unwrap();
    let plan = sim.plan();
    let outcome = Outcome {
        cluster_id: Some("id".to_owned()),
        ..Outcome::default()
    };
    let next = status::next(&sim.cluster, &valid, &sim.observed, &plan, &outcome);
    let stored = next.authorization.unwrap().default_mode;
    assert_eq!(stored, AuthorizationMode::Disabled);
}

#[test]
fn a_mode_is_noted_on_the_disks_once() {
    let mut sim = created(2);
    let modes = |sim: &Sim| {
        let disks = sim.observed.disks.values();
        disks.map(|disk| disk.authorization).collect::<Vec<_>>()
    };
    assert_eq!(modes(&sim), [Some(AuthorizationMode::Enforced); 3]);
    sim.cluster.spec.authorization.mode = Some(AuthorizationMode::ReportOnly);
    let plan = sim.plan();
    assert_eq!(plan.mend.len(), 3);
    assert_eq!(plan.mend[0].object.key.kind, "PersistentVolumeClaim");
    sim.converge();
    assert_eq!(modes(&sim), [Some(AuthorizationMode::ReportOnly); 3]);
    assert!(sim.plan().is_empty());
}

#[test]
fn a_mode_is_changed_without_a_restart() {
    let mut sim = created(2);
    let hashes = |sim: &Sim| {
        let pods = sim.observed.pods.values();
        pods.map(|pod| pod.hash.clone()).collect::<Vec<_>>()
    };
    let before = (hashes(&sim), sim.replaced.clone());
    for (mode, text) in [
        (AuthorizationMode::ReportOnly, "report-only"),
        (AuthorizationMode::Disabled, "disabled"),
        (AuthorizationMode::Enforced, "enforced"),
    ] {
        sim.cluster.spec.authorization.mode = Some(mode);
        sim.cluster.spec.authorization.super_users = vec!["root".to_owned()];
        let plan = sim.plan();
        assert_eq!(plan.apply.len(), 1, "{:#?}", plan.apply);
        assert_eq!(plan.apply[0]["kind"], "ConfigMap");
        sim.converge();
        assert_eq!(section(&sim)["mode"], text);
        assert_eq!(section(&sim)["super_users"][0], "user/root");
    }
    assert_eq!((hashes(&sim), sim.replaced.clone()), before);
}

/// Nobody must believe that it is on.
#[test]
fn before_its_level_status_says_that_it_has_no_effect() {
    for (level, is_written) in [(0, false), (1, true)] {
        let sim = created(level);
        assert_eq!(section(&sim).is_object(), is_written);
        let (found, blocked) = next_status(&sim);
        let found = found.unwrap();
        assert_eq!(found.default_mode, AuthorizationMode::Enforced);
        assert_eq!(found.mode, Some(AuthorizationMode::Disabled));
        assert_eq!(blocked, ["AuthorizationNotEffective"], "level {level}");
    }
}

#[test]
fn an_invalid_super_user_does_not_stop_a_running_cluster() {
    let mut sim = created(2);
    sim.cluster.spec.authorization.super_users = vec!["a/b".to_owned(), "root".to_owned()];
    assert!(sim.wait_text().contains("spec.authorization.superUsers"));
    sim.converge();
    assert_eq!(
        section(&sim)["super_users"],
        serde_json::json!(["user/root"])
    );
    // A new cluster is not created.
    sim.cluster.status.as_mut().unwrap().bootstrapped = false;
    assert!(ValidCluster::new(&sim.cluster).is_err());
}
