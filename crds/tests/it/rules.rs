//! Evaluates each CEL rule: refused objects with their messages, and accepted ones.

use lograft_crds::LogCluster;
use lograft_crds::rules::{
    AUTHORIZATION, DISCOVERY, HTTP_LISTENER, LOG, NAMESPACE_SELECTOR, POD_TEMPLATE, RECOVERY,
    RETENTION, ROOT, Rule, SPEC, STATUS, STORAGE, TLS,
};
use serde_json::{Value, json};

use crate::{put, refusals_of, root, rules_of};

/// A cluster that every rule accepts, modified by `changes`: `(pointer, value)`.
fn cluster(changes: &[(&str, Value)]) -> Value {
    let base = json!({
        "apiVersion": "lograft.io/v1alpha1",
        "kind": "LogCluster",
        "metadata": {"name": "events"},
        "spec": {"storage": {"storageClassName": "fast"}},
        "status": {"clusterId": "0b6f1c0e-93a5-4e2e-8d9c-3a1f6f1f0a55", "bootstrapped": true},
    });
    let filled: LogCluster = serde_json::from_value(base).unwrap();
    let mut value = serde_json::to_value(&filled).unwrap();
    for (pointer, change) in changes {
        put(&mut value, pointer, change.clone());
    }
    value
}

/// The messages with which a cluster is refused.
fn refusals(new: &Value, old: Option<&Value>) -> Vec<String> {
    refusals_of(&root(), new, old)
}

