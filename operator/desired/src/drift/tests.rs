use serde_json::json;

use super::*;

fn texts(paths: &[FieldPath]) -> Vec<String> {
    paths.iter().map(FieldPath::to_string).collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals are shorter as values"
)]
fn drift(desired: Value, live: Value) -> (Vec<String>, Vec<String>) {
    let drift = Drift::of(&desired, &live);
    if drift.is_empty() {
        assert_eq!(drift.mended, live);
    } else {
        let again = Drift::of(&desired, &drift.mended);
        assert!(again.is_empty(), "{again:?}");
    }
    (texts(&drift.changed), texts(&drift.added))
}

fn none() -> (Vec<String>, Vec<String>) {
    Default::default()
}

#[test]
fn missing_changed_and_added_fields_are_found() {
    let live = json!({"a": 1, "status": {}, "m": {"x": "1", "y": "2"}, "l": [1, 2]});
    let (changed, added) = drift(
        json!({"a": 2, "b": 1, "m": {"x": "1"}, "l": [2, 1]}),
        live.clone(),
    );
    assert_eq!(changed, ["a", "b", "l[0]", "l[1]"]);
    assert_eq!(added, ["m.y"]);
    let (changed, added) = drift(json!({"a": 1, "m": {}, "l": [1]}), live);
    assert_eq!(changed, [""; 0]);
    assert_eq!(added, ["l[1]", "m.x", "m.y"]);
}

#[test]
fn named_items_are_matched_by_name() {
    let live = json!({"env": [
        {"name": "X"}, {"name": "A", "value": "1"}, {"name": "B", "value": "2"},
    ]});
    let b = json!({"env": [{"name": "B", "value": "3"}, {"name": "A", "value": "1"}]});
    let (changed, added) = drift(b, live.clone());
    assert_eq!(changed, ["env[B].value"]);
    assert_eq!(added, ["env[X]"]);
    let (changed, added) = drift(json!({"env": [{"name": "C"}]}), live);
    assert_eq!(changed, ["env[C]"]);
    assert_eq!(added, ["env[X]", "env[A]", "env[B]"]);
}

#[test]
fn quantities_are_compared_by_value() {
    let of = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let is_equal = |desired: &str, live: &str| drift(of(desired), of(live)) == none();
    assert!(is_equal("1000m", "1"));
    assert!(is_equal("1.5", "1500m"));
    assert!(is_equal("1Gi", "1024Mi"));
    assert!(is_equal("1e3", "1k"));
    assert!(is_equal("1Ei", "1024Pi"));
    assert!(!is_equal("1001m", "1"));
    assert!(!is_equal("1Gi", "1G"));
    // Other texts are compared as texts.
    assert_ne!(drift(json!({"v": "1000m"}), json!({"v": "1"})), none());
}

#[test]
fn empty_values_are_no_difference() {
    let empty = json!({"a": null, "b": {}, "c": [], "d": ""});
    assert_eq!(drift(empty.clone(), json!({})), none());
    assert_eq!(drift(json!({}), empty), none());
    assert_ne!(drift(json!({"a": "x"}), json!({})), none());
    assert_ne!(drift(json!({"a": ""}), json!({"a": "x"})), none());
}

/// Fields that the API server fills, their defaults, and what is left to others.
#[test]
fn listed_fields_may_stay_and_other_values_of_them_may_not() {
    let live = |affinity: &str| {
        json!({
            "kind": "Service",
            "metadata": {"uid": "u", "labels": {"team": "a"}, "annotations": {"a": "b"}},
            "spec": {"clusterIP": "10.0.0.1", "sessionAffinity": affinity, "selector": {"a": "b"}},
        })
    };
    let desired = json!({"kind": "Service", "metadata": {}, "spec": {"selector": {"a": "b"}}});
    assert_eq!(drift(desired.clone(), live("None")), none());
    let (_, added) = drift(desired, live("ClientIP"));
    assert_eq!(added, ["spec.sessionAffinity"]);
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals are shorter as values"
)]
fn owned(fields: Value) -> Value {
    json!({"managedFields": [
        {"manager": "lograft-operator", "operation": "Apply", "fieldsV1": {"f:spec": {}}},
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": fields},
        {"manager": "controller", "subresource": "status", "fieldsV1": {"f:spec": {"f:new": {}}}},
    ]})
}

/// A default of an API server that is newer than the operator is nobody's.
#[test]
fn unknown_defaults_may_stay_and_fields_with_an_owner_may_not() {
    let desired = json!({"kind": "StatefulSet", "spec": {"a": 1, "m": {"k": 1}}});
    let with = |fields: Value, spec: Value| {
        let mut metadata = owned(fields);
        metadata["managedFields"][0]["fieldsV1"] = json!({"f:spec": {"f:a": {}}});
        json!({"kind": "StatefulSet", "metadata": metadata, "spec": spec})
    };
    let spec = json!({"a": 1, "m": {"k": 1, "deep": 2}, "new": "default"});
    let nobody = with(json!({"f:spec": {"f:other": {}}}), spec.clone());
    assert_eq!(drift(desired.clone(), nobody), none());
    let edited = with(json!({"f:spec": {"f:new": {}}}), spec.clone());
    assert_eq!(
        drift(desired.clone(), edited.clone()).1,
        ["spec.new"],
        "the field has an owner"
    );
    let new = FieldPath::default().field("spec").field("new");
    assert_eq!(managers_of(&edited, &new), ["kubectl-edit"]);
    // Without the list nothing is known, so the comparison is strict.
    let silent = json!({"kind": "StatefulSet", "spec": spec});
    assert_eq!(drift(desired, silent).1.len(), 2);
    // Keys of maps are never defaults.
    let desired = json!({"kind": "Service", "spec": {"selector": {"a": "b"}}});
    let mut live = with(json!({}), json!({"selector": {"a": "b", "x": "y"}}));
    live["kind"] = json!("Service");
    assert_eq!(drift(desired, live).1, ["spec.selector.x"]);
}

#[test]
fn managers_of_items_are_found_by_their_keys() {
    let env = json!({"k:{\"name\":\"X\"}": {".": {}, "f:value": {}}});
    let live = json!({
        "metadata": owned(json!({"f:spec": {"f:env": env, "f:atomic": {}}})),
        "spec": {"env": [{"name": "A"}, {"name": "X", "value": "1"}], "atomic": [{"p": 1}]},
    });
    let spec = FieldPath::default().field("spec");
    let managers = |path: FieldPath| managers_of(&live, &path);
    assert_eq!(
        managers(spec.field("env").item(1, Some("X"))),
        ["kubectl-edit"]
    );
    assert_eq!(managers(spec.field("env").item(0, Some("A"))), [""; 0]);
    let atomic = spec.field("atomic").item(0, None).field("p");
    assert_eq!(managers(atomic), ["kubectl-edit"]);
}

#[test]
fn a_merge_patch_makes_the_mended_object() {
    let live = json!({"a": {"b": 1, "c": 2}, "l": [1, 2], "same": {"x": 1}});
    let mended = json!({"a": {"b": 3}, "l": [1], "same": {"x": 1}, "new": {"y": 1}});
    let patch = merge_patch(&live, &mended);
    assert_eq!(
        patch,
        json!({"a": {"b": 3, "c": null}, "l": [1], "new": {"y": 1}})
    );
}
