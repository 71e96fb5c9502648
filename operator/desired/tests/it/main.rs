//! From a LogCluster and a world to the objects: golden files, and what must always hold.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: the panic is the finding"
)]

mod always;
mod converge;
mod golden;
mod objects;
mod rollout;
mod scale;

use lograft_crds::{LogCluster, LogClusterStatus};
use lograft_operator_desired::build::desired;
use lograft_operator_desired::{Desired, Observed, Settings, ValidCluster};
use serde_json::Value;

const SAMPLES: [&str; 3] = ["minimal", "production", "development"];

/// A sample of kind/samples as an API server would give it, with an id.
fn sample(name: &str) -> LogCluster {
    let path = format!(
        "{}/../../kind/samples/{name}.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {path}: {e}"));
    let mut cluster: LogCluster = serde_yaml::from_str(&text).unwrap();
    cluster.metadata.namespace = Some("prod".to_owned());
    cluster.metadata.uid = Some("6f2c1a9e-0d7b-4a51-9a3e-5b1c2d3e4f50".to_owned());
    cluster.status = Some(LogClusterStatus {
        cluster_id: Some("0b6f1c0e-93a5-4e2e-8d9c-3a1f6f1f0a55".to_owned()),
        ..LogClusterStatus::default()
    });
    cluster
}

fn settings() -> Settings {
    Settings {
        image_repository: "registry.example/lograft/node".to_owned(),
        version: "0.1.0".to_owned(),
        operator_namespace: "lograft-system".to_owned(),
    }
}

fn build(cluster: &LogCluster, observed: &Observed) -> Desired {
    let valid = ValidCluster::new(cluster).unwrap();
    desired(&valid, observed, &settings()).unwrap()
}

/// The objects as one text: what is applied, byte for byte.
fn text(desired: &Desired) -> String {
    let objects = desired.objects().unwrap();
    let documents = objects
        .iter()
        .map(|object| serde_yaml::to_string(object).unwrap());
    documents.collect::<Vec<_>>().join("---\n")
}

/// The one object of this kind whose name ends so.
fn object(desired: &Desired, kind: &str, ending: &str) -> Value {
    let objects = desired.objects().unwrap();
    let fits = |o: &&Value| {
        let name = o["metadata"]["name"].as_str().unwrap();
        o["kind"] == kind && name.ends_with(ending)
    };
    let mut hits = objects.iter().filter(fits);
    let hit = hits
        .next()
        .unwrap_or_else(|| panic!("no {kind} that ends in {ending:?}"));
    assert!(hits.next().is_none(), "two {kind}s end in {ending:?}");
    hit.clone()
}
