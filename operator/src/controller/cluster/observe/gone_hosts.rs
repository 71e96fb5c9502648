//! Volumes on hosts that are gone: a local volume is bound to its host, and Kubernetes has no Node
//! of that host any more.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
};
use kube::api::ListParams;
use kube::{Api, Client};
use lograft_operator_desired::cluster::{ObservedDisk, ObservedPod};
use tracing::warn;

use crate::error_text::error_text;

/// The label with the name of a host, by which local volumes are bound.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Adds the hosts that are gone to the disks of pods that have no host. Where the operator may not
/// read volumes or hosts, none counts as gone.
pub(super) async fn add(
    client: &Client,
    pods: &BTreeMap<i32, ObservedPod>,
    disks: &mut BTreeMap<i32, ObservedDisk>,
) {
    let has_host = |at: &i32| pods.get(at).is_some_and(|pod| pod.host.is_some());
    for (_, disk) in disks.iter_mut().filter(|(at, _)| !has_host(at)) {
        let Some(volume) = &disk.volume else { continue };
        match gone_host(client, volume).await {
            Ok(gone) => disk.gone_host = gone,
            Err(error) => {
                let error = error_text(&error);
                warn!(volume, error, "cannot read the host of a volume");
            }
        }
    }
}

/// The first host of a volume, if it is bound to hosts that are all gone.
async fn gone_host(client: &Client, volume: &str) -> Result<Option<String>, kube::Error> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let found = volumes.get_opt(volume).await?;
    let hosts = found.as_ref().and_then(hosts_of).unwrap_or_default();
    let nodes: Api<Node> = Api::all(client.clone());
    for host in &hosts {
        // By the label: the name of a Node may be another one.
        let labels = ListParams::default()
            .labels(&format!("{HOSTNAME}={host}"))
            .limit(1);
        if !nodes.list_metadata(&labels).await?.items.is_empty() {
            return Ok(None);
        }
    }
    Ok(hosts.into_iter().next())
}

/// The hosts that a volume can be used on; none if it is not bound to hosts. A volume that some
/// term binds to something else, such as a zone, may be usable elsewhere.
fn hosts_of(volume: &PersistentVolume) -> Option<Vec<String>> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required.as_ref()?.node_selector_terms;
    let hosts: Option<Vec<Vec<String>>> = terms.iter().map(hosts_of_term).collect();
    let hosts: Vec<String> = hosts?.into_iter().flatten().collect();
    (!hosts.is_empty()).then_some(hosts)
}

fn hosts_of_term(term: &NodeSelectorTerm) -> Option<Vec<String>> {
    let is_hosts = |it: &&NodeSelectorRequirement| it.key == HOSTNAME && it.operator == "In";
    let found = term.match_expressions.iter().flatten().find(is_hosts)?;
    found.values.clone().filter(|values| !values.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hosts(terms: &Value) -> Option<Vec<String>> {
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"},
            "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}},
        });
        hosts_of(&serde_json::from_value(volume).unwrap())
    }

    #[test]
    fn only_volumes_that_every_term_binds_to_hosts_have_some() {
        let by = |key: &str, operator: &str, values: &[&str]| {
            let expression = json!({"key": key, "operator": operator, "values": values});
            json!({"matchExpressions": [expression]})
        };
        let host = by(HOSTNAME, "In", &["a"]);
        assert_eq!(hosts(&json!([host])), Some(vec!["a".to_owned()]));
        let two = by(HOSTNAME, "In", &["b", "c"]);
        let all = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(hosts(&json!([host, two])), Some(all));
        let zone = by("topology.kubernetes.io/zone", "In", &["z"]);
        let not = by(HOSTNAME, "NotIn", &["a"]);
        for other in [zone, not, by(HOSTNAME, "In", &[]), json!({})] {
            assert_eq!(hosts(&json!([host, other])), None, "{other}");
        }
        assert_eq!(hosts(&json!([])), None);
        assert_eq!(hosts_of(&PersistentVolume::default()), None);
    }
}
