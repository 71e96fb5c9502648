//! LogTopics with a stand-in for the nodes: what the operator does with topics.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use lograft_crds::{LogCluster, LogTopic, LogTopicStatus};
use serde_json::{Value, json};

use super::refusals::refused;
use crate::nodes::{FakeCluster, Mood};
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition, await_for};

/// Time within which a change by somebody else is noticed without a hint: an interval of reconciles
/// and the age of a list.
pub(super) const NOTICED: Duration = Duration::from_secs(90);

/// A LogCluster `events` whose nodes are simulated.
pub(super) async fn cluster(
    sandbox: &Sandbox,
    operator: &Operator,
) -> anyhow::Result<Arc<FakeCluster>> {
    sandbox.create(json!({})).await?;
    operator.nodes().run(sandbox, "events").await
}

pub(super) fn spec(more: Value) -> Value {
    let mut spec = json!({"clusterRef": {"name": "events"}});
    if let Value::Object(more) = more {
        for (key, value) in more {
            spec[key] = value;
        }
    }
    spec
}

pub(super) async fn create(sandbox: &Sandbox, name: &str, more: Value) -> anyhow::Result<()> {
    let created = sandbox.create_of::<LogTopic>(name, spec(more)).await;
    created.with_context(|| format!("cannot create LogTopic {name}"))
}

pub(super) async fn edit(sandbox: &Sandbox, name: &str, change: Value) -> Result<(), kube::Error> {
    let patch = Patch::Merge(json!({"spec": change}));
    let api = sandbox.api::<LogTopic>();
    let written = api.patch(name, &PatchParams::default(), &patch).await;
    written.map(drop)
}

/// Waits until the condition `Ready` has this reason.
pub(super) async fn reason(
    sandbox: &Sandbox,
    name: &str,
    wanted: &str,
) -> anyhow::Result<LogTopicStatus> {
    let api = sandbox.api::<LogTopic>();
    await_for(NOTICED, &format!("{name} to be {wanted}"), || async {
        let topic = api.get(name).await?;
        let generation = topic.metadata.generation;
        let status = topic.status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let is_so = conditions.any(|it| it.type_ == "Ready" && it.reason == wanted);
        Ok((is_so && status.observed_generation == generation).then_some(status))
    })
    .await
}

/// The text of the first entry in `status.blocked`, which must have this reason.
pub(super) async fn blocked(sandbox: &Sandbox, name: &str, wanted: &str) -> anyhow::Result<String> {
    let status = reason(sandbox, name, wanted).await?;
    let first = status.blocked.first().context("nothing blocks")?;
    ensure!(first.reason == wanted, "{status:#?}");
    Ok(first.message.clone())
}

