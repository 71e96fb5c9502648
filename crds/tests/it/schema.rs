//! Content of the schema.

use lograft_crds::generate::Definition;
use serde_json::{Value, json};

use crate::{root, root_of, version, walk};

/// Calls `see` for each field of each definition.
fn walk_all(see: &mut dyn FnMut(&str, &Value)) {
    for definition in Definition::ALL {
        walk("", &root_of(definition), see);
    }
}

/// The schema at a path like `.spec.storage`.
fn at(path: &str) -> Value {
    let mut found = Value::Null;
    walk("", &root(), &mut |here, schema| {
        if here == path {
            found = schema.clone();
        }
    });
    assert!(found.is_object(), "no {path} in the schema");
    found
}

/// Rules of structural schemas (Kubernetes documentation of custom resource definitions): every
/// object has a type, and there are no references or alternatives.
#[test]
fn it_is_structural() {
    let mut seen = 0;
    walk_all(&mut |path, schema| {
        seen += 1;
        let any = schema["x-kubernetes-int-or-string"] == true
            || schema["x-kubernetes-preserve-unknown-fields"] == true;
        assert!(
            any != schema["type"].is_string(),
            "{path} has no type, or two"
        );
        for banned in ["$ref", "oneOf", "anyOf", "allOf", "not", "nullable"] {
            assert!(schema.get(banned).is_none(), "{path} has {banned}");
        }
        let both = schema["properties"].is_object() && schema["additionalProperties"].is_object();
        assert!(!both, "{path} is a map and an object");
        let open = schema["additionalProperties"] == false;
        assert!(!open, "{path} forbids what it does not name");
    });
    assert!(seen > 200, "the walk saw {seen} fields");
}

/// Other formats make the API server warn at each apply.
#[test]
fn formats_are_kubernetes_own() {
    walk_all(&mut |path, schema| {
        if let Some(format) = schema["format"].as_str() {
            let known = ["int32", "int64", "date-time"].contains(&format);
            assert!(known, "{path} has the format {format}");
        }
    });
}

#[test]
fn every_field_is_explained() {
    walk_all(&mut |path, schema| {
        let is_field = !path.ends_with(['[', ']', '{', '}']);
        let text = schema["description"].as_str().unwrap_or_default();
        assert!(!is_field || text.len() > 8, "{path} is not explained");
    });
}

/// Bounds, defaults and choices, by path.
const BOUNDS: &str = r#"{
    ".spec.replicas": {"minimum": 1.0, "maximum": 99.0, "default": 3},
    ".spec.version": {"maxLength": 128},
    ".spec.image": {"minLength": 1, "maxLength": 512},
    ".spec.storage.size": {"default": "10Gi", "maxLength": 16},
    ".spec.storage.retainOnDelete": {"default": true},
    ".spec.storage.autoGrow.thresholdPercent": {"minimum": 50.0, "maximum": 95.0, "default": 80},
    ".spec.podTemplate.labels": {"maxProperties": 64},
    ".spec.podTemplate.annotations": {"maxProperties": 64},
    ".spec.podTemplate.nodeSelector": {"maxProperties": 64},
    ".spec.podTemplate.tolerations": {"maxItems": 32},
    ".spec.podTemplate.env": {"maxItems": 64, "x-kubernetes-list-type": "map"},
    ".spec.topology.zoneKey": {"default": "topology.kubernetes.io/zone", "maxLength": 317},
    ".spec.topology.spread": {"enum": ["preferred", "required"], "default": "preferred"},
    ".spec.tls.mode": {"enum": ["builtin", "certManager"], "default": "builtin"},
    ".spec.tls.caValidity": {"default": "43800h"},
    ".spec.tls.leafValidity": {"default": "2160h"},
    ".spec.authorization.superUsers": {"maxItems": 64},
    ".spec.allowedNamespaces.names": {"maxItems": 64, "x-kubernetes-list-type": "set"},
    ".spec.allowedNamespaces.selector.matchLabels": {"maxProperties": 64},
    ".spec.networkPolicy.clients": {"maxItems": 64},
    ".spec.networkPolicy.enabled": {"default": true},
    ".spec.listeners.http.enabled": {"default": true},
    ".spec.listeners.http.corsAllowedOrigins": {"maxItems": 64, "x-kubernetes-list-type": "set"},
    ".spec.listeners.http.corsAllowedOrigins[]": {"minLength": 1, "maxLength": 512},
    ".spec.listeners.external.type": {"enum": ["LoadBalancer", "NodePort"]},
    ".spec.log.partitions": {"minimum": 1.0, "maximum": 10000.0, "default": 3},
    ".spec.log.replicationFactor": {"minimum": 1.0, "maximum": 7.0},
    ".spec.log.segmentSize": {"default": "64Mi"},
    ".spec.observability.logLevel": {"default": "info", "maxLength": 512},
    ".spec.observability.logFormat": {"enum": ["json", "text"], "default": "json"},
    ".spec.update.drainTimeout": {"default": "5m"},
    ".spec.update.progressDeadline": {"default": "15m"},
    ".spec.update.allowDowngrade": {"default": false},
    ".spec.update.paused": {"default": false},
    ".spec.paused": {"default": false},
    ".status.members": {"x-kubernetes-list-map-keys": ["name"], "maxItems": 198},
    ".status.conditions": {"x-kubernetes-list-map-keys": ["type"]},
    ".status.blocked": {"x-kubernetes-list-type": "atomic", "maxItems": 16},
    ".status.blocked[].reason": {"maxLength": 64, "pattern": "^[A-Z][A-Za-z0-9]*$"},
    ".status.blockedOn": {"maxLength": 1024}
}"#;

