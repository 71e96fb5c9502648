//! LogTopics on real nodes.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use lograft_client::{Client, TopicChange, TopicKey, admin_wire, topic_setting};
use lograft_crds::{LogTopic, LogUser};
use serde_json::json;

use super::{CHANGE_MAX, ready};
use crate::cases::{topics, users};
use crate::chart::Chart;
use crate::pod_client::Credentials;
use crate::sandbox::{Sandbox, await_for};
use crate::user_load::{read_all, write_one};

/// A retention of this test, ms.
const HOUR_MS: u64 = 3_600_000;

/// A topic follows its LogTopic from the creation to the deletion, and takes the records of a
/// LogUser.
pub(in crate::cases) async fn topics_are_created_grown_restored_and_deleted(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let deleted = json!({
        "partitions": 2, "retention": {"time": "1h"}, "deletionPolicy": "Delete",
    });
    topics::create(sandbox, "clicks", deleted).await?;
    topics::create(sandbox, "kept", json!({"partitions": 1})).await?;
    let rules = ["topic:clicks", "topic:kept"]
        .map(|resource| json!({"operations": ["read", "write"], "resource": resource}));
    users::create(sandbox, "orders", json!({"rules": rules})).await?;
    for name in ["clicks", "kept"] {
        topics::reason(sandbox, name, "Serving").await?;
    }
    users::reason(sandbox, "orders", "Applied").await?;
    let root = Credentials::of_admin(sandbox).await?;
    let orders = Credentials::of(sandbox, "orders").await?;
    let (admin, user) = (root.connect().await?, orders.connect().await?);
    write_to_all(&user, "clicks", 2).await?;
    write_to_all(&user, "kept", 1).await?;
    grow(sandbox, &admin).await?;
    // A client learns of further partitions within its metadata age; a new one knows them.
    let user = orders.connect().await?;
    write_to_all(&user, "clicks", 4).await?;
    let records = read_all(&user, "clicks").await?.len();
    ensure!(records == 6, "{records} records");
    change_and_restore(sandbox, &admin).await?;
    delete_both(sandbox, &admin, &user).await
}

/// Writes a record to each partition.
async fn write_to_all(client: &Client, topic: &str, partitions: u32) -> anyhow::Result<()> {
    for partition in 0..partitions {
        write_one(client, topic, partition, "x")
            .await
            .with_context(|| format!("partition {partition} of {topic}"))?;
    }
    Ok(())
}

async fn grow(sandbox: &Sandbox, admin: &Client) -> anyhow::Result<()> {
    topics::edit(sandbox, "clicks", json!({"partitions": 4})).await?;
    let status = topics::reason(sandbox, "clicks", "Serving").await?;
    ensure!(
        (status.partitions, status.leaders) == (Some(4), Some(4)),
        "{status:#?}"
    );
    let found = admin.admin().describe_topic("clicks").await?;
    ensure!(found.partitions.len() == 4, "{found:#?}");
    Ok(())
}

/// A setting of the spec, and the same setting as somebody else leaves it.
async fn change_and_restore(sandbox: &Sandbox, admin: &Client) -> anyhow::Result<()> {
    topics::edit(sandbox, "clicks", json!({"retention": {"time": "2h"}})).await?;
    topics::reason(sandbox, "clicks", "Serving").await?;
    let found = retention_ms(admin).await?;
    ensure!(found == Some(2 * HOUR_MS), "{found:?}");
    let change = TopicChange {
        settings: vec![topic_setting(TopicKey::RetentionMs, 5000)],
        ..TopicChange::default()
    };
    admin.admin().alter_topic("clicks", change).await?;
    let started = Instant::now();
    await_for(topics::NOTICED, "the retention to be restored", || async {
        let found = retention_ms(admin).await?;
        Ok((found == Some(2 * HOUR_MS)).then_some(()))
    })
    .await?;
    sandbox.report_figure(format!(
        "a setting changed by somebody else is restored after {:.1} s",
        started.elapsed().as_secs_f32()
    ));
    let text = topics::event(sandbox, "RevertedEdit").await?;
    ensure!(text.contains("retention.ms from 5000 to 7200000"), "{text}");
    Ok(())
}

async fn retention_ms(admin: &Client) -> anyhow::Result<Option<u64>> {
    let found = admin.admin().describe_topic("clicks").await?;
    let mut settings = found.settings.into_iter();
    let setting = settings.find(|setting| setting.key == TopicKey::RetentionMs.name());
    Ok(match setting.and_then(|setting| setting.value) {
        Some(admin_wire::topic_setting::Value::Number(number)) => Some(number),
        _ => None,
    })
}

async fn delete_both(sandbox: &Sandbox, admin: &Client, user: &Client) -> anyhow::Result<()> {
    for name in ["clicks", "kept"] {
        topics::delete(sandbox, name).await?;
        topics::await_gone(sandbox, name).await?;
    }
    let left = admin.admin().list_topics().await?.into_iter();
    let left: Vec<String> = left.map(|topic| topic.name).collect();
    ensure!(left == ["kept"], "topics are {left:?}");
    let records = read_all(user, "kept").await?;
    ensure!(records.len() == 1, "{records:?}");
    write_to_all(user, "kept", 1).await
}

/// The finalizers of LogTopics and LogUsers do not hold up the deletion of their namespace, with
/// the LogCluster in it or elsewhere.
pub(in crate::cases) async fn a_namespace_with_topics_and_users_is_deleted(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    let own = Sandbox::new(sandbox.client.clone(), "whole").await?;
    let other = Sandbox::new(sandbox.client.clone(), "dependents").await?;
    let namespace = &other.namespace;
    ready(&own, json!({"allowedNamespaces": {"names": [namespace]}})).await?;
    let cluster = json!({"name": "events", "namespace": own.namespace});
    for place in [&own, &other] {
        let topic = json!({
            "clusterRef": cluster, "deletionPolicy": "Delete",
            "topicName": format!("{}.clicks", place.namespace),
        });
        place.create_of::<LogTopic>("clicks", topic).await?;
        let user = json!({"clusterRef": cluster});
        place.create_of::<LogUser>("orders", user).await?;
    }
    for place in [&own, &other] {
        topics::reason(place, "clicks", "Serving").await?;
        users::reason(place, "orders", "Applied").await?;
    }
    let root = Credentials::of_admin(&own).await?;
    let admin = root.connect().await?;
    delete_namespace(sandbox, other).await?;
    let left = admin.admin().list_topics().await?;
    ensure!(left.len() == 1, "topics are {left:?}");
    delete_namespace(sandbox, own).await
}

async fn delete_namespace(sandbox: &Sandbox, place: Sandbox) -> anyhow::Result<()> {
    let (started, name) = (Instant::now(), place.namespace.clone());
    place.remove().await?;
    let api: Api<Namespace> = Api::all(sandbox.client.clone());
    await_for(
        CHANGE_MAX,
        &format!("namespace {name} to be gone"),
        || async { Ok(api.get_opt(&name).await?.is_none().then_some(())) },
    )
    .await?;
    sandbox.report_figure(format!(
        "namespace {name} is gone after {:.1} s",
        started.elapsed().as_secs_f32()
    ));
    Ok(())
}