/// One change that violates one rule; transition rules compare with the unchanged cluster.
fn breaking() -> Vec<(Rule, Vec<(&'static str, Value)>)> {
    let long = "n".repeat(41);
    let mut cases = vec![
        (ROOT[0], vec![("/metadata/name", json!(long))]),
        (ROOT[1], vec![("/metadata/name", json!("9lives"))]),
        (SPEC[0], vec![("/spec/log/replicationFactor", json!(5))]),
        (
            STORAGE[0],
            vec![("/spec/storage/storageClassName", json!("slow"))],
        ),
        (STORAGE[1], vec![("/spec/storage/size", json!("9Gi"))]),
        (
            STORAGE[2],
            // Also shrinks: the old state below separates the two rules.
            vec![("/spec/storage/size", json!("1023Mi"))],
        ),
        (
            STORAGE[3],
            vec![("/spec/storage/autoGrow", json!({"maxSize": "9Gi"}))],
        ),
        (
            POD_TEMPLATE[0],
            vec![(
                "/spec/podTemplate/labels",
                json!({"lograft.io/cluster": "x"}),
            )],
        ),
        (
            POD_TEMPLATE[1],
            vec![(
                "/spec/podTemplate/annotations",
                json!({"lograft.io/rollout-hash": "x"}),
            )],
        ),
        (
            POD_TEMPLATE[2],
            vec![(
                "/spec/podTemplate/env",
                json!([{"name": "LOGRAFT_LOG", "value": "x"}]),
            )],
        ),
        (TLS[0], vec![("/spec/tls/mode", json!("certManager"))]),
        (TLS[1], vec![("/spec/tls/caValidity", json!("2160h"))]),
        (TLS[2], vec![("/spec/tls/renewBefore", json!("2160h"))]),
        (LOG[0], vec![("/spec/log/segmentSize", json!("65Mi"))]),
        (LOG[1], vec![("/spec/log/maxBatchSize", json!("3077Ki"))]),
        (LOG[2], vec![("/spec/log/maxRecordSize", json!("1023"))]),
        (LOG[2], vec![("/spec/log/maxRecordSize", json!("3073Ki"))]),
        (
            LOG[3],
            vec![
                ("/spec/log/maxRecordSize", json!("3Mi")),
                ("/spec/log/maxBatchSize", json!("3Mi")),
            ],
        ),
        (
            RETENTION[0],
            vec![("/spec/log/retention/size", json!("1023Ki"))],
        ),
        (
            STATUS[0],
            vec![(
                "/status/clusterId",
                json!("11111111-93a5-4e2e-8d9c-3a1f6f1f0a55"),
            )],
        ),
        (STATUS[1], bootstrapping(1)),
        (STATUS[2], vec![("/status/bootstrapped", json!(false))]),
    ];
    cases.extend(breaking_access());
    cases
}

/// The same for the rules about who finds and who may use the cluster.
fn breaking_access() -> Vec<(Rule, Vec<(&'static str, Value)>)> {
    vec![
        (
            AUTHORIZATION[0],
            vec![(
                "/spec/authorization",
                json!({"enabled": true, "mode": "disabled"}),
            )],
        ),
        (
            AUTHORIZATION[1],
            vec![(
                "/spec/authorization",
                json!({"enabled": false, "superUsers": ["root", "user/a", "user/shop/a", "a/b"]}),
            )],
        ),
        (
            RECOVERY[0],
            vec![("/spec/recovery/deadNodeAfter", json!("59s"))],
        ),
        (
            DISCOVERY[0],
            vec![
                ("/spec/discovery/seeds", json!("None")),
                ("/spec/discovery/endpoints", json!(false)),
                ("/spec/discovery/gossip/enabled", json!(false)),
            ],
        ),
        (
            DISCOVERY[1],
            vec![("/spec/discovery/gossip/keyValidity", json!("59m"))],
        ),
        (
            NAMESPACE_SELECTOR[0],
            vec![(
                "/spec/allowedNamespaces",
                json!({"selector": {"matchLabels": {}}}),
            )],
        ),
        (
            HTTP_LISTENER[0],
            vec![(
                "/spec/listeners/http",
                json!({"enabled": true, "corsAllowedOrigins": ["https://a.example", "a.example"]}),
            )],
        ),
    ]
}

/// A cluster that is not bootstrapped yet, by the pod with this ordinal.
fn bootstrapping(ordinal: i32) -> Vec<(&'static str, Value)> {
    vec![
        ("/status/bootstrapped", json!(false)),
        ("/status/bootstrapOrdinal", json!(ordinal)),
    ]
}

#[test]
fn each_rule_refuses_and_says_what_to_do() {
    for (rule, changes) in breaking() {
        let new = cluster(&changes);
        let is_early = rule.rule.contains("oldSelf.bootstrapOrdinal");
        let before = if is_early {
            bootstrapping(0)
        } else {
            Vec::new()
        };
        let old = cluster(&before);
        // Transition rules need the old state; the others run without one.
        let old = rule.rule.contains("oldSelf").then_some(&old);
        let texts = refusals(&new, old);
        assert_eq!(texts.len(), 1, "{}: {texts:?}", rule.rule);
        assert!(texts[0].contains(rule.message), "{texts:?}");
    }
}

#[test]
fn each_rule_lets_the_good_through() {
    assert_eq!(
        refusals(&cluster(&[]), Some(&cluster(&[]))),
        Vec::<String>::new()
    );
    let good = [
        vec![("/metadata/name", json!("n".repeat(40)))],
        vec![("/metadata/name", json!("a-9"))],
        vec![("/spec/log/replicationFactor", json!(3))],
        vec![("/spec/storage/size", json!("11Gi"))],
        vec![("/spec/storage/autoGrow", json!({"maxSize": "10Gi"}))],
        vec![("/spec/podTemplate/labels", json!({"team": "x"}))],
        vec![(
            "/spec/podTemplate/annotations",
            json!({"app.kubernetes.io/x": "y"}),
        )],
        vec![(
            "/spec/podTemplate/env",
            json!([{"name": "TZ", "value": "UTC"}]),
        )],
        vec![
            ("/spec/tls/mode", json!("certManager")),
            ("/spec/tls/issuerRef", json!({"name": "ca"})),
        ],
        vec![("/spec/tls/renewBefore", json!("24h"))],
        vec![("/spec/allowedNamespaces", json!({"names": ["a"]}))],
        vec![(
            "/spec/allowedNamespaces",
            json!({"selector": {"matchLabels": {"team": "a"}}}),
        )],
        vec![("/spec/listeners/http", json!({"enabled": false}))],
        vec![("/spec/listeners/http", json!({"corsAllowedOrigins": []}))],
        vec![("/spec/log/segmentSize", json!("1Mi"))],
        vec![("/spec/log/maxBatchSize", json!("2Mi"))],
        vec![("/spec/log/maxRecordSize", json!("3Mi"))],
        vec![
            ("/spec/log/maxRecordSize", json!("3Mi")),
            ("/spec/log/maxBatchSize", json!("3076Ki")),
        ],
        vec![("/spec/log/retention/size", json!("1Mi"))],
        vec![("/status", Value::Null)],
    ];
    for changes in good {
        let texts = refusals(&cluster(&changes), Some(&cluster(&[])));
        assert_eq!(texts, Vec::<String>::new(), "{changes:?}");
    }
}

/// The same as in the configuration of a node.
#[test]
fn origins_have_a_scheme_and_a_host_and_nothing_else() {
    let refusals = |origin: &str| {
        let http = json!({"enabled": true, "corsAllowedOrigins": [origin]});
        refusals(&cluster(&[("/spec/listeners/http", http)]), None)
    };
    let good = [
        "https://a.example",
        "http://localhost:3000",
        "https://[::1]:8443",
        "https://x-1.a.example",
    ];
    for origin in good {
        assert_eq!(refusals(origin), [""; 0], "{origin}");
    }
    for origin in [
        "",
        "*",
        "a.example",
        "https://",
        "https://a.example/",
        "https://a_b",
        "null",
    ] {
        assert_eq!(refusals(origin).len(), 1, "{origin}");
    }
}

/// Removing or adding a class is also a change.
#[test]
fn a_storage_class_neither_comes_nor_goes() {
    let with = cluster(&[]);
    let without = cluster(&[("/spec/storage/storageClassName", Value::Null)]);
    assert_eq!(refusals(&without, Some(&with)).len(), 1);
    assert_eq!(refusals(&with, Some(&without)).len(), 1);
    assert_eq!(refusals(&without, Some(&without)).len(), 0);
}

/// The first cluster id is accepted; changing or removing it is not.
#[test]
fn a_cluster_id_comes_and_stays() {
    let with = cluster(&[]);
    let without = cluster(&[("/status/clusterId", Value::Null)]);
    assert_eq!(refusals(&with, Some(&without)).len(), 0);
    assert_eq!(refusals(&without, Some(&with)).len(), 1);
}

/// The choice of the pod that bootstraps is accepted; changing or removing it is not, until the
/// cluster is bootstrapped: a former operator does not know the field.
#[test]
fn the_pod_that_bootstraps_is_chosen_once() {
    let chosen = cluster(&bootstrapping(1));
    let before = cluster(&[("/status/bootstrapped", json!(false))]);
    let after = cluster(&[]);
    assert_eq!(refusals(&chosen, Some(&before)).len(), 0);
    assert_eq!(refusals(&chosen, Some(&chosen)).len(), 0);
    assert_eq!(refusals(&before, Some(&chosen)).len(), 1);
    assert_eq!(refusals(&after, Some(&chosen)).len(), 0);
}

/// Every rule has a case.
#[test]
fn each_rule_stands_in_the_schema_and_has_a_case() {
    let standing = rules_of(&root());
    let wanted = [
        ("", ROOT),
        (".spec", SPEC),
        (".spec.storage", STORAGE),
        (".spec.podTemplate", POD_TEMPLATE),
        (".spec.discovery", DISCOVERY),
        (".spec.recovery", RECOVERY),
        (".spec.tls", TLS),
        (".spec.authorization", AUTHORIZATION),
        (".spec.allowedNamespaces.selector", NAMESPACE_SELECTOR),
        (".spec.listeners.http", HTTP_LISTENER),
        (".spec.log", LOG),
        (".spec.log.retention", RETENTION),
        (".status", STATUS),
    ];
    let wanted: Vec<(String, Value)> = wanted
        .iter()
        .flat_map(|(path, rules)| rules.iter().map(move |rule| (path, rule)))
        .map(|(path, rule)| ((*path).to_owned(), serde_json::to_value(rule).unwrap()))
        .collect();
    for rule in &wanted {
        assert!(standing.contains(rule), "not in the schema: {rule:?}");
    }
    assert_eq!(standing.len(), wanted.len());
    let cases: Vec<Value> = breaking()
        .iter()
        .map(|(rule, _)| serde_json::to_value(rule).unwrap())
        .collect();
    for (path, rule) in &standing {
        assert!(cases.contains(rule), "no case for {path} {rule}");
    }
}

/// One line that names the field and, after a colon, what to do.
#[test]
fn texts_name_the_field_and_what_to_do() {
    for (rule, _) in breaking() {
        let (field, advice) = rule.message.split_once(':').unwrap();
        let field = field.split(' ').next().unwrap();
        let known = ["spec.", "status.", "metadata."]
            .iter()
            .any(|head| field.starts_with(head));
        assert!(known, "{}", rule.message);
        assert!(
            advice.len() > 10 && !rule.message.contains('\n'),
            "{}",
            rule.message
        );
    }
}

/// The literals in rules equal the bounds in limits.rs.
#[test]
fn bounds_in_rules_are_the_limits() {
    use lograft_crds::ByteSize;
    use lograft_crds::limits::{
        BATCH_MAX_BYTES, BATCH_OVERHEAD_MAX_BYTES, CLUSTER_NAME_MAX_BYTES, DISK_MIN_BYTES,
        RECORD_MAX_BYTES, RECORD_MIN_BYTES, SEGMENT_MAX_BYTES, SEGMENT_MIN_BYTES,
    };
    let quantities = |rule: &Rule| -> Vec<u64> {
        let parts = rule.rule.split("quantity('").skip(1);
        parts
            .map(|part| {
                ByteSize::from(part.split('\'').next().unwrap())
                    .bytes()
                    .unwrap()
            })
            .collect()
    };
    assert!(
        ROOT[0]
            .rule
            .ends_with(&format!("<= {CLUSTER_NAME_MAX_BYTES}"))
    );
    assert_eq!(quantities(&STORAGE[2]), [DISK_MIN_BYTES]);
    assert_eq!(quantities(&LOG[0]), [SEGMENT_MIN_BYTES, SEGMENT_MAX_BYTES]);
    assert_eq!(quantities(&LOG[1]), [BATCH_MAX_BYTES]);
    assert_eq!(quantities(&LOG[2]), [RECORD_MIN_BYTES, RECORD_MAX_BYTES]);
    assert_eq!(quantities(&LOG[3]), [BATCH_OVERHEAD_MAX_BYTES]);
    assert_eq!(quantities(&RETENTION[0]), [SEGMENT_MIN_BYTES]);
}
