//! The schema of LogTopic: bounds, columns, and each CEL rule with objects that it refuses.

use lograft_crds::generate::Definition;
use lograft_crds::limits::{
    BATCH_MAX_BYTES, BATCH_MIN_BYTES, BATCH_OVERHEAD_MAX_BYTES, RECORD_MAX_BYTES, RECORD_MIN_BYTES,
    SEGMENT_MIN_BYTES, TOPIC_NAME_MAX_BYTES,
};
use lograft_crds::rules::{Rule, TOPIC_CONFIG, TOPIC_RETENTION, TOPIC_ROOT, TOPIC_SPEC};
use lograft_crds::{ByteSize, LogTopic};
use serde_json::{Value, json};

use crate::{put, refusals_of, root_of, rules_of, version, walk};

fn root() -> Value {
    root_of(Definition::LogTopic)
}

/// A topic that every rule accepts, modified by `changes`: `(pointer, value)`.
fn topic(changes: &[(&str, Value)]) -> Value {
    let base = json!({
        "apiVersion": "lograft.io/v1alpha1",
        "kind": "LogTopic",
        "metadata": {"name": "clicks"},
        "spec": {
            "clusterRef": {"name": "events"},
            "topicName": "shop.Clicks_1",
            "partitions": 12,
            "replicationFactor": 3,
        },
    });
    let filled: LogTopic = serde_json::from_value(base).unwrap();
    let mut value = serde_json::to_value(&filled).unwrap();
    for (pointer, change) in changes {
        put(&mut value, pointer, change.clone());
    }
    value
}

