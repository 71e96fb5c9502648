//! The chart repeats facts of the crates; they must agree.

use lograft_crds::generate::Definition;
use serde_json::Value;

fn read(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

#[test]
fn the_charts_custom_resources_are_the_generated_ones() {
    for definition in Definition::ALL {
        let file = format!("{}.yaml", definition.plural());
        let stands = read(&format!("charts/lograft/files/crds/{file}"));
        assert!(
            stands == read(&format!("crds/generated/{file}")),
            "stale: cp crds/generated/*.yaml charts/lograft/files/crds/"
        );
    }
}

#[test]
fn the_charts_version_is_the_workspaces() {
    let chart: Value = serde_yaml::from_str(&read("charts/lograft/Chart.yaml")).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// A misspelled value must be refused, and every value must be documented.
#[test]
fn every_value_is_described_and_no_other_is_taken() {
    let schema: Value = serde_json::from_str(&read("charts/lograft/values.schema.json")).unwrap();
    let mut bare = Vec::new();
    let count = check(&schema, "values", &mut bare);
    assert!(count > 20, "{count} values seen");
    assert!(bare.is_empty(), "{bare:#?}");
}

/// Checks a schema and its children; returns the number of properties.
fn check(schema: &Value, path: &str, bare: &mut Vec<String>) -> usize {
    let Some(properties) = schema["properties"].as_object() else {
        return 0;
    };
    if schema["additionalProperties"] != Value::Bool(false) {
        bare.push(format!("{path}: takes other properties"));
    }
    let mut count = 0;
    for (name, property) in properties {
        let path = format!("{path}.{name}");
        // Helm's own values, which need no documentation.
        if path == "values.global" {
            continue;
        }
        if !property["description"].is_string() {
            bare.push(format!("{path}: no description"));
        }
        count += 1 + check(property, &path, bare);
    }
    count
}
