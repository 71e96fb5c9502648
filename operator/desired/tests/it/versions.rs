//! Versions: never below the running one without a word, and never moved by another default.

use lograft_operator_desired::cluster::FeatureLevel;
use lograft_operator_desired::fleet::Held;
use lograft_operator_desired::{ObjectKey, Settings};

use crate::converge::{Sim, running};
use crate::settings;

/// A converged cluster whose nodes run this version, at this finalized level.
fn running_at(version: &str, level: u32) -> Sim {
    let mut sim = running();
    sim.cluster.spec.version = Some(version.to_owned());
    sim.converge();
    set_version(&mut sim, version);
    sim.observed.view.as_mut().unwrap().finalized_level = FeatureLevel(level);
    sim.converge();
    sim.replaced.clear();
    sim
}

fn set_version(sim: &mut Sim, version: &str) {
    for node in &mut sim.observed.view.as_mut().unwrap().nodes {
        version.clone_into(&mut node.version);
    }
}

fn image(sim: &Sim) -> String {
    let set = &sim.observed.live[&ObjectKey::new("StatefulSet", "lograft")];
    let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap().to_owned()
}

#[test]
fn a_version_below_the_running_one_is_refused_and_other_changes_go_on() {
    for (version, spec_image) in [
        (Some("0.2.0"), None),
        (Some("0.3.0-rc.1"), None),
        (None, Some("registry.example/lograft/node:0.2.9")),
    ] {
        let mut sim = running_at("0.3.0", 0);
        sim.cluster.spec.version = version.map(str::to_owned);
        sim.cluster.spec.image = spec_image.map(str::to_owned);
        let text = sim.wait_text();
        assert!(text.contains("is below 0.3.0"), "{text}");
        assert!(text.contains("allowDowngrade"), "{text}");
        sim.converge();
        assert_eq!(sim.replaced, [""; 0]);
        // Another change of the template is rolled out with the version that runs.
        sim.cluster.spec.pod_template.priority_class_name = Some("high".to_owned());
        sim.converge();
        assert_eq!(sim.replaced.len(), 3);
        assert!(image(&sim).ends_with(":0.3.0"), "{}", image(&sim));
        // It is allowed: the level permits it.
        sim.cluster.spec.update.allow_downgrade = true;
        sim.converge();
        assert_eq!(sim.replaced.len(), 6);
        assert!(!image(&sim).ends_with(":0.3.0"), "{}", image(&sim));
    }
}

#[test]
fn a_version_below_the_finalized_level_is_refused_even_if_allowed() {
    let mut sim = running_at("0.3.0", 2);
    sim.cluster.spec.update.allow_downgrade = true;
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    sim.converge();
    assert_eq!(sim.replaced, [""; 0]);
    let text = sim.wait_text();
    assert!(text.contains("feature level 2 is finalized"), "{text}");
    assert!(!text.contains("allowDowngrade"), "{text}");
    // A patch version below has the same level.
    sim.cluster.spec.version = Some("0.3.0-rc.1".to_owned());
    sim.converge();
    assert_eq!(sim.replaced.len(), 3);
}

/// The way back from a bad version needs no permission while a node still runs the old one.
#[test]
fn an_incomplete_upgrade_is_taken_back() {
    let mut sim = running_at("0.2.0", 0);
    sim.cluster.spec.version = Some("0.3.0".to_owned());
    sim.unready_hash = Some(sim.desired_hash());
    sim.converge();
    let nodes = &mut sim.observed.view.as_mut().unwrap().nodes;
    nodes[2].version = "0.3.0".to_owned();
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    sim.converge();
    assert_eq!(sim.replaced, ["lograft-2", "lograft-2"]);
}

#[test]
fn without_an_answer_the_version_in_status_counts() {
    let mut sim = running_at("0.3.0", 0);
    sim.cluster.status.as_mut().unwrap().version = Some("0.3.0".to_owned());
    sim.observed.view = None;
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    assert!(
        sim.wait_text().contains("is below 0.3.0"),
        "{}",
        sim.wait_text()
    );
}

