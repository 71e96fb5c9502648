//! HTTP for clients: one rollout opens it, another one closes it, and nodes that do not serve it are
//! left alone.

use lograft_crds::log_cluster::{AuthorizationMode, Endpoints, HttpListener};
use lograft_crds::names::{ClusterNames, PORT_HTTP};
use lograft_operator_desired::ObjectKey;
use lograft_operator_desired::cluster::{FeatureLevel, Outcome, ValidCluster, status};
use lograft_operator_desired::fleet::{Cause, Held};
use serde_json::{Value, json};

use crate::converge::Sim;
use crate::settings;

/// A converged cluster whose nodes run this version, at this finalized level.
fn created(version: &str, level: u32) -> Sim {
    let mut sim = Sim::new();
    sim.first_level = FeatureLevel(level);
    sim.cluster.spec.version = Some(version.to_owned());
    sim.cluster.metadata.generation = Some(1);
    sim.converge();
    set_version(&mut sim, version);
    sim.converge();
    sim
}

fn set_version(sim: &mut Sim, version: &str) {
    for node in &mut sim.observed.view.as_mut().unwrap().nodes {
        version.clone_into(&mut node.version);
    }
}

fn switch_on(sim: &mut Sim) {
    switch(sim, Some(HttpListener::default()));
}

fn switch(sim: &mut Sim, http: Option<HttpListener>) {
    sim.cluster.spec.listeners.http = http;
    *sim.cluster.metadata.generation.as_mut().unwrap() += 1;
}

fn live(sim: &Sim, kind: &str, name: String) -> Value {
    sim.observed.live[&ObjectKey::new(kind, name)].clone()
}

fn names(sim: &Sim) -> ClusterNames<'_> {
    ClusterNames(sim.cluster.metadata.name.as_deref().unwrap())
}

/// The file of the first node as it was applied.
fn file(sim: &Sim) -> Value {
    let config = live(sim, "ConfigMap", names(sim).config());
    let text = config["data"][format!("{}.yaml", names(sim).pod(0))].clone();
    serde_yaml::from_str(text.as_str().unwrap()).unwrap()
}

/// The port in a list of ports, if it is there.
fn port<'a>(ports: &'a Value, field: &str) -> Option<&'a Value> {
    let mut ports = ports.as_array().unwrap().iter();
    ports.find(|port| port[field] == PORT_HTTP)
}

/// Where the port is open: pods, Services, policy, configuration, status.
fn open(sim: &Sim) -> [bool; 6] {
    let set = live(sim, "StatefulSet", names(sim).stateful_set());
    let client = live(sim, "Service", names(sim).client_service());
    let ready = live(sim, "Service", names(sim).ready_service());
    let policy = live(sim, "NetworkPolicy", names(sim).network_policy());
    let containers = &set["spec"]["template"]["spec"]["containers"];
    [
        port(&containers[0]["ports"], "containerPort").is_some(),
        port(&client["spec"]["ports"], "port").is_some(),
        port(&ready["spec"]["ports"], "port").is_some(),
        port(&policy["spec"]["ingress"][0]["ports"], "port").is_some(),
        file(sim)["listen"]["http"] == "0.0.0.0:9402",
        endpoints(sim).http.is_some(),
    ]
}

fn endpoints(sim: &Sim) -> Endpoints {
    next_status(sim).0
}

fn next_status(sim: &Sim) -> (Endpoints, Vec<String>, String) {
    let valid = ValidCluster::new(&sim.cluster).unwrap();
    let (plan, outcome) = (sim.plan(), Outcome::default());
    let next = status::next(&sim.cluster, &valid, &sim.observed, &plan, &outcome);
    let reasons = next.blocked.iter().map(|it| it.reason.clone()).collect();
    let text = next.blocked_on.unwrap_or_default();
    (next.endpoints.unwrap(), reasons, text)
}

fn listed(sim: &Sim) -> Vec<String> {
    let list = file(sim)["ignore_if_unknown"].clone();
    serde_json::from_value(list).unwrap_or_default()
}

