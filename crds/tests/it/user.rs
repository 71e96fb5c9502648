//! The schema of LogUser: bounds, and each CEL rule with objects that it refuses.

use lograft_crds::LogUser;
use lograft_crds::generate::Definition;
use lograft_crds::limits::{SECRET_NAME_MAX_BYTES, TOPIC_NAME_MAX_BYTES};
use lograft_crds::names::USER_SECRET_ENDING;
use lograft_crds::rules::{Rule, USER_ROOT, USER_SPEC};
use serde_json::{Value, json};

use crate::{put, refusals_of, root_of, rules_of};

fn root() -> Value {
    root_of(Definition::LogUser)
}

/// A user that every rule accepts, modified by `changes`: `(pointer, value)`.
fn user(changes: &[(&str, Value)]) -> Value {
    let base = json!({
        "apiVersion": "lograft.io/v1alpha1",
        "kind": "LogUser",
        "metadata": {"name": "orders"},
        "spec": {
            "clusterRef": {"name": "events"},
            "validity": "24h",
            "rules": [{"operations": ["read"], "resource": "topic:orders.*"}],
        },
    });
    let filled: LogUser = serde_json::from_value(base).unwrap();
    let mut value = serde_json::to_value(&filled).unwrap();
    for (pointer, change) in changes {
        put(&mut value, pointer, change.clone());
    }
    value
}

/// One change that violates one rule; transition rules compare with the unchanged user.
fn breaking() -> Vec<(Rule, Vec<(&'static str, Value)>)> {
    let long = "n".repeat(SECRET_NAME_MAX_BYTES - USER_SECRET_ENDING.len() + 1);
    vec![
        (USER_ROOT[0], vec![("/metadata/name", json!(long))]),
        (
            USER_SPEC[0],
            vec![("/spec/clusterRef", json!({"name": "other"}))],
        ),
        (USER_SPEC[1], vec![("/spec/secretName", json!("other"))]),
        (USER_SPEC[2], vec![("/spec/validity", json!("59m"))]),
        (USER_SPEC[3], vec![("/spec/renewBefore", json!("24h"))]),
    ]
}

#[test]
fn each_rule_refuses_its_case_alone() {
    let old = user(&[]);
    assert_eq!(refusals_of(&root(), &old, Some(&old)), [""; 0]);
    for (rule, changes) in breaking() {
        let found = refusals_of(&root(), &user(&changes), Some(&old));
        assert_eq!(found.len(), 1, "{}: {found:?}", rule.message);
        assert!(found[0].contains(rule.message), "{found:?}");
    }
}

#[test]
fn each_rule_has_a_case() {
    let wanted = USER_ROOT.len() + USER_SPEC.len();
    assert_eq!(rules_of(&root()).len(), wanted);
    assert_eq!(breaking().len(), wanted);
}

#[test]
fn the_pattern_of_resources_has_the_bound_of_names() {
    let rules = &root()["properties"]["spec"]["properties"]["rules"]["items"]["properties"];
    let pattern = rules["resource"]["pattern"].as_str().unwrap();
    assert!(
        pattern.contains(&format!("{{1,{TOPIC_NAME_MAX_BYTES}}}")),
        "{pattern}"
    );
}
