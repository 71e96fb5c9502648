//! Objects that the operator creates, restores and does not touch.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

/// Eleven objects, five Secrets, and the LogCluster.
pub(super) const WHOLE: usize = 17;

/// Creates a cluster and waits until all of its objects exist.
pub(super) async fn whole(sandbox: &Sandbox) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    await_whole(sandbox).await?;
    quiet(sandbox).await
}

async fn await_whole(sandbox: &Sandbox) -> anyhow::Result<()> {
    await_condition("all objects", || async {
        Ok((sandbox.objects("uid").await?.len() == WHOLE).then_some(()))
    })
    .await
}

/// Waits until nothing has changed for some seconds.
pub(super) async fn quiet(sandbox: &Sandbox) -> anyhow::Result<()> {
    await_condition("quiet", || async {
        let before = sandbox.objects("resourceVersion").await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok((sandbox.objects("resourceVersion").await? == before).then_some(()))
    })
    .await
}

pub(super) async fn a_new_cluster_gets_its_objects_and_is_then_quiet(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let status = sandbox.status("certificates", |s| s.ca.is_some()).await?;
    ensure!(
        status.cluster_id.is_some() && !status.bootstrapped,
        "{status:?}"
    );
    let secret = sandbox.api::<Secret>().get("events-node-tls").await?;
    let fields: Vec<String> = secret.data.unwrap_or_default().into_keys().collect();
    let pod = |at| [format!("events-{at}.crt"), format!("events-{at}.key")];
    let mut wanted: Vec<String> = (0..3).flat_map(pod).collect();
    wanted.insert(0, "ca.crt".to_owned());
    ensure!(fields == wanted, "{fields:?}");
    let before = sandbox.objects("resourceVersion").await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let after = sandbox.objects("resourceVersion").await?;
    ensure!(
        before == after,
        "unnecessary writes:\n{before:#?}\n{after:#?}"
    );
    Ok(())
}

pub(super) async fn deleted_objects_are_recreated(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let before = sandbox.objects("uid").await?;
    delete!(
        sandbox,
        Service: "events-client",
        Service: "events-nodes",
        Service: "events-ready",
        Role: "events-node",
        RoleBinding: "events-node",
        ConfigMap: "events-config",
        ConfigMap: "events-peers",
        ServiceAccount: "events-node",
        PodDisruptionBudget: "events-nodes",
        NetworkPolicy: "events-nodes",
        Secret: "events-admin-tls",
        Secret: "events-ca",
        Secret: "events-gossip-keys",
        StatefulSet: "events"
    );
    await_condition("all objects but three to be recreated", || async {
        let after = sandbox.objects("uid").await?;
        let stayed = before
            .iter()
            .filter(|object| after.contains(object))
            .count();
        // The LogCluster, and the Secrets of the nodes and the operator, were not deleted.
        Ok((after.len() == WHOLE && stayed == 3).then_some(()))
    })
    .await?;
    // The root of the lost CA stays trusted next to the new one: its certificates are still in use.
    let roots = |secret: Secret| {
        let data = secret.data.unwrap_or_default();
        let text = data
            .get("ca.crt")
            .map(|text| text.0.clone())
            .unwrap_or_default();
        String::from_utf8_lossy(&text)
            .matches("BEGIN CERTIFICATE")
            .count()
    };
    await_condition("two roots", || async {
        let secret = sandbox.api::<Secret>().get("events-node-tls").await?;
        Ok((roots(secret) == 2).then_some(()))
    })
    .await?;
    quiet(sandbox).await
}

/// Waits until the edits of [`edited_objects_are_restored`] are reverted.
async fn await_restored(sandbox: &Sandbox) -> anyhow::Result<()> {
    await_condition("edits to be reverted", || async {
        let config = sandbox
            .api::<ConfigMap>()
            .get("events-config")
            .await?
            .data
            .unwrap_or_default();
        let set = sandbox
            .api::<StatefulSet>()
            .get("events")
            .await?
            .spec
            .unwrap_or_default();
        let nodes = sandbox
            .api::<Service>()
            .get("events-nodes")
            .await?
            .spec
            .unwrap_or_default();
        let secret = sandbox
            .api::<Secret>()
            .get("events-node-tls")
            .await?
            .data
            .unwrap_or_default();
        let key = secret
            .get("events-0.key")
            .map(|key| key.0.len())
            .unwrap_or_default();
        let is_restored = config.get("events-1.yaml").is_some_and(|text| text != "x")
            && set.replicas == Some(3)
            && nodes.publish_not_ready_addresses == Some(true)
            && key > 100
            && sandbox.objects("uid").await?.len() == WHOLE;
        Ok(is_restored.then_some(()))
    })
    .await
}

pub(super) async fn edited_objects_are_restored(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let label = |value: Value| json!({"metadata": {"labels": {"lograft.io/cluster": value}}});
    sandbox
        .edit::<Service>("events-client", label(json!("other")))
        .await?;
    sandbox
        .edit::<ConfigMap>("events-peers", label(Value::Null))
        .await?;
    let unlabelled = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    sandbox
        .edit::<NetworkPolicy>("events-nodes", unlabelled)
        .await?;
    sandbox
        .edit::<ConfigMap>("events-config", json!({"data": {"events-1.yaml": "x"}}))
        .await?;
    sandbox
        .edit::<StatefulSet>("events", json!({"spec": {"replicas": 1}}))
        .await?;
    sandbox
        .edit::<Service>(
            "events-nodes",
            json!({"spec": {"publishNotReadyAddresses": false}}),
        )
        .await?;
    let key = json!({"data": {"events-0.key": "eA=="}});
    sandbox.edit::<Secret>("events-node-tls", key).await?;
    // Fields that others add stay.
    let theirs = json!({"metadata": {"annotations": {"example.org/note": "kept"}}});
    sandbox.edit::<Service>("events-client", theirs).await?;
    await_restored(sandbox).await?;
    let service = sandbox.api::<Service>().get("events-client").await?;
    let annotations = service.metadata.annotations.unwrap_or_default();
    ensure!(
        annotations.contains_key("example.org/note"),
        "{annotations:?}"
    );
    quiet(sandbox).await
}