pub(super) async fn await_gone(sandbox: &Sandbox, name: &str) -> anyhow::Result<()> {
    let api = sandbox.api::<LogTopic>();
    let what = format!("LogTopic {name} to be gone");
    await_for(NOTICED, &what, || async {
        Ok(api.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

pub(super) async fn delete(sandbox: &Sandbox, name: &str) -> anyhow::Result<()> {
    let api = sandbox.api::<LogTopic>();
    api.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Changes the LogCluster without a meaning: the operator looks at its topics at once.
pub(super) async fn nudge(sandbox: &Sandbox) -> anyhow::Result<()> {
    let now = uuid::Uuid::new_v4().to_string();
    let patch = json!({"metadata": {"annotations": {"e2e/nudge": now}}});
    sandbox.edit::<LogCluster>("events", patch).await
}

/// Waits for an event with this reason, and returns its text.
pub(super) async fn event(sandbox: &Sandbox, reason: &str) -> anyhow::Result<String> {
    let own = ListParams::default().fields(&format!("reason={reason}"));
    await_condition(&format!("the event {reason}"), || async {
        let found = sandbox.api::<Event>().list(&own).await?.items.pop();
        Ok(found.map(|event| event.message.unwrap_or_default()))
    })
    .await
}

pub(super) async fn bad_topics_are_refused_with_advice(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    let cases: [(Value, &str); 10] = [
        (json!({"partitions": 0}), "spec.partitions"),
        (json!({"partitions": 10_001}), "spec.partitions"),
        (json!({"replicationFactor": 8}), "spec.replicationFactor"),
        (json!({"topicName": "a b"}), "spec.topicName"),
        (json!({"topicName": ".."}), "choose another name"),
        (json!({"retention": {"size": "1Ki"}}), "raise the size"),
        (
            json!({"config": {"maxBatchSize": "3077Ki"}}),
            "between 1Ki and 3076Ki",
        ),
        (
            json!({"config": {"maxRecordSize": "3073Ki"}}),
            "between 1Ki and 3Mi",
        ),
        (
            json!({"config": {"maxRecordSize": "3Mi", "maxBatchSize": "3Mi"}}),
            "at least 4Ki below maxBatchSize",
        ),
        (json!({"deletionPolicy": "Keep"}), "spec.deletionPolicy"),
    ];
    for (more, words) in cases {
        refused(
            sandbox.create_of::<LogTopic>("clicks", spec(more)).await,
            words,
        )?;
    }
    let long = "n".repeat(250);
    refused(
        sandbox.create_of::<LogTopic>(&long, spec(json!({}))).await,
        "set spec.topicName",
    )?;
    create(
        sandbox,
        "clicks",
        json!({"topicName": "A", "partitions": 3, "replicationFactor": 3}),
    )
    .await?;
    let changes: [(Value, &str); 3] = [
        (json!({"clusterRef": {"name": "other"}}), "immutable"),
        (json!({"topicName": null}), "immutable"),
        (json!({"partitions": 2}), "cannot shrink"),
    ];
    for (change, words) in changes {
        refused(edit(sandbox, "clicks", change).await, words)?;
    }
    let selector = json!({"allowedNamespaces": {"selector": {"matchLabels": {}}}});
    refused(sandbox.create(selector).await, "must have a label")
}

pub(super) async fn a_topic_is_created_changed_and_kept_or_deleted(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    let more = json!({
        "topicName": "shop.Clicks", "partitions": 3, "deletionPolicy": "Delete",
        "retention": {"size": "1Gi", "time": "24h"},
        "config": {
            "maxBatchSize": "1Mi", "maxRecordSize": "512Ki",
            "timestampAfterMax": "5m", "timestampBeforeMax": "24h",
        },
    });
    create(sandbox, "clicks", more).await?;
    let status = reason(sandbox, "clicks", "Serving").await?;
    let found = nodes.topic("shop.Clicks").context("no topic")?;
    ensure!(
        status.topic_id == i64::try_from(found.id).ok() && status.partitions == Some(3),
        "{status:#?}"
    );
    ensure!(
        status.replication_factor == Some(3) && status.leaders == Some(3),
        "{status:#?}"
    );
    ensure!(status.bytes == Some(3 << 20), "{status:#?}");
    let wanted = [
        ("batch.max.bytes", 1 << 20),
        ("record.max.bytes", 512 << 10),
        ("retention.bytes", 1 << 30),
        ("retention.ms", 86_400_000),
        ("timestamp.after.max.ms", 300_000),
        ("timestamp.before.max.ms", 86_400_000),
    ];
    let settings = found.settings.iter();
    let settings: Vec<(&str, u64)> = settings.map(|(key, it)| (key.as_str(), *it)).collect();
    ensure!(settings == wanted, "{found:?}");
    ensure!(
        event(sandbox, "Created").await?.contains("shop.Clicks"),
        "event"
    );
    let change = json!({"partitions": 6, "config": {"maxBatchSize": null}});
    edit(sandbox, "clicks", change).await?;
    let status = reason(sandbox, "clicks", "Serving").await?;
    ensure!(status.partitions == Some(6), "{status:#?}");
    let found = nodes.topic("shop.Clicks").context("no topic")?;
    ensure!(
        found.partitions == 6 && !found.settings.contains_key("batch.max.bytes"),
        "{found:?}"
    );
    let text = event(sandbox, "Changed").await?;
    ensure!(text.contains("partitions from 3 to 6"), "{text}");
    // The topic of a LogTopic that retains it stays.
    create(sandbox, "kept", json!({})).await?;
    reason(sandbox, "kept", "Serving").await?;
    for name in ["clicks", "kept"] {
        delete(sandbox, name).await?;
        await_gone(sandbox, name).await?;
    }
    ensure!(nodes.topic("shop.Clicks").is_none(), "it was not deleted");
    ensure!(nodes.topic("kept").is_some(), "it was deleted");
    Ok(())
}

pub(super) async fn changes_of_topics_by_others_are_reverted_or_named(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    let more = json!({"partitions": 2, "retention": {"time": "1h"}});
    create(sandbox, "clicks", more).await?;
    reason(sandbox, "clicks", "Serving").await?;
    let set = |ms| {
        nodes.change("clicks", |topic| {
            topic.settings.insert("retention.ms".to_owned(), ms);
        });
    };
    set(5000);
    // Without a hint: the operator looks by itself.
    await_for(NOTICED, "the retention to be put back", || async {
        let topic = nodes.topic("clicks").context("no topic")?;
        Ok((topic.settings["retention.ms"] == 3_600_000).then_some(()))
    })
    .await?;
    let text = event(sandbox, "RevertedEdit").await?;
    ensure!(text.contains("retention.ms from 5000 to 3600000"), "{text}");
    nodes.change("clicks", |topic| topic.partitions = 5);
    nudge(sandbox).await?;
    let text = blocked(sandbox, "clicks", "CannotShrink").await?;
    ensure!(text.contains("from 2 to 5"), "{text}");
    edit(sandbox, "clicks", json!({"partitions": 5})).await?;
    reason(sandbox, "clicks", "Serving").await?;
    // A topic that was deleted is created again, one that somebody has created again is not
    // touched.
    nodes.remove("clicks");
    nudge(sandbox).await?;
    event(sandbox, "TopicLost").await?;
    let former = reason(sandbox, "clicks", "Serving").await?.topic_id;
    nodes.remove("clicks");
    nodes.put("clicks", 5, 3);
    nudge(sandbox).await?;
    blocked(sandbox, "clicks", "TopicReplaced").await?;
    edit(sandbox, "clicks", json!({"adopt": true})).await?;
    let status = reason(sandbox, "clicks", "Serving").await?;
    ensure!(status.topic_id > former, "{status:#?}");
    ensure!(degraded(&status) == "Whole", "{status:#?}");
    nodes.set_mood(Mood::Leaderless);
    nudge(sandbox).await?;
    let status = reason(sandbox, "clicks", "NoLeader").await?;
    ensure!(degraded(&status) == "LeaderMissing", "{status:#?}");
    ensure!(status.leaders == Some(0), "{status:#?}");
    nodes.set_mood(Mood::UnderReplicated);
    nudge(sandbox).await?;
    let status = reason(sandbox, "clicks", "Serving").await?;
    ensure!(degraded(&status) == "UnderReplicated", "{status:#?}");
    ensure!(status.under_replicated == Some(5), "{status:#?}");
    Ok(())
}

/// The reason of the condition `Degraded`.
pub(super) fn degraded(status: &LogTopicStatus) -> &str {
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|it| it.type_ == "Degraded");
    found.map_or("", |it| &it.reason)
}

pub(super) async fn a_lost_answer_creates_no_topic_twice(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    nodes.set_mood(Mood::Forgetful);
    create(sandbox, "clicks", json!({"partitions": 4})).await?;
    let id = await_condition("the topic", || async { Ok(nodes.topic("clicks")) })
        .await?
        .id;
    // The operator is killed before or after it has noted that there was no answer.
    operator.kill().await?;
    nodes.set_mood(Mood::Normal);
    operator.start()?;
    let status = reason(sandbox, "clicks", "Serving").await?;
    ensure!(
        status.topic_id == i64::try_from(id).ok() && !status.creating,
        "{status:#?}"
    );
    Ok(())
}

pub(super) async fn an_existing_topic_is_adopted_only_when_told(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    nodes.put("clicks", 3, 1);
    let more = json!({"partitions": 4, "deletionPolicy": "Delete"});
    create(sandbox, "clicks", more).await?;
    let text = blocked(sandbox, "clicks", "TopicExists").await?;
    ensure!(text.contains("spec.adopt"), "{text}");
    ensure!(event(sandbox, "TopicExists").await? == text, "the event");
    let before = nodes.topic("clicks");
    // A LogTopic without a topic is deleted at once, and the topic stays.
    delete(sandbox, "clicks").await?;
    await_gone(sandbox, "clicks").await?;
    ensure!(nodes.topic("clicks") == before, "it was changed");
    let more = json!({"partitions": 4, "replicationFactor": 3, "adopt": true});
    create(sandbox, "clicks", more).await?;
    reason(sandbox, "clicks", "Serving").await?;
    let has = |partitions, factor| {
        let topic = nodes.topic("clicks");
        topic.is_some_and(|it| (it.partitions, it.replication_factor) == (partitions, factor))
    };
    ensure!(has(4, 3), "partitions and replicas");
    edit(sandbox, "clicks", json!({"replicationFactor": 2})).await?;
    await_condition("the replicas", || async { Ok(has(4, 2).then_some(())) }).await?;
    event(sandbox, "Adopted").await?;
    Ok(())
}
