//! The schema as the API server gets it: its content, its rules, the samples.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: the panic is the finding"
)]

mod chart;
mod drift;
mod rules;
mod samples;
mod schema;
mod topic;
mod user;

use kube::core::cel::Validator;
use lograft_crds::generate::Definition;
use serde_json::Value;

/// The version of a definition.
fn version(definition: Definition) -> Value {
    let definition = definition.object().unwrap();
    serde_json::to_value(&definition.spec.versions[0]).unwrap()
}

/// The root object of a schema.
fn root_of(definition: Definition) -> Value {
    version(definition)["schema"]["openAPIV3Schema"].clone()
}

/// The root object of LogCluster's schema.
fn root() -> Value {
    root_of(Definition::LogCluster)
}

/// All rules of a schema with their paths.
fn rules_of(schema: &Value) -> Vec<(String, Value)> {
    let mut rules = Vec::new();
    walk("", schema, &mut |path, schema| {
        let list = schema["x-kubernetes-validations"].as_array();
        for rule in list.into_iter().flatten() {
            rules.push((path.to_owned(), rule.clone()));
        }
    });
    rules
}

/// The messages with which an object is refused.
fn refusals_of(schema: &Value, new: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(schema, new, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// Sets a field, or removes it if `change` is null.
fn put(value: &mut Value, pointer: &str, change: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {parent}"));
    let map = parent.as_object_mut().unwrap();
    if change.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), change);
    }
}

/// Calls `see` for `schema` and each schema below it, with its path.
fn walk(path: &str, schema: &Value, see: &mut dyn FnMut(&str, &Value)) {
    see(path, schema);
    if let Some(properties) = schema["properties"].as_object() {
        for (name, inner) in properties {
            walk(&format!("{path}.{name}"), inner, see);
        }
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&format!("{path}{mark}"), &schema[key], see);
        }
    }
}