/// An upgrade of the operator must not open a port that nobody asked for.
#[test]
fn it_is_off_unless_it_is_requested() {
    for (version, level) in [("0.1.0", 0), ("0.2.0", 1), ("0.3.0", 2)] {
        let mut sim = created(version, level);
        assert_eq!(open(&sim), [false; 6], "{version}");
        assert!(!listed(&sim).contains(&"listen.http".to_owned()));
        let off = HttpListener {
            enabled: false,
            cors_allowed_origins: vec!["https://a.example".to_owned()],
        };
        switch(&mut sim, Some(off));
        assert!(sim.plan().is_empty(), "{version}");
        assert_eq!(file(&sim)["http"], Value::Null);
    }
}

#[test]
fn it_is_opened_and_closed_by_one_rollout_each() {
    let mut sim = created("0.3.0", 2);
    sim.replaced.clear();
    let on = Some(HttpListener::default());
    for (http, is_open, replaced) in [(on.clone(), true, 3), (None, false, 6), (on, true, 9)] {
        switch(&mut sim, http);
        sim.converge();
        assert_eq!(open(&sim), [is_open; 6]);
        assert_eq!(sim.replaced.len(), replaced);
        assert!(sim.plan().is_empty());
    }
    let client = live(&sim, "Service", names(&sim).client_service());
    let wanted = json!({
        "name": "http", "port": 9402, "targetPort": "http", "protocol": "TCP",
        "appProtocol": "https",
    });
    assert_eq!(port(&client["spec"]["ports"], "port"), Some(&wanted));
    let address = "lograft-client.prod.svc:9402".to_owned();
    assert_eq!(endpoints(&sim).http, Some(address));
    // Without origins the section is not needed.
    assert_eq!(file(&sim)["http"], Value::Null);
    let list = listed(&sim);
    assert!(list.contains(&"listen.http".to_owned()), "{list:?}");
    assert!(!list.contains(&"http".to_owned()), "{list:?}");
}

#[test]
fn origins_are_rolled_out() {
    let mut sim = created("0.3.0", 2);
    switch_on(&mut sim);
    sim.converge();
    sim.replaced.clear();
    let origins = vec!["https://a.example".to_owned()];
    let http = HttpListener {
        cors_allowed_origins: origins.clone(),
        ..HttpListener::default()
    };
    switch(&mut sim, Some(http));
    sim.converge();
    assert_eq!(file(&sim)["http"]["allowed_origins"], json!(origins));
    assert!(listed(&sim).contains(&"http".to_owned()));
    assert_eq!(sim.replaced.len(), 3);
}

/// A policy without clients lets everybody in; with clients they are the same as for gRPC.
#[test]
fn the_network_policy_has_the_same_peers_as_for_grpc() {
    let mut sim = created("0.3.0", 2);
    let peer = json!({"podSelector": {"matchLabels": {"team": "a"}}});
    let peer = serde_json::from_value(peer).unwrap();
    sim.cluster.spec.network_policy.clients = vec![peer];
    switch_on(&mut sim);
    sim.converge();
    let policy = live(&sim, "NetworkPolicy", names(&sim).network_policy());
    let rule = &policy["spec"]["ingress"][0];
    assert_eq!(rule["from"][0]["podSelector"]["matchLabels"]["team"], "a");
    let ports = rule["ports"].as_array().unwrap();
    let numbers: Vec<&Value> = ports.iter().map(|port| &port["port"]).collect();
    assert_eq!(numbers, [9400, 9402]);
    let others = policy["spec"]["ingress"].as_array().unwrap();
    assert!(
        others[1..]
            .iter()
            .all(|rule| port(&rule["ports"], "port").is_none())
    );
}

