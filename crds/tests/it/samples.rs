//! The rules accept the samples.

use std::collections::BTreeMap;
use std::path::Path;

use lograft_crds::generate::Definition;
use lograft_crds::{LogCluster, LogTopic, LogUser};
use serde_json::Value;

use crate::{refusals_of, root_of, walk};

fn samples() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind/samples");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files
        .map(|file| (name(&file.path()), text(&file.path())))
        .collect()
}

/// The definition of a sample, and the sample with the defaults of its type.
fn filled(text: &str) -> (Definition, Value) {
    let sample: Value = serde_yaml::from_str(text).unwrap();
    let filled = |value: serde_json::Result<Value>| value.unwrap();
    if sample["kind"] == "LogUser" {
        let user: LogUser = serde_json::from_value(sample).unwrap();
        (Definition::LogUser, filled(serde_json::to_value(user)))
    } else if sample["kind"] == "LogTopic" {
        let topic: LogTopic = serde_json::from_value(sample).unwrap();
        (Definition::LogTopic, filled(serde_json::to_value(topic)))
    } else {
        let cluster: LogCluster = serde_json::from_value(sample).unwrap();
        (
            Definition::LogCluster,
            filled(serde_json::to_value(cluster)),
        )
    }
}

#[test]
fn there_are_six() {
    let names: Vec<String> = samples().into_keys().collect();
    assert_eq!(
        names,
        [
            "development.yaml",
            "http.yaml",
            "minimal.yaml",
            "production.yaml",
            "topic.yaml",
            "user.yaml"
        ]
    );
    assert_eq!(samples()["minimal.yaml"].lines().count(), 5);
}

#[test]
fn samples_pass_every_rule() {
    for (name, text) in samples() {
        let (definition, value) = filled(&text);
        let texts = refusals_of(&root_of(definition), &value, Some(&value));
        assert!(texts.is_empty(), "{name}: {texts:?}");
    }
}

/// The API server silently drops fields that the schema does not know, so a typo in a sample would
/// go unnoticed.
#[test]
fn samples_hold_only_known_fields() {
    for (name, text) in samples() {
        let mut known = Vec::new();
        let root = root_of(filled(&text).0);
        walk("", &root, &mut |path, _| known.push(path.to_owned()));
        let sample: Value = serde_yaml::from_str(&text).unwrap();
        let mut used = Vec::new();
        fields(".spec", &sample["spec"], &mut used);
        for path in used {
            let in_map = known.iter().any(|k| {
                k.strip_suffix("{}")
                    .is_some_and(|map| path.starts_with(&format!("{map}.")))
            });
            assert!(known.contains(&path) || in_map, "{name} has {path}");
        }
    }
}

fn fields(path: &str, value: &Value, used: &mut Vec<String>) {
    used.push(path.to_owned());
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                fields(&format!("{path}.{name}"), inner, used);
            }
        }
        Value::Array(list) => {
            for inner in list {
                fields(&format!("{path}[]"), inner, used);
            }
        }
        _ => {}
    }
}

#[test]
fn what_is_left_out_gets_its_default() {
    let cluster: LogCluster = serde_yaml::from_str(&samples()["minimal.yaml"]).unwrap();
    assert_eq!(cluster.spec, lograft_crds::LogClusterSpec::default());
    assert_eq!(cluster.spec.replicas, 3);
    assert_eq!(cluster.spec.storage.size.bytes(), Ok(10 << 30));
    assert!(cluster.spec.storage.retain_on_delete);
    assert!(cluster.spec.network_policy.enabled);
}