/// `helm upgrade` that brings another default, or has forgotten `node.version`.
#[test]
fn the_default_is_pinned_and_moves_only_if_the_operator_is_told_so() {
    let mut sim = running();
    assert_eq!(sim.plan().default_version, "0.1.0");
    let status = sim.cluster.status.as_mut().unwrap();
    status.default_version = Some("0.1.0".to_owned());
    let with = |version: &str, upgrade_clusters| Settings {
        version: version.to_owned(),
        upgrade_clusters,
        ..settings()
    };
    for version in ["0.2.0", "0.0.9", "main"] {
        let plan = sim.plan_with(&with(version, false));
        assert!(plan.is_empty(), "{plan:#?}");
        assert_eq!(plan.default_version, "0.1.0");
    }
    // Never to an older one, whatever the operator is told.
    let plan = sim.plan_with(&with("0.0.9", true));
    assert!(plan.is_empty(), "{plan:#?}");
    let plan = sim.plan_with(&with("0.2.0", true));
    assert_eq!(plan.default_version, "0.2.0");
    assert_eq!(plan.apply.len(), 1);
    let texts: Vec<&String> = plan.events.iter().map(|event| &event.text).collect();
    assert!(
        texts[0].contains("from version 0.1.0 to 0.2.0"),
        "{texts:?}"
    );
}

/// The first cluster of a fleet does not start with the new default, which is taken back then.
#[test]
fn a_default_that_not_all_nodes_have_reached_can_be_taken_back() {
    let mut sim = running();
    let status = sim.cluster.status.as_mut().unwrap();
    status.default_version = Some("0.9.9".to_owned());
    let with = |version: &str| Settings {
        version: version.to_owned(),
        upgrade_clusters: true,
        ..settings()
    };
    assert_eq!(sim.plan_with(&with("0.1.0")).default_version, "0.1.0");
    assert_eq!(sim.plan_with(&with("0.0.9")).default_version, "0.9.9");
    // One that waits for its turn has not moved.
    sim.cluster.status.as_mut().unwrap().default_version = Some("0.1.0".to_owned());
    sim.held = Some(Held::Survey);
    let plan = sim.plan_with(&with("0.9.9"));
    assert_eq!((plan.image, plan.default_version), Default::default());
    assert!(plan.events.is_empty(), "{:?}", plan.events);
}

/// A cluster of an operator that pinned nothing is pinned to the version that it runs.
#[test]
fn the_default_of_an_old_cluster_is_that_of_its_image() {
    let mut sim = running();
    sim.cluster.status.as_mut().unwrap().default_version = None;
    let newer = Settings {
        version: "0.2.0".to_owned(),
        ..settings()
    };
    let plan = sim.plan_with(&newer);
    assert!(plan.is_empty(), "{plan:#?}");
    assert_eq!(plan.default_version, "0.1.0");
}

/// The removal of `spec.version` leads to the pinned default, which is older here.
#[test]
fn a_version_that_is_removed_from_the_spec_is_no_silent_way_back() {
    let mut sim = running_at("0.3.0", 0);
    sim.cluster.spec.version = None;
    sim.converge();
    assert_eq!(sim.replaced, [""; 0]);
    let text = sim.wait_text();
    assert!(text.contains("version 0.1.0 is below 0.3.0"), "{text}");
}

/// The configuration of the first node, as its program reads it.
fn node_config(sim: &Sim) -> serde_yaml::Value {
    let config = &sim.observed.live[&ObjectKey::new("ConfigMap", "lograft-config")];
    let text = config["data"]["lograft-0.yaml"].as_str().unwrap();
    serde_yaml::from_str(text).unwrap()
}

/// A node of level 1 that restarts refuses a configuration with a larger batch, and ignores the
/// field that it does not know.
#[test]
fn sizes_that_level_1_does_not_know_wait_for_level_2() {
    let mut sim = running_at("0.3.0", 1);
    sim.cluster.spec.log.max_batch_size = Some("3076Ki".into());
    sim.cluster.spec.log.max_record_size = Some("3Mi".into());
    sim.converge();
    let config = node_config(&sim);
    let topics = &config["topics"];
    assert!(topics.get("batch_max_bytes").is_none(), "{topics:?}");
    assert_eq!(topics["record_max_bytes"], 3 << 20);
    let listed = config["ignore_if_unknown"].as_sequence().unwrap();
    assert!(
        listed.contains(&"topics.record_max_bytes".into()),
        "{listed:?}"
    );
    sim.cluster.spec.log.max_record_size = None;
    sim.cluster.spec.log.max_batch_size = Some("2Mi".into());
    sim.converge();
    assert_eq!(node_config(&sim)["topics"]["batch_max_bytes"], 2 << 20);
    sim.cluster.spec.log.max_batch_size = Some("3076Ki".into());
    sim.observed.view.as_mut().unwrap().finalized_level = FeatureLevel(2);
    sim.converge();
    assert_eq!(node_config(&sim)["topics"]["batch_max_bytes"], 3076 << 10);
    assert_eq!(sim.replaced, [""; 0], "no pod restarts for it");
}
