//! The JSON of topics.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lograft_core::TopicConfig;
use lograft_core::metadata::Topic;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::api::http::number::Int;
use crate::control::cluster_report::description::{
    PartitionDescription, PartitionHealth, ReplicaDescription, ReplicaState, TopicDescription,
};

/// A request that a test sends.
pub(super) static EXAMPLE: LazyLock<Value> = LazyLock::new(
    || json!({"name": "clicks", "partitions": 3, "settings": {"retention.ms": "86400000"}}),
);

/// A topic to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTopic {
    /// Letters, digits, '.', '_' and '-', at most 249.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,249}$")]
    pub(super) name: String,
    /// Number of partitions; the node's configuration has a default.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10000)]
    pub(super) partitions: Option<u32>,
    /// Replicas of each partition; three by default, if there are as many nodes.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 7)]
    pub(super) replication_factor: Option<u32>,
    /// Settings by key, `retention.ms` for example.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub(super) settings: BTreeMap<String, Value>,
    /// Longest wait for leaders of the partitions, milliseconds; 10000 by default, at most 60000.
    #[serde(default)]
    pub(super) timeout_ms: Option<u32>,
}

/// A change of a topic.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlterTopic {
    /// The new number of partitions.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10000)]
    pub(super) partitions: Option<u32>,
    /// The new number of replicas of each partition, at most the number of nodes. The answer does
    /// not wait for them.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 7)]
    pub(super) replication_factor: Option<u32>,
    /// Settings to change, by key.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub(super) settings: BTreeMap<String, Value>,
    /// Keys of settings that get their defaults back.
    #[serde(default)]
    pub(super) reset_settings: Vec<String>,
    /// Longest wait for leaders of the partitions, milliseconds; 10000 by default, at most 60000.
    #[serde(default)]
    pub(super) timeout_ms: Option<u32>,
    /// The id that the topic must have: one that was created again under the same name is refused
    /// with TOPIC_RECREATED.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    pub(super) topic_id: Option<Int<u64>>,
}

/// Parameters of the deletion of a topic.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteTopicQuery {
    /// The id that the topic must have: one that was created again under the same name is refused
    /// with TOPIC_RECREATED.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,18}$")]
    pub(super) topic_id: Option<u64>,
}

/// A topic after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangedTopic {
    pub(super) topic: TopicStatus,
    /// Whether all partitions had a leader in time.
    pub(super) ready: bool,
}

/// A topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicStatus {
    name: String,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    topic_id: Int<u64>,
    replication_factor: u32,
    /// Settings by key.
    #[schema(value_type = BTreeMap<String, String>)]
    settings: BTreeMap<&'static str, Int<u64>>,
    partitions: Vec<PartitionStatus>,
}

/// A partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartitionStatus {
    topic: String,
    partition: u32,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    group_id: Int<u64>,
    /// The leader's node; null if there is none.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    leader_node: Option<Int<u64>>,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    leader_epoch: Int<u64>,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    log_start_offset: Int<u64>,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    high_watermark: Int<u64>,
    /// Bytes on the leader's disk.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    bytes: Int<u64>,
    health: Health,
    replicas: Vec<ReplicaStatus>,
}

/// Health of a partition.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Health {
    Healthy,
    UnderReplicated,
    Unavailable,
}

/// A replica of a partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplicaStatus {
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    node_id: Int<u64>,
    state: State,
    /// Entries behind the leader, if the leader knows.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    lag_entries: Option<Int<u64>>,
    voter: bool,
}

/// State of a replica.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = ReplicaState)]
pub(crate) enum State {
    InSync,
    Behind,
    Missing,
    Corrupt,
    Unreachable,
}

/// A page of topics.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicPage {
    pub(super) topics: Vec<TopicSummary>,
    /// `page_token` of the next page; null on the last one.
    pub(super) next_page_token: Option<String>,
}

/// A topic in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicSummary {
    pub(super) name: String,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    topic_id: Int<u64>,
    partitions: u32,
    replication_factor: u32,
    /// Settings by key.
    #[schema(value_type = BTreeMap<String, String>)]
    settings: BTreeMap<&'static str, Int<u64>>,
}

pub(super) fn summary(topic: &Topic) -> TopicSummary {
    TopicSummary {
        name: topic.name.clone(),
        topic_id: Int(topic.id.0),
        partitions: topic.partition_count(),
        replication_factor: topic.replication_factor,
        settings: settings(&topic.config()),
    }
}

fn settings(config: &TopicConfig) -> BTreeMap<&'static str, Int<u64>> {
    let entries = config.entries();
    entries
        .map(|(key, value)| (key.name(), Int(value)))
        .collect()
}

pub(super) fn topic(described: TopicDescription) -> TopicStatus {
    let TopicDescription {
        name,
        id,
        replication_factor,
        config,
        partitions,
    } = described;
    TopicStatus {
        name,
        topic_id: Int(id.0),
        replication_factor,
        settings: settings(&config),
        partitions: partitions.into_iter().map(partition).collect(),
    }
}

pub(crate) fn partition(described: PartitionDescription) -> PartitionStatus {
    let PartitionDescription {
        topic,
        partition,
        group,
        leader,
        leader_epoch,
        preferred_leader: _,
        recovery: _,
        replicas,
        log_start_offset,
        high_watermark,
        bytes,
        target: _,
        health,
    } = described;
    PartitionStatus {
        topic,
        partition: partition.get(),
        group_id: Int(group.get()),
        leader_node: leader.map(|node| Int(node.get())),
        leader_epoch: Int(leader_epoch.get()),
        log_start_offset: Int(log_start_offset.get()),
        high_watermark: Int(high_watermark.get()),
        bytes: Int(bytes),
        health: match health {
            PartitionHealth::Healthy => Health::Healthy,
            PartitionHealth::UnderReplicated => Health::UnderReplicated,
            PartitionHealth::Unavailable => Health::Unavailable,
        },
        replicas: replicas.iter().map(replica).collect(),
    }
}

fn replica(described: &ReplicaDescription) -> ReplicaStatus {
    let ReplicaDescription {
        node,
        state,
        lag_entries,
        voter,
    } = *described;
    ReplicaStatus {
        node_id: Int(node.get()),
        state: match state {
            ReplicaState::InSync => State::InSync,
            ReplicaState::Behind => State::Behind,
            ReplicaState::Missing => State::Missing,
            ReplicaState::Corrupt => State::Corrupt,
            ReplicaState::Unreachable => State::Unreachable,
        },
        lag_entries: lag_entries.map(Int),
        voter,
    }
}
