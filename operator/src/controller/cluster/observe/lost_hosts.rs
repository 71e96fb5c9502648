//! Hosts of disks that seem to be lost: a local volume is bound to its host, and Kubernetes has no
//! Node of that host any more, or the Node is not ready.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
};
use kube::api::ListParams;
use kube::{Api, Client};
use lograft_crds::limits::NODES_OF_HOST_MAX_COUNT;
use lograft_crds::names::TAINT_OUT_OF_SERVICE;
use lograft_operator_desired::cluster::{DiskHost, HostLoss, ObservedDisk, ObservedPod};
use tracing::warn;

use crate::error_text::error_text;

/// The label with the name of a host, by which local volumes are bound.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Adds the hosts that seem to be lost at `now`, seconds since 1970, to the disks of pods that are
/// not ready. Where the operator may not read volumes or hosts, none does.
pub(super) async fn add(
    client: &Client,
    pods: &BTreeMap<i32, ObservedPod>,
    disks: &mut BTreeMap<i32, ObservedDisk>,
    now: i64,
) {
    let is_ready = |at: &i32| pods.get(at).is_some_and(|pod| pod.ready);
    for (at, disk) in disks.iter_mut().filter(|(at, _)| !is_ready(at)) {
        let Some(volume) = &disk.volume else { continue };
        let pod_host = pods.get(at).and_then(|pod| pod.host.as_deref());
        match lost_host(client, volume, pod_host, now).await {
            Ok(lost) => disk.lost_host = lost,
            Err(error) => {
                let error = error_text(&error);
                warn!(volume, error, "cannot read the host of a volume");
            }
        }
    }
}

/// The host of a volume, if all hosts that it can be used on seem to be lost; or that of its pod,
/// if the volume can be used on others.
async fn lost_host(
    client: &Client,
    volume: &str,
    pod_host: Option<&str>,
    now: i64,
) -> Result<Option<DiskHost>, kube::Error> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let nodes: Api<Node> = Api::all(client.clone());
    let Some(found) = volumes.get_opt(volume).await? else {
        return Ok(None);
    };
    let Some(hosts) = hosts_of(&found) else {
        let Some(host) = pod_host else {
            return Ok(None);
        };
        // Kubernetes itself moves the pod from a host that is gone or out of service.
        let loss = nodes.get_opt(host).await?.and_then(|node| loss(&node, now));
        return Ok(match loss {
            Some(loss @ HostLoss::Unreachable { .. }) => Some(DiskHost {
                name: host.to_owned(),
                loss,
                can_move: true,
            }),
            Some(HostLoss::OutOfService { .. } | HostLoss::Gone) | None => None,
        });
    };
    let mut losses = Vec::with_capacity(hosts.len());
    for host in &hosts {
        // By the label: the name of a Node may be another one.
        let labels = ListParams::default()
            .labels(&format!("{HOSTNAME}={host}"))
            .limit(NODES_OF_HOST_MAX_COUNT);
        let found = nodes.list(&labels).await?.items;
        let Some(loss) = loss_of_all(found.iter().map(|node| loss(node, now))) else {
            return Ok(None);
        };
        losses.push(Some(loss));
    }
    let loss = loss_of_all(losses.into_iter());
    let name = hosts.into_iter().next();
    Ok(name.zip(loss).map(|(name, loss)| DiskHost {
        name,
        loss,
        can_move: false,
    }))
}

/// The least sure and then last loss; none if one of the hosts is not lost. Without a Node: gone.
fn loss_of_all(mut losses: impl Iterator<Item = Option<HostLoss>>) -> Option<HostLoss> {
    losses.try_fold(HostLoss::Gone, |all, one| one.map(|one| one.max(all)))
}

/// Why the host of a Node seems to be lost; none if it is ready. A Node that has not reported yet
/// has just been registered.
fn loss(node: &Node, now: i64) -> Option<HostLoss> {
    let conditions = node.status.as_ref()?.conditions.iter().flatten();
    let ready = conditions.into_iter().find(|it| it.type_ == "Ready")?;
    if ready.status == "True" {
        return None;
    }
    let since = ready.last_transition_time.as_ref();
    let since = since.map_or(now, |since| since.0.as_second());
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let mut taints = taints.into_iter().flatten();
    Some(if taints.any(|taint| taint.key == TAINT_OUT_OF_SERVICE) {
        HostLoss::OutOfService { since }
    } else {
        HostLoss::Unreachable { since }
    })
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

    const CHANGED: &str = "2026-01-01T00:00:00Z";
    const NOW: i64 = 1_800_000_000;

    fn loss_of(ready: &Value, taints: &Value) -> Option<HostLoss> {
        let node = json!({
            "metadata": {"name": "a"}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "DiskPressure", "status": "False"}, ready]},
        });
        loss(&serde_json::from_value(node).unwrap(), NOW)
    }

    #[test]
    fn a_host_seems_to_be_lost_while_its_node_is_not_ready() {
        let ready = |status: &str| json!({"type": "Ready", "status": status, "lastTransitionTime": CHANGED});
        let since = CHANGED.parse::<k8s_openapi::jiff::Timestamp>().unwrap();
        let since = since.as_second();
        let usual = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);
        let off = json!([{"key": TAINT_OUT_OF_SERVICE, "effect": "NoExecute"}]);
        for status in ["False", "Unknown"] {
            let unreachable = Some(HostLoss::Unreachable { since });
            assert_eq!(loss_of(&ready(status), &usual), unreachable, "{status}");
            let out = Some(HostLoss::OutOfService { since });
            assert_eq!(loss_of(&ready(status), &off), out, "{status}");
        }
        // The taint of a host that is back is for somebody to remove.
        assert_eq!(loss_of(&ready("True"), &off), None);
        assert_eq!(loss(&Node::default(), NOW), None);
        let undated = json!({"type": "Ready", "status": "Unknown"});
        let unreachable = Some(HostLoss::Unreachable { since: NOW });
        assert_eq!(loss_of(&undated, &json!([])), unreachable);
    }

    #[test]
    fn the_least_sure_and_last_loss_counts() {
        let all = |losses: &[Option<HostLoss>]| loss_of_all(losses.iter().copied());
        let unreachable = |since| Some(HostLoss::Unreachable { since });
        let off = Some(HostLoss::OutOfService { since: 9 });
        assert_eq!(all(&[]), Some(HostLoss::Gone));
        assert_eq!(all(&[off, Some(HostLoss::Gone)]), off);
        assert_eq!(all(&[unreachable(3), off, unreachable(2)]), unreachable(3));
        // Another Node with the same label is ready: the host was registered again.
        assert_eq!(all(&[unreachable(3), None]), None);
    }
}