/// One change that violates one rule; transition rules compare with the unchanged topic.
fn breaking() -> Vec<(Rule, Vec<(&'static str, Value)>)> {
    let long = "n".repeat(250);
    vec![
        (
            TOPIC_ROOT[0],
            vec![
                ("/metadata/name", json!(long)),
                ("/spec/topicName", Value::Null),
            ],
        ),
        (
            TOPIC_SPEC[0],
            vec![("/spec/clusterRef", json!({"name": "other"}))],
        ),
        (TOPIC_SPEC[1], vec![("/spec/topicName", json!("other"))]),
        (TOPIC_SPEC[2], vec![("/spec/topicName", json!(".."))]),
        (TOPIC_SPEC[3], vec![("/spec/partitions", json!(11))]),
        (
            TOPIC_RETENTION[0],
            vec![("/spec/retention", json!({"size": "1023Ki"}))],
        ),
        (
            TOPIC_CONFIG[0],
            vec![("/spec/config", json!({"maxBatchSize": "1023"}))],
        ),
        (
            TOPIC_CONFIG[0],
            vec![("/spec/config", json!({"maxBatchSize": "3077Ki"}))],
        ),
        (
            TOPIC_CONFIG[1],
            vec![("/spec/config", json!({"maxRecordSize": "1023"}))],
        ),
        (
            TOPIC_CONFIG[1],
            vec![("/spec/config", json!({"maxRecordSize": "3073Ki"}))],
        ),
        (
            TOPIC_CONFIG[2],
            vec![(
                "/spec/config",
                json!({"maxRecordSize": "3Mi", "maxBatchSize": "3Mi"}),
            )],
        ),
    ]
}

#[test]
fn each_rule_refuses_its_case() {
    let old = topic(&[]);
    assert_eq!(refusals_of(&root(), &old, Some(&old)), Vec::<String>::new());
    for (rule, changes) in breaking() {
        let texts = refusals_of(&root(), &topic(&changes), Some(&old));
        let is_named = texts.iter().any(|text| text.contains(rule.message));
        assert!(is_named, "{changes:?}: {texts:?}");
    }
}

#[test]
fn each_rule_is_in_the_schema_and_has_a_case() {
    let found = rules_of(&root());
    let wanted = [
        ("", TOPIC_ROOT),
        (".spec", TOPIC_SPEC),
        (".spec.retention", TOPIC_RETENTION),
        (".spec.config", TOPIC_CONFIG),
    ];
    let count: usize = wanted.iter().map(|(_, rules)| rules.len()).sum();
    assert_eq!(found.len(), count);
    let cases: Vec<Value> = breaking()
        .iter()
        .map(|(rule, _)| serde_json::to_value(rule).unwrap())
        .collect();
    for (path, rules) in wanted {
        for rule in rules {
            let value = serde_json::to_value(rule).unwrap();
            assert!(
                found.contains(&(path.to_owned(), value.clone())),
                "{rule:?}"
            );
            assert!(cases.contains(&value), "no case for {rule:?}");
            let (field, advice) = rule.message.split_once(':').unwrap_or((rule.message, ""));
            assert!(field.starts_with("spec.") || field.starts_with("metadata."));
            assert!(
                field.contains("spec.topicName must") || advice.len() > 10,
                "{rule:?}"
            );
        }
    }
}

#[test]
fn allowed_changes_pass() {
    let old = topic(&[]);
    let allowed = [
        vec![("/spec/partitions", json!(13))],
        vec![("/spec/partitions", Value::Null)],
        vec![("/spec/replicationFactor", Value::Null)],
        vec![("/spec/replicationFactor", json!(1))],
        vec![("/spec/retention", json!({}))],
        vec![("/spec/retention", json!({"size": "1Mi", "time": "1s"}))],
        vec![("/spec/config", json!({"maxBatchSize": "2Mi"}))],
        vec![("/spec/config", json!({"maxRecordSize": "3Mi"}))],
        vec![(
            "/spec/config",
            json!({"maxBatchSize": "3076Ki", "maxRecordSize": "3Mi"}),
        )],
        vec![("/spec/deletionPolicy", json!("Delete"))],
        vec![("/spec/adopt", json!(true))],
    ];
    for changes in allowed {
        let texts = refusals_of(&root(), &topic(&changes), Some(&old));
        assert_eq!(texts, Vec::<String>::new(), "{changes:?}");
    }
    // A name that is as long as a topic's may be.
    let name = "n".repeat(TOPIC_NAME_MAX_BYTES);
    let long = topic(&[
        ("/metadata/name", json!(name)),
        ("/spec/topicName", Value::Null),
    ]);
    assert_eq!(refusals_of(&root(), &long, None), Vec::<String>::new());
}

#[test]
fn bounds_in_rules_are_the_limits() {
    let quantities = |rule: &Rule| -> Vec<u64> {
        let parts = rule.rule.split("quantity('").skip(1);
        let texts = parts.map(|part| part.split('\'').next().unwrap());
        texts
            .map(|text| ByteSize::from(text).bytes().unwrap())
            .collect()
    };
    assert!(
        TOPIC_ROOT[0]
            .rule
            .ends_with(&format!("<= {TOPIC_NAME_MAX_BYTES}"))
    );
    assert_eq!(quantities(&TOPIC_RETENTION[0]), [SEGMENT_MIN_BYTES]);
    assert_eq!(
        quantities(&TOPIC_CONFIG[0]),
        [BATCH_MIN_BYTES, BATCH_MAX_BYTES]
    );
    assert_eq!(
        quantities(&TOPIC_CONFIG[1]),
        [RECORD_MIN_BYTES, RECORD_MAX_BYTES]
    );
    assert_eq!(quantities(&TOPIC_CONFIG[2]), [BATCH_OVERHEAD_MAX_BYTES]);
}

/// Bounds, defaults and choices, by path.
const BOUNDS: &str = r#"{
    ".spec.clusterRef.name": {"minLength": 1, "maxLength": 40},
    ".spec.clusterRef.namespace": {"minLength": 1, "maxLength": 63},
    ".spec.topicName": {"minLength": 1, "maxLength": 249, "pattern": "^[A-Za-z0-9._-]+$"},
    ".spec.partitions": {"minimum": 1.0, "maximum": 10000.0},
    ".spec.replicationFactor": {"minimum": 1.0, "maximum": 7.0},
    ".spec.deletionPolicy": {"enum": ["Retain", "Delete"], "default": "Retain"},
    ".spec.adopt": {"default": false},
    ".status.conditions": {"x-kubernetes-list-map-keys": ["type"]},
    ".status.blocked": {"x-kubernetes-list-type": "atomic", "maxItems": 16}
}"#;

#[test]
fn bounds_and_columns_are_in_it() {
    let mut schemas = std::collections::BTreeMap::new();
    walk("", &root(), &mut |path, schema| {
        schemas.insert(path.to_owned(), schema.clone());
    });
    let bounds: Value = serde_json::from_str(BOUNDS).unwrap();
    for (path, wanted) in bounds.as_object().unwrap() {
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&schemas[path][key], value, "{path} {key}");
        }
    }
    assert_eq!(schemas[".spec"]["required"], json!(["clusterRef"]));
    let version = version(Definition::LogTopic);
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let plain = columns.iter().filter(|column| column["priority"].is_null());
    let names: Vec<&str> = plain.map(|c| c["name"].as_str().unwrap()).collect();
    let wanted = [
        "Cluster",
        "Topic",
        "Partitions",
        "Replication",
        "Ready",
        "Age",
    ];
    assert_eq!(names, wanted);
    for column in columns {
        let path = column["jsonPath"].as_str().unwrap();
        let is_checked = path.starts_with(".status.") && !path.contains('[');
        assert!(!is_checked || schemas.contains_key(path), "{path}");
    }
    assert!(version["subresources"]["status"].is_object());
}
