//! What the operator makes, keeps and leaves alone.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::world::{World, await_condition};

/// Eight objects, four Secrets, and the LogCluster.
const WHOLE: usize = 13;

/// Creates a cluster and waits until all that stands for it is there.
async fn whole(world: &World) -> anyhow::Result<()> {
    world.create(json!({})).await?;
    await_whole(world).await?;
    quiet(world).await
}

async fn await_whole(world: &World) -> anyhow::Result<()> {
    await_condition("all objects", || async {
        Ok((world.objects("uid").await?.len() == WHOLE).then_some(()))
    })
    .await
}

/// Waits until nothing has changed for some seconds.
async fn quiet(world: &World) -> anyhow::Result<()> {
    await_condition("quiet", || async {
        let before = world.objects("resourceVersion").await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok((world.objects("resourceVersion").await? == before).then_some(()))
    })
    .await
}

pub(super) async fn a_cluster_gets_its_objects_and_then_peace(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(world).await?;
    let status = world.status("certificates", |s| s.ca.is_some()).await?;
    ensure!(
        status.cluster_id.is_some() && !status.bootstrapped,
        "{status:?}"
    );
    let secret = world.api::<Secret>().get("events-node-tls").await?;
    let fields: Vec<String> = secret.data.unwrap_or_default().into_keys().collect();
    let pod = |at| [format!("events-{at}.crt"), format!("events-{at}.key")];
    let mut wanted: Vec<String> = (0..3).flat_map(pod).collect();
    wanted.insert(0, "ca.crt".to_owned());
    ensure!(fields == wanted, "{fields:?}");
    let before = world.objects("resourceVersion").await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let after = world.objects("resourceVersion").await?;
    ensure!(
        before == after,
        "written without need:\n{before:#?}\n{after:#?}"
    );
    Ok(())
}

pub(super) async fn what_is_deleted_is_put_back(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(world).await?;
    let before = world.objects("uid").await?;
    delete!(
        world,
        Service: "events-client",
        Service: "events-nodes",
        ConfigMap: "events-config",
        ConfigMap: "events-peers",
        ServiceAccount: "events-node",
        PodDisruptionBudget: "events-nodes",
        NetworkPolicy: "events-nodes",
        Secret: "events-admin-tls",
        Secret: "events-ca",
        StatefulSet: "events"
    );
    await_condition("all objects but three to be others", || async {
        let after = world.objects("uid").await?;
        let stayed = before
            .iter()
            .filter(|object| after.contains(object))
            .count();
        // The LogCluster, and the Secrets of the nodes and the operator, were not deleted.
        Ok((after.len() == WHOLE && stayed == 3).then_some(()))
    })
    .await?;
    // The lost CA's root is trusted beside the new one: what it issued is still in use.
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
        let secret = world.api::<Secret>().get("events-node-tls").await?;
        Ok((roots(secret) == 2).then_some(()))
    })
    .await?;
    quiet(world).await
}

/// Waits until all that [`what_is_edited_is_put_back`] edits is as it was.
async fn await_undone(world: &World) -> anyhow::Result<()> {
    await_condition("edits to be undone", || async {
        let config = world
            .api::<ConfigMap>()
            .get("events-config")
            .await?
            .data
            .unwrap_or_default();
        let set = world
            .api::<StatefulSet>()
            .get("events")
            .await?
            .spec
            .unwrap_or_default();
        let nodes = world
            .api::<Service>()
            .get("events-nodes")
            .await?
            .spec
            .unwrap_or_default();
        let secret = world
            .api::<Secret>()
            .get("events-node-tls")
            .await?
            .data
            .unwrap_or_default();
        let key = secret
            .get("events-0.key")
            .map(|key| key.0.len())
            .unwrap_or_default();
        let is_undone = config.get("events-1.yaml").is_some_and(|text| text != "x")
            && set.replicas == Some(3)
            && nodes.publish_not_ready_addresses == Some(true)
            && key > 100
            && world.objects("uid").await?.len() == WHOLE;
        Ok(is_undone.then_some(()))
    })
    .await
}

pub(super) async fn what_is_edited_is_put_back(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(world).await?;
    let label = |value: Value| json!({"metadata": {"labels": {"lograft.io/cluster": value}}});
    world
        .edit::<Service>("events-client", label(json!("other")))
        .await?;
    world
        .edit::<ConfigMap>("events-peers", label(Value::Null))
        .await?;
    let unlabelled = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    world
        .edit::<NetworkPolicy>("events-nodes", unlabelled)
        .await?;
    world
        .edit::<ConfigMap>("events-config", json!({"data": {"events-1.yaml": "x"}}))
        .await?;
    world
        .edit::<StatefulSet>("events", json!({"spec": {"replicas": 1}}))
        .await?;
    world
        .edit::<Service>(
            "events-nodes",
            json!({"spec": {"publishNotReadyAddresses": false}}),
        )
        .await?;
    let key = json!({"data": {"events-0.key": "eA=="}});
    world.edit::<Secret>("events-node-tls", key).await?;
    // What others add stays.
    let theirs = json!({"metadata": {"annotations": {"example.org/note": "kept"}}});
    world.edit::<Service>("events-client", theirs).await?;
    await_undone(world).await?;
    let service = world.api::<Service>().get("events-client").await?;
    let annotations = service.metadata.annotations.unwrap_or_default();
    ensure!(
        annotations.contains_key("example.org/note"),
        "{annotations:?}"
    );
    quiet(world).await
}

