use k8s_openapi::api::core::v1::EnvVar;
use lograft_crds::LogClusterStatus;
use lograft_crds::log_cluster::{AutoGrow, ExternalListener, ExternalType};

use super::*;

fn cluster() -> LogCluster {
    let mut cluster = LogCluster::new("events", LogClusterSpec::default());
    cluster.metadata.namespace = Some("prod".to_owned());
    cluster.metadata.uid = Some("u".to_owned());
    cluster
}

fn error(change: impl FnOnce(&mut LogCluster)) -> ValidationError {
    let mut cluster = cluster();
    change(&mut cluster);
    ValidCluster::new(&cluster).unwrap_err()
}

fn invalid_field(change: impl FnOnce(&mut LogClusterSpec)) -> &'static str {
    match error(|cluster| change(&mut cluster.spec)) {
        ValidationError::Field { field, .. }
        | ValidationError::Quantity { field, .. }
        | ValidationError::Unsupported { field, .. }
        | ValidationError::Missing { field } => field,
    }
}

#[test]
fn a_stored_cluster_is_valid() {
    let mut raw = cluster();
    raw.status = Some(LogClusterStatus {
        cluster_id: Some("id".to_owned()),
        ..LogClusterStatus::default()
    });
    let valid = ValidCluster::new(&raw).unwrap();
    assert_eq!(
        (&*valid.name, &*valid.namespace, &*valid.uid),
        ("events", "prod", "u")
    );
    assert_eq!(valid.segment_bytes, 64 << 20);
    assert_eq!(valid.cluster_id.as_deref(), Some("id"));
}

#[test]
fn an_object_that_was_not_stored_is_invalid() {
    let missing = |field| ValidationError::Missing { field };
    assert_eq!(error(|c| c.metadata.uid = None), missing("metadata.uid"));
    assert_eq!(
        error(|c| c.metadata.namespace = None),
        missing("metadata.namespace")
    );
    assert_eq!(
        error(|c| c.metadata.name = Some(String::new())),
        missing("metadata.name")
    );
}

#[test]
fn names_that_a_service_cannot_have_are_invalid() {
    for name in ["9lives", "a.b", "A", "a-", "-a", &"n".repeat(41)] {
        let found = error(|c| c.metadata.name = Some(name.to_owned()));
        assert!(found.to_string().contains("metadata.name"), "{found}");
    }
    let mut longest = cluster();
    longest.metadata.name = Some("n".repeat(40));
    assert!(ValidCluster::new(&longest).is_ok());
}

#[test]
fn values_out_of_bounds_are_invalid() {
    assert_eq!(invalid_field(|s| s.replicas = 0), "spec.replicas");
    assert_eq!(invalid_field(|s| s.replicas = 100), "spec.replicas");
    assert_eq!(
        invalid_field(|s| s.log.partitions = 0),
        "spec.log.partitions"
    );
    let factor = "spec.log.replicationFactor";
    assert_eq!(
        invalid_field(|s| s.log.replication_factor = Some(4)),
        factor
    );
    assert_eq!(
        invalid_field(|s| s.log.replication_factor = Some(0)),
        factor
    );
    let size = "spec.storage.size";
    assert_eq!(invalid_field(|s| s.storage.size = "1023Mi".into()), size);
    assert_eq!(invalid_field(|s| s.storage.size = "much".into()), size);
    let grow = |text: &str| AutoGrow {
        max_size: text.into(),
        threshold_percent: 80,
    };
    let max = "spec.storage.autoGrow.maxSize";
    assert_eq!(
        invalid_field(|s| s.storage.auto_grow = Some(grow("9Gi"))),
        max
    );
    assert_eq!(
        invalid_field(|s| s.log.segment_size = "65Mi".into()),
        "spec.log.segmentSize"
    );
}

#[test]
fn keys_of_the_operator_are_invalid() {
    let key = |key: &str| [(key.to_owned(), "x".to_owned())].into();
    let pods = |field: &str| format!("spec.podTemplate.{field}");
    let label = invalid_field(|s| s.pod_template.labels = key("lograft.io/cluster"));
    assert_eq!(label, pods("labels"));
    let note = invalid_field(|s| s.pod_template.annotations = key("lograft.io/rollout-hash"));
    assert_eq!(note, pods("annotations"));
    for name in ["LOGRAFT_LOG", "POD_NAME"] {
        let env = EnvVar {
            name: name.to_owned(),
            ..EnvVar::default()
        };
        assert_eq!(
            invalid_field(|s| s.pod_template.env = vec![env]),
            pods("env")
        );
    }
}

#[test]
fn the_maximum_batch_size_is_bounded() {
    for size in ["1023", "0", "3077Ki", "x"] {
        let found = invalid_field(|s| s.log.max_batch_size = Some(size.into()));
        assert_eq!(found, "spec.log.maxBatchSize", "{size}");
    }
    for size in ["1023", "0", "3073Ki", "x"] {
        let found = invalid_field(|s| s.log.max_record_size = Some(size.into()));
        assert_eq!(found, "spec.log.maxRecordSize", "{size}");
    }
    let found = invalid_field(|s| {
        s.log.max_batch_size = Some("3Mi".into());
        s.log.max_record_size = Some("3Mi".into());
    });
    assert_eq!(found, "spec.log.maxRecordSize");
}

#[test]
fn unsupported_features_are_invalid() {
    let external = ExternalListener {
        service_type: ExternalType::NodePort,
        annotations: std::collections::BTreeMap::new(),
    };
    let found = invalid_field(|s| s.listeners.external = Some(external));
    assert_eq!(found, "spec.listeners.external");
    let found = invalid_field(|s| s.observability.otlp_endpoint = Some("http://x".to_owned()));
    assert_eq!(found, "spec.observability.otlpEndpoint");
    let found = invalid_field(|s| s.observability.service_monitor = true);
    assert_eq!(found, "spec.observability.serviceMonitor");
    let found = invalid_field(|s| s.tls.mode = TlsMode::CertManager);
    assert_eq!(found, "spec.tls.mode certManager");
}

#[test]
fn errors_name_field_and_bound() {
    let text = error(|c| c.spec.replicas = 100).to_string();
    assert_eq!(text, "spec.replicas must be between 1 and 99, got 100");
    let text = error(|c| c.spec.observability.service_monitor = true).to_string();
    assert!(text.contains("remove it"), "{text}");
}
