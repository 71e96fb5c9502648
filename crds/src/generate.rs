//! The custom resource definitions, as they are applied and as YAML.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::LogCluster;

/// First line of each generated file.
const HEAD: &str = "# Generated from crds/src by crdgen: change the types, not this file.\n";

/// Why a definition was not made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Its parts do not encode.
    #[error("encoding the definition as JSON")]
    Json(#[source] serde_json::Error),
    /// It does not encode as YAML.
    #[error("encoding the definition as YAML")]
    Yaml(#[source] serde_yaml::Error),
}

/// The definition of LogCluster: what the operator and `crdgen` take.
///
/// It differs from the derived one in this: no field is nullable. A null then means that the field
/// is not there, to CEL's `has` too, and a field that has a default gets it.
pub fn log_cluster() -> Result<apiextensions::CustomResourceDefinition, GenerateError> {
    let mut value = serde_json::to_value(LogCluster::crd()).map_err(GenerateError::Json)?;
    drop_nullable(&mut value);
    serde_json::from_value(value).map_err(GenerateError::Json)
}

/// The definition of LogCluster, as it stands in `crds/generated/logclusters.yaml`.
pub fn log_cluster_yaml() -> Result<String, GenerateError> {
    let mut value = serde_json::to_value(log_cluster()?).map_err(GenerateError::Json)?;
    whole_numbers(&mut value);
    let body = serde_yaml::to_string(&value).map_err(GenerateError::Yaml)?;
    Ok(format!("{HEAD}{body}"))
}

fn drop_nullable(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|key, value| !(key == "nullable" && *value == Value::Bool(true)));
    }
    each_child(value, drop_nullable);
}

/// Bounds are floats in the API's types; `99` reads better than `99.0`.
fn whole_numbers(value: &mut Value) {
    let whole = value.as_f64().filter(|_| value.is_f64());
    if let Some(number) = whole.and_then(|float| format!("{float:.0}").parse::<i64>().ok()) {
        *value = Value::from(number);
    }
    each_child(value, whole_numbers);
}

fn each_child(value: &mut Value, act: fn(&mut Value)) {
    match value {
        Value::Object(map) => map.values_mut().for_each(act),
        Value::Array(list) => list.iter_mut().for_each(act),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
