//! The custom resource definitions, as objects and as YAML.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{LogCluster, LogTopic, LogUser};

/// First line of each generated file.
const HEAD: &str = "# Generated from crds/src by crdgen: change the types, not this file.\n";

/// Why a definition was not generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Encoding as JSON failed.
    #[error("cannot encode the definition as JSON")]
    Json(#[source] serde_json::Error),
    /// Encoding as YAML failed.
    #[error("cannot encode the definition as YAML")]
    Yaml(#[source] serde_yaml::Error),
}

/// A definition of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// LogCluster.
    LogCluster,
    /// LogTopic.
    LogTopic,
    /// LogUser.
    LogUser,
}

impl Definition {
    /// All definitions.
    pub const ALL: [Self; 3] = [Self::LogCluster, Self::LogTopic, Self::LogUser];

    /// The plural name of the kind: the name of its file without the ending.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::LogCluster => "logclusters",
            Self::LogTopic => "logtopics",
            Self::LogUser => "logusers",
        }
    }

    /// The definition, used by tests and `crdgen`.
    ///
    /// Unlike in the derived definition, no field is nullable: null then means that the field is
    /// absent, also for CEL's `has`, and a field with a default gets the default.
    pub fn object(self) -> Result<apiextensions::CustomResourceDefinition, GenerateError> {
        let derived = match self {
            Self::LogCluster => LogCluster::crd(),
            Self::LogTopic => LogTopic::crd(),
            Self::LogUser => LogUser::crd(),
        };
        let mut value = serde_json::to_value(derived).map_err(GenerateError::Json)?;
        drop_nullable(&mut value);
        serde_json::from_value(value).map_err(GenerateError::Json)
    }

    /// The content of its file in `crds/generated`.
    pub fn yaml(self) -> Result<String, GenerateError> {
        let mut value = serde_json::to_value(self.object()?).map_err(GenerateError::Json)?;
        whole_numbers(&mut value);
        let body = serde_yaml::to_string(&value).map_err(GenerateError::Yaml)?;
        Ok(format!("{HEAD}{body}"))
    }
}

fn drop_nullable(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|key, value| !(key == "nullable" && *value == Value::Bool(true)));
    }
    each_child(value, drop_nullable);
}

/// Bounds are floats in the API types: prints `99` instead of `99.0`.
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
