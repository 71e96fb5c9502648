//! Conditions of LogTopics: what each of them waits for.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use lograft_crds::{LogCluster, LogTopic};
use serde_json::{Value, json};

use super::topics::{
    await_gone, blocked, cluster, create, degraded, delete, edit, event, nudge, reason, spec,
};
use crate::nodes::Mood;
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

async fn change_cluster(sandbox: &Sandbox, spec: Value) -> anyhow::Result<()> {
    sandbox
        .edit::<LogCluster>("events", json!({"spec": spec}))
        .await
}

/// Adds or removes a finalizer of somebody else, with which a deleted LogCluster stays.
pub(super) async fn hold_cluster(sandbox: &Sandbox, is_held: bool) -> anyhow::Result<()> {
    let finalizers = if is_held {
        json!(["e2e.lograft.io/hold"])
    } else {
        Value::Null
    };
    let patch = json!({"metadata": {"finalizers": finalizers}});
    sandbox.edit::<LogCluster>("events", patch).await
}

pub(super) async fn topics_name_the_state_of_their_cluster(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    create(sandbox, "clicks", json!({})).await?;
    let text = blocked(sandbox, "clicks", "ClusterNotFound").await?;
    ensure!(
        text.contains(&format!("{}/events", sandbox.namespace)),
        "{text}"
    );
    sandbox.create(json!({})).await?;
    blocked(sandbox, "clicks", "ClusterNotBootstrapped").await?;
    change_cluster(sandbox, json!({"paused": true})).await?;
    let text = blocked(sandbox, "clicks", "ClusterPaused").await?;
    ensure!(text.contains("spec.paused"), "{text}");
    change_cluster(sandbox, json!({"paused": false})).await?;
    let nodes = operator.nodes().run(sandbox, "events").await?;
    let before = reason(sandbox, "clicks", "Serving").await?;
    nodes.set_mood(Mood::Silent);
    nudge(sandbox).await?;
    let status = reason(sandbox, "clicks", "ClusterUnreachable").await?;
    ensure!(degraded(&status) == "NotObserved", "{status:#?}");
    nodes.set_mood(Mood::Normal);
    let after = reason(sandbox, "clicks", "Serving").await?;
    ensure!(
        before.topic_id == after.topic_id && nodes.calls("create") == 1,
        "{after:#?}"
    );
    // The LogCluster goes, and the LogTopic stays as it is.
    let api = sandbox.api::<LogCluster>();
    hold_cluster(sandbox, true).await?;
    api.delete("events", &DeleteParams::default()).await?;
    blocked(sandbox, "clicks", "ClusterDeleting").await?;
    hold_cluster(sandbox, false).await?;
    let status = reason(sandbox, "clicks", "ClusterNotFound").await?;
    ensure!(status.topic_id == before.topic_id, "{status:#?}");
    Ok(())
}

pub(super) async fn refused_topics_are_named_and_repeated_seldom(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    create(sandbox, "clicks", json!({"replicationFactor": 5})).await?;
    let text = blocked(sandbox, "clicks", "Refused").await?;
    let wanted = "INVALID_REPLICATION_FACTOR, replication_factor: 1..=3";
    ensure!(text.contains(wanted), "{text}");
    event(sandbox, "Refused").await?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let calls = nodes.calls("create");
    ensure!((1..=3).contains(&calls), "{calls} calls in 15 s");
    // Another spec is tried at once.
    edit(sandbox, "clicks", json!({"replicationFactor": null})).await?;
    reason(sandbox, "clicks", "Serving").await?;
    Ok(())
}

pub(super) async fn of_two_topics_with_one_name_the_older_owns_it(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    let more = json!({"topicName": "shared", "partitions": 2});
    create(sandbox, "zebra", more).await?;
    reason(sandbox, "zebra", "Serving").await?;
    let more = json!({"topicName": "shared", "partitions": 9, "adopt": true});
    create(sandbox, "ant", more).await?;
    let text = blocked(sandbox, "ant", "OwnedByAnother").await?;
    ensure!(
        text.contains(&format!("{}/zebra", sandbox.namespace)),
        "{text}"
    );
    ensure!(
        nodes.topic("shared").is_some_and(|it| it.partitions == 2),
        "changed"
    );
    // Once the owner is gone, the other one may adopt the topic.
    delete(sandbox, "zebra").await?;
    await_gone(sandbox, "zebra").await?;
    let status = reason(sandbox, "ant", "Serving").await?;
    ensure!(status.partitions == Some(9), "{status:#?}");
    Ok(())
}

