//! Volumes on hosts that are lost. There are no controllers here: the cases write the objects.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lograft_crds::LogClusterStatus;
use lograft_crds::names::TAINT_OUT_OF_SERVICE;
use serde_json::{Value, json};

use super::said::blocked_for;
use crate::nodes::Mood;
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

/// More than `spec.recovery.deadNodeAfter` of the case with an unreachable host.
const RELEASED_MAX: Duration = Duration::from_secs(100);

/// Creates the claim of the first pod, bound to a local volume of this host. Both names are unique.
async fn create_disk(sandbox: &Sandbox, host: &str) -> anyhow::Result<()> {
    let set = await_condition("the StatefulSet", || async {
        Ok(sandbox.api::<StatefulSet>().get_opt("events").await?)
    })
    .await?;
    let template = set.spec.context("no spec")?.template;
    let labels = template.metadata.context("no metadata")?.labels;
    let claim = json!({
        "metadata": {"name": "data-events-0", "labels": labels},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "local", "volumeName": host,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    let claim: PersistentVolumeClaim = serde_json::from_value(claim)?;
    let api = sandbox.api::<PersistentVolumeClaim>();
    api.create(&PostParams::default(), &claim).await?;
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [host]});
    let volume = json!({
        "metadata": {"name": host},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
            "capacity": {"storage": "1Gi"}, "local": {"path": "/disk"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    });
    let volume: PersistentVolume = serde_json::from_value(volume)?;
    let volumes: Api<PersistentVolume> = Api::all(sandbox.client.clone());
    volumes.create(&PostParams::default(), &volume).await?;
    Ok(())
}

/// Registers the host. The Node has another name than its host: the label counts.
async fn create_node(sandbox: &Sandbox, host: &str) -> anyhow::Result<Api<Node>> {
    let labels: Value = json!({"kubernetes.io/hostname": host});
    let node = json!({"metadata": {"name": format!("{host}.internal"), "labels": labels}});
    let node: Node = serde_json::from_value(node)?;
    let nodes: Api<Node> = Api::all(sandbox.client.clone());
    nodes.create(&PostParams::default(), &node).await?;
    Ok(nodes)
}

/// Waits until the claim's host is blocked on with this sentence.
async fn await_sentence(sandbox: &Sandbox, sentence: &str) -> anyhow::Result<()> {
    let found = sandbox.status("the lost host", |status| {
        let lost = blocked_for(status, "HostLost");
        lost.is_some_and(|lost| lost.message == sentence)
    });
    let status = found.await?;
    let lost = blocked_for(&status, "HostLost").context("no entry")?;
    let subject = "PersistentVolumeClaim data-events-0";
    ensure!(lost.subject.as_deref() == Some(subject), "{lost:?}");
    Ok(())
}

async fn look(sandbox: &Sandbox, host: &str) -> anyhow::Result<()> {
    let gone = format!("host {host} of PVC data-events-0 is gone: ");
    let kept = "the PVC is kept until a node describes the cluster";
    await_sentence(sandbox, &format!("{gone}{kept}")).await?;
    let policy = |lost_host: &str| json!({"recovery": {"lostHost": lost_host}});
    sandbox.change(policy("Keep")).await?;
    let kept = "events-0 can start only there; set spec.recovery.lostHost to Replace, or delete \
                the PVC and the pod, to start it elsewhere without its data";
    await_sentence(sandbox, &format!("{gone}{kept}")).await?;
    let nodes = create_node(sandbox, host).await?;
    let is_back = sandbox.status("the host to be back", |status| {
        blocked_for(status, "HostLost").is_none()
    });
    let is_back = is_back.await;
    let name = format!("{host}.internal");
    nodes.delete(&name, &DeleteParams::default()).await?;
    is_back?;
    let claims = sandbox.api::<PersistentVolumeClaim>();
    let claim = claims.get("data-events-0").await?;
    ensure!(claim.metadata.deletion_timestamp.is_none(), "{claim:?}");
    Ok(())
}

pub(super) async fn a_volume_on_a_host_that_is_gone_is_named(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    operator.nodes().run(sandbox, "events").await?;
    let host = format!("host-of-{}", sandbox.namespace);
    create_disk(sandbox, &host).await?;
    let looked = look(sandbox, &host).await;
    let volumes: Api<PersistentVolume> = Api::all(sandbox.client.clone());
    volumes.delete(&host, &DeleteParams::default()).await?;
    looked
}

/// Creates a pod of the StatefulSet that has an address and runs on a host, if one is named.
async fn create_pod(sandbox: &Sandbox, name: &str, node: Option<&str>) -> anyhow::Result<()> {
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let mut pod = serde_json::to_value(set.spec.context("no spec")?.template)?;
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "events", "controller": true,
        "uid": set.metadata.uid,
    }]);
    pod["spec"]["nodeName"] = json!(node);
    let claim = format!("data-{name}");
    let disk = json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}});
    let volumes = pod["spec"]["volumes"].as_array_mut();
    volumes.context("no volumes")?.push(disk);
    let pod: Pod = serde_json::from_value(pod)?;
    let pods = sandbox.api::<Pod>();
    pods.create(&PostParams::default(), &pod).await?;
    let status = json!({"status": {"phase": "Running", "podIP": "192.0.2.1"}});
    let patch = Patch::Merge(status);
    pods.patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn set_taints(nodes: &Api<Node>, name: &str, taints: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
    nodes.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn release(sandbox: &Sandbox, nodes: &Api<Node>, node: &str) -> anyhow::Result<()> {
    let host = node.trim_end_matches(".internal");
    let ready = json!({
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let patch = Patch::Merge(json!({"status": {"conditions": [ready]}}));
    nodes
        .patch_status(node, &PatchParams::default(), &patch)
        .await?;
    let of_claim = format!("host {host} of PVC data-events-0 is");
    let kept = "events-0 can start only there; if the host does not return, delete its Node, or \
                taint it node.kubernetes.io/out-of-service, or set spec.recovery.lostHost to \
                ReplaceUnreachable, to start the pod elsewhere without its data";
    await_sentence(sandbox, &format!("{of_claim} unreachable: {kept}")).await?;
    let later = "after 60 s the PVC is deleted, and events-0 starts elsewhere as a new node";
    let off = json!([{"key": TAINT_OUT_OF_SERVICE, "value": "x", "effect": "NoExecute"}]);
    set_taints(nodes, node, off).await?;
    await_sentence(sandbox, &format!("{of_claim} out of service: {later}")).await?;
    set_taints(nodes, node, json!([])).await?;
    await_sentence(sandbox, &format!("{of_claim} unreachable: {kept}")).await?;
    // Kubernetes evicts the pod, and no kubelet confirms its end.
    let pods = sandbox.api::<Pod>();
    pods.delete("events-0", &DeleteParams::default()).await?;
    let policy = json!({"recovery": {"lostHost": "ReplaceUnreachable"}});
    sandbox.change(policy).await?;
    await_sentence(sandbox, &format!("{of_claim} unreachable: {later}")).await?;
    let pod = pods.get("events-0").await?;
    ensure!(pod.metadata.deletion_timestamp.is_some(), "{pod:?}");
    let is_released = |status: &LogClusterStatus| {
        let lost = blocked_for(status, "HostLost");
        lost.is_some_and(|lost| lost.message.contains("deleting the PVC"))
    };
    let released = sandbox.status_for(RELEASED_MAX, "the release of the PVC", is_released);
    released.await?;
    let pod = pods.get_opt("events-0").await?;
    ensure!(pod.is_none(), "{pod:?}");
    // Kubernetes removes its finalizer once no pod uses it.
    let claims = sandbox.api::<PersistentVolumeClaim>();
    let claim = claims.get_opt("data-events-0").await?;
    let is_deleted = |claim: &PersistentVolumeClaim| claim.metadata.deletion_timestamp.is_some();
    ensure!(claim.as_ref().is_none_or(is_deleted), "{claim:?}");
    let other = pods.get("events-1").await?;
    ensure!(other.metadata.deletion_timestamp.is_none(), "{other:?}");
    Ok(())
}

pub(super) async fn a_volume_on_an_unreachable_host_is_released_on_request(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let recovery = json!({"recovery": {"deadNodeAfter": "1m"}});
    sandbox.create(recovery).await?;
    let cluster = operator.nodes().run(sandbox, "events").await?;
    cluster.set_mood(Mood::FirstLost);
    let host = format!("host-of-{}", sandbox.namespace);
    let node = format!("{host}.internal");
    create_disk(sandbox, &host).await?;
    let nodes = create_node(sandbox, &host).await?;
    create_pod(sandbox, "events-0", Some(&node)).await?;
    create_pod(sandbox, "events-1", None).await?;
    let released = release(sandbox, &nodes, &node).await;
    nodes.delete(&node, &DeleteParams::default()).await?;
    let volumes: Api<PersistentVolume> = Api::all(sandbox.client.clone());
    volumes.delete(&host, &DeleteParams::default()).await?;
    released
}
