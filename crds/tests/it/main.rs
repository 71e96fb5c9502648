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

use serde_json::Value;

/// The schema of LogCluster.
fn definition() -> Value {
    let definition = lograft_crds::generate::log_cluster().unwrap();
    serde_json::to_value(&definition.spec.versions[0]).unwrap()
}

/// The schema's root object.
fn root() -> Value {
    definition()["schema"]["openAPIV3Schema"].clone()
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
