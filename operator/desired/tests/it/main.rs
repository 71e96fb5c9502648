//! From a LogCluster and an observation to the objects and the plan: golden files and properties.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: the panic is the finding"
)]

mod always;
mod authorization;
mod bad_pods;
mod contest;
mod converge;
mod dice;
mod drift;
mod finalize;
mod fleet;
mod golden;
mod http;
mod invalid;
mod lost_hosts;
mod objects;
mod restart;
mod rollout;
mod scale;
mod topic;
mod topic_world;
mod turn;
mod user;
mod versions;
mod worlds;

use std::collections::BTreeSet;

use lograft_crds::log_cluster::MemberRole;
use lograft_crds::names::ClusterNames;
use lograft_crds::{LogCluster, LogClusterStatus};
use lograft_operator_desired::Settings;
use lograft_operator_desired::cluster::build::desired;
use lograft_operator_desired::cluster::{
    ClusterView, Desired, FeatureLevel, NodeState, Observed, ObservedNode, ValidCluster,
};
use serde_json::Value;

const SAMPLES: [&str; 4] = ["minimal", "production", "development", "http"];

/// A sample of kind/samples in the form of the API server, with a cluster ID.
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
        upgrade_clusters: false,
        revision: "0.1.0-sample".to_owned(),
        operator_namespace: "lograft-system".to_owned(),
    }
}

fn build(cluster: &LogCluster, observed: &Observed) -> Desired {
    let valid = ValidCluster::new(cluster).unwrap();
    desired(&valid, observed, &settings()).unwrap()
}

/// A healthy active node.
fn node(id: u64, name: &str) -> ObservedNode {
    ObservedNode {
        id,
        name: name.to_owned(),
        state: NodeState::Active,
        reachable: true,
        version: "0.1.0".to_owned(),
        feature_level: FeatureLevel(0),
        disk_total_bytes: 10 << 30,
        disk_free_bytes: 9 << 30,
        disk_low: false,
        leaders: 0,
        meta: Some(MemberRole::Voter),
        lag_entries: 0,
        certificate_not_after: None,
        roots: Vec::new(),
        gossip_key_ids: Vec::new(),
        waits_for: String::new(),
    }
}

/// A description of `replicas` nodes; those of the ordinals in `emptied` are decommissioned.
fn view(cluster: &LogCluster, replicas: i32, emptied: &BTreeSet<i32>) -> ClusterView {
    let names = ClusterNames(cluster.metadata.name.as_deref().unwrap());
    let nodes = (0..replicas).map(|at| {
        let mut node = node(u64::try_from(at).unwrap() + 1, &names.pod(at));
        if emptied.contains(&at) {
            node.state = NodeState::Removed;
        }
        node
    });
    ClusterView {
        nodes: nodes.collect(),
        ..ClusterView::default()
    }
}

/// The objects as one text, byte for byte as they are applied.
fn text(desired: &Desired) -> String {
    let objects = desired.objects().unwrap();
    let documents = objects
        .iter()
        .map(|object| serde_yaml::to_string(object).unwrap());
    documents.collect::<Vec<_>>().join("---\n")
}

/// The one object of this kind whose name has this ending.
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
