//! Volumes on hosts that are gone. There are no controllers here: the case writes the objects.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::said::blocked_for;
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

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
    // The Node has another name than its host: the label counts.
    let labels: Value = json!({"kubernetes.io/hostname": host});
    let node = json!({"metadata": {"name": format!("{host}.internal"), "labels": labels}});
    let node: Node = serde_json::from_value(node)?;
    let nodes: Api<Node> = Api::all(sandbox.client.clone());
    nodes.create(&PostParams::default(), &node).await?;
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