pub(super) async fn hands_are_kept_off_a_paused_cluster(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    world.create(json!({"paused": true})).await?;
    let is_paused = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        c.type_ == "Paused" && c.status == "True"
    };
    world
        .status("Paused", |status| status.conditions.iter().any(is_paused))
        .await?;
    ensure!(world.objects("uid").await?.len() == 1, "objects were made");
    world.change(json!({"paused": false})).await?;
    await_whole(world).await
}

pub(super) async fn a_new_size_gives_pods_and_certificates(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(world).await?;
    let kept = |secret: Secret| secret.data.unwrap_or_default().get("events-0.crt").cloned();
    let before = kept(world.api::<Secret>().get("events-node-tls").await?);
    world.change(json!({"replicas": 5})).await?;
    await_condition("five of everything", || async {
        let set = world
            .api::<StatefulSet>()
            .get("events")
            .await?
            .spec
            .unwrap_or_default();
        let secret = world
            .api::<Secret>()
            .get("events-node-tls")
            .await?
            .data
            .unwrap_or_default();
        let config = world
            .api::<ConfigMap>()
            .get("events-config")
            .await?
            .data
            .unwrap_or_default();
        let counts = (set.replicas, secret.len(), config.len());
        Ok((counts == (Some(5), 11, 5)).then_some(()))
    })
    .await?;
    let after = kept(world.api::<Secret>().get("events-node-tls").await?);
    ensure!(
        before.is_some() && before == after,
        "the others' certificates were made anew"
    );
    Ok(())
}

pub(super) async fn another_owners_object_is_left_alone(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    let config = |name: &str, owners: Value| {
        let metadata = json!({"name": name, "ownerReferences": owners});
        serde_json::from_value::<ConfigMap>(json!({"metadata": metadata}))
    };
    let api = world.api::<ConfigMap>();
    let owner = config("another", json!([]))?;
    let owner = api.create(&PostParams::default(), &owner).await?;
    let reference = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "another", "controller": true,
        "uid": owner.metadata.uid,
    }]);
    let theirs = config("events-peers", reference)?;
    api.create(&PostParams::default(), &theirs).await?;
    world.create(json!({})).await?;
    let says = |text: &Option<String>| text.as_ref().is_some_and(|t| t.contains("belongs to"));
    let blocked = world
        .status("the stranger to be told", |s| says(&s.blocked_on))
        .await?;
    let text = blocked.blocked_on.unwrap_or_default();
    ensure!(
        text.contains("events-peers") && text.contains("another"),
        "{text}"
    );
    Ok(())
}

pub(super) async fn a_killed_operator_doubles_nothing(
    world: &World,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    world.create(json!({})).await?;
    let id = world
        .status("an id", |status| status.cluster_id.is_some())
        .await?
        .cluster_id;
    operator.kill().await?;
    // While it is down nobody mends.
    world
        .api::<Service>()
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    let partial = world.objects("uid").await?;
    operator.start()?;
    await_whole(world).await?;
    quiet(world).await?;
    let after = world.objects("uid").await?;
    let lost: Vec<_> = partial
        .iter()
        .filter(|object| !after.contains(object))
        .collect();
    ensure!(lost.is_empty(), "made anew: {lost:?}");
    let status = world.status("status", |_| true).await?;
    ensure!(
        status.cluster_id == id,
        "another id: {:?} {id:?}",
        status.cluster_id
    );
    Ok(())
}

pub(super) async fn a_stopped_operator_gives_its_lease_back(
    world: &World,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    operator.stop().await?;
    let api: Api<Lease> = Api::namespaced(world.client.clone(), operator.home());
    let lease = api.get("lograft-operator").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    ensure!(holder.is_none(), "held by {holder:?}");
    // Another begins at once, without waiting for the lease's end.
    world.create(json!({})).await?;
    let begun = std::time::Instant::now();
    operator.start()?;
    world
        .status("an id", |status| status.cluster_id.is_some())
        .await?;
    ensure!(
        begun.elapsed() < Duration::from_secs(10),
        "took {:?}",
        begun.elapsed()
    );
    Ok(())
}