pub(super) async fn topics_of_another_namespace_need_consent(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    let other = Sandbox::without_pods(sandbox.client.clone(), "consent").await?;
    let unwatched = Sandbox::without_pods(sandbox.client.clone(), "unwatched").await?;
    operator.stop().await?;
    operator.watch(&other.namespace);
    operator.start()?;
    let of =
        |namespace: &str| spec(json!({"clusterRef": {"name": "events", "namespace": namespace}}));
    let wanted = of(&sandbox.namespace);
    other.create_of::<LogTopic>("clicks", wanted).await?;
    let text = blocked(&other, "clicks", "NamespaceNotAllowed").await?;
    ensure!(text.contains("spec.allowedNamespaces"), "{text}");
    // A LogCluster that does not exist looks the same.
    let mut missing = of(&sandbox.namespace);
    missing["clusterRef"]["name"] = json!("none");
    other.create_of::<LogTopic>("missing", missing).await?;
    blocked(&other, "missing", "NamespaceNotAllowed").await?;
    let allow = |allowed| json!({"allowedNamespaces": allowed});
    change_cluster(sandbox, allow(json!({"names": [other.namespace]}))).await?;
    reason(&other, "clicks", "Serving").await?;
    ensure!(nodes.topic("clicks").is_some(), "no topic");
    let by_label = json!({"names": null, "selector": {"matchLabels": {"logs": "yes"}}});
    change_cluster(sandbox, allow(by_label)).await?;
    blocked(&other, "clicks", "NamespaceNotAllowed").await?;
    let api: Api<Namespace> = Api::all(sandbox.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {"logs": "yes"}}}));
    api.patch(&other.namespace, &PatchParams::default(), &patch)
        .await?;
    reason(&other, "clicks", "Serving").await?;
    // A LogTopic whose consent is withdrawn is not held, and its topic is not deleted.
    edit(&other, "clicks", json!({"deletionPolicy": "Delete"})).await?;
    await_condition("the finalizer", || async {
        let topic = other.api::<LogTopic>().get("clicks").await?;
        Ok(topic.metadata.finalizers.filter(|it| !it.is_empty()))
    })
    .await?;
    change_cluster(sandbox, allow(Value::Null)).await?;
    blocked(&other, "clicks", "NamespaceNotAllowed").await?;
    delete(&other, "clicks").await?;
    await_gone(&other, "clicks").await?;
    ensure!(nodes.topic("clicks").is_some(), "deleted without consent");
    ensure!(
        event(&other, "NotDeleted")
            .await?
            .contains("does not allow"),
        "event"
    );
    other
        .create_of::<LogTopic>("far", of(&unwatched.namespace))
        .await?;
    blocked(&other, "far", "NamespaceNotWatched").await?;
    other.remove().await?;
    unwatched.remove().await
}

pub(super) async fn a_deleted_topic_waits_for_its_cluster_but_not_for_one_that_is_gone(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    for name in ["first", "second"] {
        create(sandbox, name, json!({"deletionPolicy": "Delete"})).await?;
        reason(sandbox, name, "Serving").await?;
    }
    change_cluster(sandbox, json!({"paused": true})).await?;
    reason(sandbox, "first", "ClusterPaused").await?;
    delete(sandbox, "first").await?;
    let waits = |reason: &'static str| async move {
        let api = sandbox.api::<LogTopic>();
        await_condition("the deletion to wait", || async {
            let status = api.get("first").await?.status.unwrap_or_default();
            let first = status.blocked.first().cloned();
            let is_so = |it: &lograft_crds::log_cluster::Blocked| {
                it.reason == reason && it.message.starts_with("the topic is not deleted yet")
            };
            Ok(first.filter(is_so))
        })
        .await
    };
    waits("ClusterPaused").await?;
    nodes.set_mood(Mood::Silent);
    change_cluster(sandbox, json!({"paused": false})).await?;
    waits("ClusterUnreachable").await?;
    ensure!(nodes.topic("first").is_some(), "deleted while it is paused");
    nodes.set_mood(Mood::Normal);
    await_gone(sandbox, "first").await?;
    ensure!(nodes.topic("first").is_none(), "it is there");
    // The cluster of the second goes.
    nodes.set_mood(Mood::Silent);
    nudge(sandbox).await?;
    blocked(sandbox, "second", "ClusterUnreachable").await?;
    delete(sandbox, "second").await?;
    let api = sandbox.api::<LogCluster>();
    api.delete("events", &DeleteParams::default()).await?;
    await_gone(sandbox, "second").await?;
    ensure!(
        event(sandbox, "NotDeleted")
            .await?
            .contains("does not exist"),
        "event"
    );
    Ok(())
}
