//! Topics and partitions as text and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lograft_client::admin_wire::topic_setting::Value;
use lograft_client::admin_wire::{
    PartitionDescription, PartitionHealth, ReplicaState, Retention, TopicDescription, TopicSetting,
    TopicSummary,
};
use serde::Serialize;

use super::setting;
use crate::output::{Cell, Paint, Table, Tone, plural};
use crate::units;

/// A topic as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct TopicJson {
    name: String,
    topic_id: u64,
    replication_factor: u32,
    retention_bytes: Option<u64>,
    retention_ms: Option<u64>,
    /// All settings that are set, by key.
    settings: BTreeMap<String, serde_json::Value>,
    partition_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<PartitionJson>,
}

/// A partition as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct PartitionJson {
    topic: String,
    partition: u32,
    group_id: u64,
    leader_node: Option<u64>,
    leader_epoch: u64,
    preferred_leader_node: u64,
    replicas: Vec<ReplicaJson>,
    log_start_offset: u64,
    high_watermark: u64,
    bytes: u64,
    target_nodes: Vec<u64>,
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered_at_ms: Option<i64>,
}

/// A replica as JSON.
#[derive(Debug, Serialize)]
struct ReplicaJson {
    node_id: u64,
    state: &'static str,
    lag_entries: Option<u64>,
    voter: bool,
}

/// JSON of `topic list`.
pub(crate) fn list_json(topics: &[TopicSummary]) -> Vec<TopicJson> {
    let json = |topic: &TopicSummary| {
        let retention = topic.retention.unwrap_or_default();
        TopicJson {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            replication_factor: topic.replication_factor,
            retention_bytes: retention.bytes,
            retention_ms: retention.ms,
            settings: settings_json(&topic.settings),
            partition_count: topic.partitions as usize,
            partitions: Vec::new(),
        }
    };
    topics.iter().map(json).collect()
}

/// JSON of `topic describe`.
pub(crate) fn topic_json(topic: &TopicDescription) -> TopicJson {
    let retention = topic.retention.unwrap_or_default();
    TopicJson {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        replication_factor: topic.replication_factor,
        retention_bytes: retention.bytes,
        retention_ms: retention.ms,
        settings: settings_json(&topic.settings),
        partition_count: topic.partitions.len(),
        partitions: topic.partitions.iter().map(partition_json).collect(),
    }
}

fn settings_json(settings: &[TopicSetting]) -> BTreeMap<String, serde_json::Value> {
    let json = |setting: &TopicSetting| {
        let value = match &setting.value {
            Some(Value::Number(number)) => (*number).into(),
            Some(Value::Text(text)) => text.as_str().into(),
            None => serde_json::Value::Null,
        };
        (setting.key.clone(), value)
    };
    settings.iter().map(json).collect()
}

/// Converts a partition description to JSON.
pub(crate) fn partition_json(partition: &PartitionDescription) -> PartitionJson {
    let replica = |replica: &lograft_client::admin_wire::ReplicaDescription| ReplicaJson {
        node_id: replica.node_id,
        state: replica_state(replica.state()).0,
        lag_entries: replica.lag_entries,
        voter: replica.voter,
    };
    let recovered = partition.recovery_epoch != 0;
    PartitionJson {
        topic: partition.topic.clone(),
        partition: partition.partition,
        group_id: partition.group_id,
        leader_node: partition.leader_node,
        leader_epoch: partition.leader_epoch,
        preferred_leader_node: partition.preferred_leader_node,
        replicas: partition.replicas.iter().map(replica).collect(),
        log_start_offset: partition.log_start_offset,
        high_watermark: partition.high_watermark,
        bytes: partition.bytes,
        target_nodes: partition.target_nodes.clone(),
        health: health(partition.health()).0,
        recovery_epoch: recovered.then_some(partition.recovery_epoch),
        recovered_at_ms: recovered.then_some(partition.recovered_at_ms),
    }
}

