//! LogTopic: the desired state of a topic of a LogCluster, and its status.

mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{
    CLUSTER_NAME_MAX_BYTES, NAMESPACE_MAX_BYTES, PARTITIONS_MAX_COUNT,
    REPLICATION_FACTOR_MAX_COUNT, TOPIC_NAME_MAX_BYTES,
};
use crate::quantity::{ByteSize, Period};
use crate::rules;

pub use status::LogTopicStatus;

/// A topic of a LogCluster.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lograft.io",
    version = "v1alpha1",
    kind = "LogTopic",
    plural = "logtopics",
    shortname = "lt",
    category = "all",
    namespaced,
    status = "LogTopicStatus",
    derive = "PartialEq",
    doc = "A topic of a LogCluster.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(
        name = "Replication",
        type_ = "integer",
        json_path = ".status.replicationFactor"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::TOPIC_ROOT[0]
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::TOPIC_SPEC))]
pub struct LogTopicSpec {
    /// The LogCluster of the topic. Immutable.
    pub cluster_ref: ClusterRef,
    /// Name of the topic, 1 to 249 of ASCII letters, digits, '.', '_' and '-'. Default: the name of
    /// the LogTopic. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = TOPIC_NAME_MAX_BYTES),
        regex(pattern = "^[A-Za-z0-9._-]+$")
    )]
    pub topic_name: Option<String>,
    /// Number of partitions. It can only grow; keys may map to other partitions afterwards. Without
    /// it the topic gets the default of the LogCluster, and its number is not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = PARTITIONS_MAX_COUNT))]
    pub partitions: Option<i32>,
    /// Number of replicas of a partition, at most the number of nodes. A change needs feature level
    /// 2. Without it the topic gets the default of the LogCluster, and its number grows with the
    /// cluster, up to that default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = REPLICATION_FACTOR_MAX_COUNT))]
    pub replication_factor: Option<i32>,
    /// Retention of a partition: both bounds, so that one which is left out does not apply, and an
    /// empty retention keeps everything. Without it the topic gets the default of the LogCluster,
    /// and its retention is not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<TopicRetention>,
    /// Other settings. One that is left out is the default of the LogCluster at the creation, and
    /// is not managed. One that is removed again returns to that default.
    #[serde(default, skip_serializing_if = "TopicConfig::is_empty")]
    pub config: TopicConfig,
    /// Whether the topic and its records are deleted together with the LogTopic.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Whether the LogTopic takes over an existing topic that it has not created. Its settings are
    /// then changed to those of the spec.
    #[serde(default)]
    pub adopt: bool,
}

/// Reference to a LogCluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Name of the LogCluster.
    #[schemars(length(min = 1, max = CLUSTER_NAME_MAX_BYTES))]
    pub name: String,
    /// Namespace of the LogCluster. Default: that of the referring object. A LogCluster of another
    /// namespace has to allow it in `spec.allowedNamespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = NAMESPACE_MAX_BYTES))]
    pub namespace: Option<String>,
}

/// Retention of a partition. If both bounds are set, the one reached first applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::TOPIC_RETENTION))]
pub struct TopicRetention {
    /// Maximum size per partition before old segments are deleted, at least 1Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// Maximum age of records before old segments are deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Period>,
}

/// Settings of a topic beside its retention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::TOPIC_CONFIG))]
pub struct TopicConfig {
    /// Maximum size of a record batch, 1Ki to 3076Ki. More than 2Mi needs feature level 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<ByteSize>,
    /// Maximum size of a record: its key, value and headers together, 1Ki to 3Mi. The maximum size
    /// of a record batch of the topic, if set, is at least 4Ki more. Needs feature level 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_record_size: Option<ByteSize>,
    /// Maximum time that the timestamp of a record may be after its append time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_after_max: Option<Period>,
    /// Maximum time that the timestamp of a record may be before its append time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_before_max: Option<Period>,
}

impl TopicConfig {
    /// Whether no setting is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens to the topic when its LogTopic is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The topic and its records stay.
    #[default]
    Retain,
    /// The topic and its records are deleted. The LogTopic is gone once the cluster has confirmed
    /// it, or once the LogCluster is gone.
    Delete,
}