#[test]
fn bounds_stand_in_it() {
    let bounds: Value = serde_json::from_str(BOUNDS).unwrap();
    for (path, wanted) in bounds.as_object().unwrap() {
        let schema = at(path);
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&schema[key], value, "{path} {key}");
        }
    }
}

#[test]
fn sizes_and_times_have_patterns() {
    for path in [
        ".spec.storage.size",
        ".spec.storage.autoGrow.maxSize",
        ".spec.log.segmentSize",
    ] {
        assert_eq!(
            at(path)["pattern"],
            lograft_crds::quantity::BYTE_SIZE_PATTERN
        );
    }
    for path in [
        ".spec.tls.caValidity",
        ".spec.update.drainTimeout",
        ".spec.update.progressDeadline",
        ".spec.log.retention.time",
    ] {
        assert_eq!(at(path)["pattern"], lograft_crds::quantity::PERIOD_PATTERN);
    }
}

/// `spec: {}` is valid: no field of the spec is required.
#[test]
fn only_the_spec_is_required() {
    assert_eq!(root()["required"], json!(["spec"]));
    assert!(at(".spec").get("required").is_none());
    assert!(at(".status").get("required").is_none());
}

#[test]
fn status_tells_what_the_design_names() {
    let names = [
        "observedGeneration",
        "clusterId",
        "conditions",
        "members",
        "endpoints",
        "ca",
        "blocked",
        "blockedOn",
        "replicas",
        "readyReplicas",
        "selector",
    ];
    for name in names {
        at(&format!(".status.{name}"));
    }
    let members = [
        "name",
        "nodeId",
        "zone",
        "ready",
        "version",
        "role",
        "leaders",
        "lag",
        "certNotAfter",
        "diskFreeBytes",
    ];
    for name in members {
        at(&format!(".status.members[].{name}"));
    }
}

#[test]
fn columns_and_scale_stand() {
    let definition = version(Definition::LogCluster);
    let columns = definition["additionalPrinterColumns"].as_array().unwrap();
    let names: Vec<&str> = columns
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Ready", "Replicas", "Version", "Blocked on", "Age"]);
    let scale = json!({
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    });
    assert_eq!(definition["subresources"]["scale"], scale);
    assert!(definition["subresources"]["status"].is_object());
    // Each column reads an existing field.
    for column in columns {
        let path = column["jsonPath"].as_str().unwrap();
        if path.starts_with(".status.") && !path.contains('[') {
            at(path);
        }
    }
}

#[test]
fn names_are_the_wires() {
    let definition = Definition::LogCluster.object().unwrap();
    assert_eq!(
        definition.metadata.name.as_deref(),
        Some("logclusters.lograft.io")
    );
    assert_eq!(definition.spec.group, lograft_crds::names::GROUP);
    assert_eq!(
        definition.spec.versions[0].name,
        lograft_crds::names::VERSION
    );
    assert_eq!(definition.spec.names.kind, "LogCluster");
    assert_eq!(
        definition.spec.names.short_names,
        Some(vec!["lc".to_owned()])
    );
    assert_eq!(definition.spec.scope, "Namespaced");
}