/// Text of `topic list`.
pub(crate) fn list(topics: &[TopicSummary], paint: Paint) -> String {
    let mut table = Table::new(&["TOPIC", ">PARTITIONS", ">REPLICAS", "RETENTION"]);
    for topic in topics {
        table.row([
            topic.name.clone(),
            topic.partitions.to_string(),
            topic.replication_factor.to_string(),
            retention(topic.retention),
        ]);
    }
    table.render(paint, 0)
}

/// Text of `topic describe`: a summary and a table of the partitions.
pub(crate) fn describe(topic: &TopicDescription, paint: Paint) -> String {
    format!(
        "{}: {}\n\n{}",
        paint.strong(&topic.name),
        summary(topic),
        partitions(&topic.partitions, paint, false)
    )
}

/// Partitions, replicas and settings: `1 partition, 3 replicas each, retention 7 d`.
pub(crate) fn summary(topic: &TopicDescription) -> String {
    let mut text = format!(
        "{}, {} each, retention {}",
        plural(topic.partitions.len(), "partition"),
        plural(topic.replication_factor as usize, "replica"),
        retention(topic.retention)
    );
    for setting in setting::texts(&topic.settings) {
        text.push_str(", ");
        text.push_str(&setting);
    }
    text
}

/// A table of partitions. `with_topic` adds the topic name, for partitions of several topics.
pub(crate) fn partitions(
    partitions: &[PartitionDescription],
    paint: Paint,
    with_topic: bool,
) -> String {
    let first = if with_topic {
        "PARTITION"
    } else {
        ">PARTITION"
    };
    let head = [
        first, ">LEADER", ">EPOCH", "REPLICAS", ">START", ">END", ">SIZE", "HEALTH",
    ];
    let mut table = Table::new(&head);
    for partition in partitions {
        let (name, tone) = health(partition.health());
        let number = partition.partition;
        let label = if with_topic {
            format!("{}/{number}", partition.topic)
        } else {
            number.to_string()
        };
        let leader = match partition.leader_node {
            Some(node) => Cell::from(node.to_string()),
            None => Cell::toned("none", Tone::Bad),
        };
        table.row([
            label.into(),
            leader,
            partition.leader_epoch.to_string().into(),
            replicas(partition).into(),
            units::count(partition.log_start_offset).into(),
            units::count(partition.high_watermark).into(),
            units::size(partition.bytes).into(),
            Cell::toned(name, tone),
        ]);
    }
    table.render(paint, 0)
}

/// Node ids, each with the state of a replica that is not in sync:
/// `1,2(behind 40),3(unreachable)`.
fn replicas(partition: &PartitionDescription) -> String {
    let show = |replica: &lograft_client::admin_wire::ReplicaDescription| {
        let (state, _) = replica_state(replica.state());
        // Only a leader reports the voters: without one, no replica is marked as a learner.
        let votes = replica.voter || partition.leader_node.is_none();
        let learner = if votes { "" } else { " learner" };
        match (replica.state(), replica.lag_entries) {
            (ReplicaState::InSync, _) if votes => replica.node_id.to_string(),
            (ReplicaState::Behind, Some(lag)) => {
                format!(
                    "{}({state} {}{learner})",
                    replica.node_id,
                    units::count(lag)
                )
            }
            _ => format!("{}({state}{learner})", replica.node_id),
        }
    };
    let mut text = partition
        .replicas
        .iter()
        .map(show)
        .collect::<Vec<_>>()
        .join(",");
    if !partition.target_nodes.is_empty() {
        let nodes: Vec<String> = partition.target_nodes.iter().map(u64::to_string).collect();
        let _ = write!(text, " -> {}", nodes.join(","));
    }
    text
}

fn health(health: PartitionHealth) -> (&'static str, Tone) {
    match health {
        PartitionHealth::Healthy => ("healthy", Tone::Good),
        PartitionHealth::UnderReplicated => ("under-replicated", Tone::Warn),
        PartitionHealth::Unavailable => ("unavailable", Tone::Bad),
        PartitionHealth::Unspecified => ("unknown", Tone::Warn),
    }
}