pub(super) async fn a_paused_cluster_is_not_reconciled(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({"paused": true})).await?;
    let is_paused = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        c.type_ == "Paused" && c.status == "True"
    };
    sandbox
        .status("Paused", |status| status.conditions.iter().any(is_paused))
        .await?;
    ensure!(
        sandbox.objects("uid").await?.len() == 1,
        "objects were created"
    );
    sandbox.change(json!({"paused": false})).await?;
    await_whole(sandbox).await
}

pub(super) async fn scaling_up_adds_pods_and_certificates(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let kept = |secret: Secret| secret.data.unwrap_or_default().get("events-0.crt").cloned();
    let before = kept(sandbox.api::<Secret>().get("events-node-tls").await?);
    sandbox.change(json!({"replicas": 5})).await?;
    await_condition("five of everything", || async {
        let set = sandbox
            .api::<StatefulSet>()
            .get("events")
            .await?
            .spec
            .unwrap_or_default();
        let secret = sandbox
            .api::<Secret>()
            .get("events-node-tls")
            .await?
            .data
            .unwrap_or_default();
        let config = sandbox
            .api::<ConfigMap>()
            .get("events-config")
            .await?
            .data
            .unwrap_or_default();
        let counts = (set.replicas, secret.len(), config.len());
        Ok((counts == (Some(5), 11, 5)).then_some(()))
    })
    .await?;
    let after = kept(sandbox.api::<Secret>().get("events-node-tls").await?);
    ensure!(
        before.is_some() && before == after,
        "certificates of existing nodes were issued again"
    );
    Ok(())
}

pub(super) async fn an_object_of_another_owner_is_not_touched(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    let config = |name: &str, owners: Value| {
        let metadata = json!({"name": name, "ownerReferences": owners});
        serde_json::from_value::<ConfigMap>(json!({"metadata": metadata}))
    };
    let api = sandbox.api::<ConfigMap>();
    let owner = config("another", json!([]))?;
    let owner = api.create(&PostParams::default(), &owner).await?;
    let reference = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "another", "controller": true,
        "uid": owner.metadata.uid,
    }]);
    let theirs = config("events-peers", reference)?;
    api.create(&PostParams::default(), &theirs).await?;
    sandbox.create(json!({})).await?;
    let says = |text: &Option<String>| text.as_ref().is_some_and(|t| t.contains("belongs to"));
    let blocked = sandbox
        .status("the conflict to be reported", |s| says(&s.blocked_on))
        .await?;
    let text = blocked.blocked_on.unwrap_or_default();
    ensure!(
        text.contains("events-peers") && text.contains("another"),
        "{text}"
    );
    Ok(())
}

pub(super) async fn a_killed_operator_repeats_nothing(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    let id = sandbox
        .status("an id", |status| status.cluster_id.is_some())
        .await?
        .cluster_id;
    operator.kill().await?;
    // While the operator is down, nobody restores objects.
    sandbox
        .api::<Service>()
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    let partial = sandbox.objects("uid").await?;
    operator.start()?;
    await_whole(sandbox).await?;
    quiet(sandbox).await?;
    let after = sandbox.objects("uid").await?;
    let lost: Vec<_> = partial
        .iter()
        .filter(|object| !after.contains(object))
        .collect();
    ensure!(lost.is_empty(), "recreated: {lost:?}");
    let status = sandbox.status("status", |_| true).await?;
    ensure!(
        status.cluster_id == id,
        "another id: {:?} {id:?}",
        status.cluster_id
    );
    Ok(())
}

pub(super) async fn a_stopped_operator_releases_its_lease(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    operator.stop().await?;
    let api: Api<Lease> = Api::namespaced(sandbox.client.clone(), operator.home());
    let lease = api.get("lograft-operator").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    ensure!(holder.is_none(), "held by {holder:?}");
    // The next operator starts immediately, without waiting for the lease to expire.
    sandbox.create(json!({})).await?;
    let started = std::time::Instant::now();
    operator.start()?;
    sandbox
        .status("an id", |status| status.cluster_id.is_some())
        .await?;
    ensure!(
        started.elapsed() < Duration::from_secs(10),
        "took {:?}",
        started.elapsed()
    );
    Ok(())
}

pub(super) async fn silent_connections_hold_up_no_probe(
    _: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    const SILENT: usize = 200;
    let ends = std::time::Instant::now() + Duration::from_secs(20);
    let mut silent = Vec::new();
    while std::time::Instant::now() < ends {
        // As many again in each round, because the operator closes silent connections.
        let mut opened = Vec::new();
        for _ in 0..SILENT {
            opened.push(operator.connect().await?);
        }
        drop(std::mem::replace(&mut silent, opened));
        for path in ["/healthz", "/readyz", "/metrics"] {
            let answer = tokio::time::timeout(Duration::from_secs(1), operator.get(path)).await;
            let answer = answer.with_context(|| format!("{path} not answered in time"))??;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