/// A rollout would change nothing for clients, and a port of the Service would lead nowhere.
#[test]
fn nodes_that_do_not_serve_it_are_left_alone_until_they_are_upgraded() {
    for level in [0, 1] {
        let mut sim = created("0.2.0", level);
        sim.replaced.clear();
        switch_on(&mut sim);
        assert!(sim.plan().is_empty(), "level {level}");
        let (_, reasons, text) = next_status(&sim);
        assert_eq!(reasons, ["HttpNotServed"]);
        assert!(
            text.contains("0.3.0 or later") && text.contains(":0.2.0"),
            "{text}"
        );
        assert_eq!(sim.plan().requeue_seconds, 60);
        // The upgrade opens it, with one rollout, as soon as the level allows it.
        sim.cluster.spec.version = Some("0.3.0".to_owned());
        sim.converge();
        assert_eq!(sim.replaced.len(), 3);
        assert_eq!(open(&sim), [level == 1; 6], "level {level}");
        let blocked: &[&str] = if level == 1 { &[] } else { &["HttpNotServed"] };
        assert_eq!(next_status(&sim).1, blocked);
    }
}

/// A pod of 0.2.0 may restart while the upgrade is under way, or taken back: its file must not have
/// a field that it refuses.
#[test]
fn an_upgrade_that_opens_it_can_be_taken_back() {
    let mut sim = created("0.2.0", 1);
    switch_on(&mut sim);
    sim.cluster.spec.version = Some("0.3.0".to_owned());
    sim.converge();
    set_version(&mut sim, "0.3.0");
    assert_eq!(open(&sim), [true; 6]);
    assert!(listed(&sim).contains(&"listen.http".to_owned()));
    sim.replaced.clear();
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    sim.cluster.spec.update.allow_downgrade = true;
    sim.converge();
    assert_eq!(sim.replaced.len(), 3);
    assert_eq!(open(&sim), [false; 6]);
    assert_eq!(next_status(&sim).1, ["HttpNotServed"]);
}

/// Nodes of 0.1.0 may start until level 1 is finalized, and do not know the list of fields.
#[test]
fn before_level_1_it_is_not_served_and_status_says_so() {
    let mut sim = created("0.3.0", 0);
    switch_on(&mut sim);
    assert!(sim.plan().is_empty());
    let (_, reasons, text) = next_status(&sim);
    assert_eq!(reasons, ["HttpNotServed"]);
    assert!(text.contains("feature level 1 to be finalized"), "{text}");
    sim.observed.view.as_mut().unwrap().finalized_level = FeatureLevel(2);
    sim.converge();
    assert_eq!(open(&sim), [true; 6]);
}

/// It has a reason of its own beside that of authorization.
#[test]
fn two_features_that_wait_for_a_level_are_both_named() {
    let mut sim = created("0.3.0", 0);
    sim.cluster.spec.authorization.mode = Some(AuthorizationMode::Enforced);
    switch_on(&mut sim);
    let (_, reasons, _) = next_status(&sim);
    assert_eq!(reasons, ["AuthorizationNotEffective", "HttpNotServed"]);
}

/// It is the owner's own change: it waits behind no other cluster's canary.
#[test]
fn it_is_a_change_of_the_spec() {
    let mut sim = created("0.3.0", 2);
    switch_on(&mut sim);
    let cause = |sim: &Sim| Some(sim.member(&settings()).request?.cause);
    assert_eq!(cause(&sim), Some(Cause::Spec));
    sim.converge();
    switch(&mut sim, None);
    assert_eq!(cause(&sim), Some(Cause::Spec));
}

/// While the rollout waits for its turn no pod serves it.
#[test]
fn status_has_no_address_while_the_change_waits() {
    let mut sim = created("0.3.0", 2);
    switch_on(&mut sim);
    sim.held = Some(Held::Slots(2));
    sim.converge();
    assert_eq!(endpoints(&sim).http, None);
    sim.held = None;
    sim.converge();
    assert!(endpoints(&sim).http.is_some());
    switch(&mut sim, None);
    sim.held = Some(Held::Slots(2));
    sim.converge();
    assert_eq!(endpoints(&sim).http, None);
}