fn replica_state(state: ReplicaState) -> (&'static str, Tone) {
    match state {
        ReplicaState::InSync => ("in-sync", Tone::Good),
        ReplicaState::Behind => ("behind", Tone::Warn),
        ReplicaState::Unreachable => ("unreachable", Tone::Bad),
        ReplicaState::Corrupt => ("corrupt", Tone::Bad),
        ReplicaState::Missing => ("missing", Tone::Warn),
        ReplicaState::Unspecified => ("unknown", Tone::Warn),
    }
}

/// Retention limits: `unlimited`, `10.0 GiB per partition`, `10.0 GiB per partition or 7 d`.
fn retention(retention: Option<Retention>) -> String {
    let Retention { bytes, ms } = retention.unwrap_or_default();
    match (bytes, ms) {
        (None, None) => "unlimited".into(),
        (Some(bytes), None) => format!("{} per partition", units::size(bytes)),
        (None, Some(ms)) => units::millis(ms),
        (Some(bytes), Some(ms)) => {
            format!(
                "{} per partition or {}",
                units::size(bytes),
                units::millis(ms)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use lograft_client::admin_wire::ReplicaDescription;

    use super::*;

    fn replica(node_id: u64, state: ReplicaState, lag_entries: Option<u64>) -> ReplicaDescription {
        ReplicaDescription {
            node_id,
            state: state.into(),
            lag_entries,
            voter: true,
        }
    }

    fn topic() -> TopicDescription {
        let partition = PartitionDescription {
            topic: "clicks".into(),
            partition: 0,
            group_id: 1,
            leader_node: Some(1),
            leader_epoch: 4,
            preferred_leader_node: 1,
            replicas: vec![
                replica(1, ReplicaState::InSync, Some(0)),
                replica(2, ReplicaState::Behind, Some(1234)),
                replica(3, ReplicaState::Unreachable, None),
            ],
            log_start_offset: 100,
            high_watermark: 1_000_000,
            bytes: 64 << 20,
            target_nodes: vec![1, 2, 4],
            health: PartitionHealth::UnderReplicated.into(),
            ..PartitionDescription::default()
        };
        let dead = PartitionDescription {
            partition: 1,
            leader_node: None,
            replicas: Vec::new(),
            target_nodes: Vec::new(),
            health: PartitionHealth::Unavailable.into(),
            ..partition.clone()
        };
        TopicDescription {
            name: "clicks".into(),
            topic_id: 7,
            replication_factor: 3,
            retention: Some(Retention {
                bytes: Some(10 << 30),
                ms: None,
            }),
            partitions: vec![partition, dead],
            settings: vec![TopicSetting {
                key: "batch.max.bytes".into(),
                value: Some(Value::Number(524_288)),
            }],
        }
    }

    #[test]
    fn describe_shows_the_summary_and_the_partitions() {
        let expected = "\
clicks: 2 partitions, 3 replicas each, retention 10.0 GiB per partition, batch.max.bytes 512.0 KiB

PARTITION  LEADER  EPOCH  REPLICAS                                   START        END      SIZE  HEALTH
        0       1      4  1,2(behind 1,234),3(unreachable) -> 1,2,4    100  1,000,000  64.0 MiB  under-replicated
        1    none      4                                               100  1,000,000  64.0 MiB  unavailable
";
        assert_eq!(describe(&topic(), Paint::plain()), expected);
    }

    #[test]
    fn json_has_the_same_fields() {
        let json = serde_json::to_value(topic_json(&topic())).unwrap();
        assert_eq!(json["retention_bytes"], 10_u64 << 30);
        assert_eq!(json["retention_ms"], serde_json::Value::Null);
        assert_eq!(json["settings"]["batch.max.bytes"], 524_288);
        assert_eq!(json["partitions"][0]["replicas"][1]["state"], "behind");
        assert_eq!(
            json["partitions"][1]["leader_node"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn retention_without_limits_is_unlimited() {
        assert_eq!(retention(None), "unlimited");
        let both = Retention {
            bytes: Some(1 << 20),
            ms: Some(86_400_000),
        };
        assert_eq!(retention(Some(both)), "1.0 MiB per partition or 1 d");
    }
}
