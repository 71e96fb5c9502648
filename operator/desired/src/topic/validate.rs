//! Validation of a LogTopic. The API server checks the same with the schema and its rules, but a
//! stored object may be older than they are.

use std::collections::{BTreeMap, BTreeSet};

use lograft_crds::conditions::topic::{TopicConditionType, TopicReason};
use lograft_crds::limits::{
    PARTITIONS_MAX_COUNT, REPLICATION_FACTOR_MAX_COUNT, SEGMENT_MIN_BYTES, TOPIC_NAME_MAX_BYTES,
};
use lograft_crds::log_topic::DeletionPolicy;
use lograft_crds::names::TOPIC_FINALIZER;
use lograft_crds::{LogTopic, LogTopicSpec, LogTopicStatus, Period};

use crate::consent::ClusterKey;
use crate::record_sizes::RecordSizes;
use crate::topic::observed::Claimant;
use crate::topic::setting::SettingKey;
use crate::validation::{ValidationError, bytes, out_of_bounds, required, seconds, within};

/// A LogTopic whose fields are within their bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidTopic {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Creation, seconds since 1970.
    pub created_unix_seconds: i64,
    /// The LogCluster that it names.
    pub cluster: ClusterKey,
    /// Name of the topic.
    pub topic: String,
    /// Number of partitions.
    pub partitions: Option<u32>,
    /// Number of replicas of a partition.
    pub replication_factor: Option<u32>,
    /// The settings that the spec sets; none for one that must not apply.
    pub settings: BTreeMap<SettingKey, Option<u64>>,
    /// Whether the topic is deleted with the LogTopic.
    pub deletion_policy: DeletionPolicy,
    /// Whether it takes over an existing topic.
    pub adopts: bool,
    /// Whether it is being deleted.
    pub is_deleting: bool,
    /// Whether it has the operator's finalizer.
    pub has_finalizer: bool,
    /// The facts in its stored status.
    pub stored: Stored,
}

/// Facts in the stored status of a LogTopic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// ID of the cluster that has the topic.
    pub cluster_id: Option<String>,
    /// ID of the topic in that cluster.
    pub topic_id: Option<u64>,
    /// Whether a creation was requested whose outcome is not known.
    pub creating: bool,
    /// Whether the topic matched this generation of the spec.
    pub was_matching: bool,
    /// The settings that the spec has set.
    pub managed: BTreeSet<SettingKey>,
}

impl Stored {
    fn new(status: &LogTopicStatus, generation: Option<i64>) -> Self {
        let managed = status.managed_settings.iter();
        let topic_id = status.topic_id.and_then(|id| u64::try_from(id).ok());
        let matching = [TopicReason::Serving, TopicReason::NoLeader];
        let mut conditions = status.conditions.iter();
        let was_matching = conditions.any(|it| {
            it.type_ == TopicConditionType::Ready.name()
                && it.observed_generation == generation
                && matching.iter().any(|reason| reason.name() == it.reason)
        });
        Self {
            cluster_id: status.cluster_id.clone(),
            topic_id,
            creating: status.creating,
            was_matching,
            managed: managed
                .filter_map(|name| SettingKey::from_name(name))
                .collect(),
        }
    }

    /// The ID of the topic in this cluster, if the status has one.
    pub fn id_in(&self, cluster_id: Option<&str>) -> Option<u64> {
        let is_same = cluster_id.is_some() && self.cluster_id.as_deref() == cluster_id;
        self.topic_id.filter(|_| is_same)
    }
}

/// The name of the topic of a LogTopic.
pub fn topic_name(topic: &LogTopic) -> &str {
    let name = topic.spec.topic_name.as_deref();
    name.unwrap_or(topic.metadata.name.as_deref().unwrap_or_default())
}

impl ValidTopic {
    /// Checks all fields that plans depend on. It fails on the first invalid one; a retry helps
    /// only after a change of the object.
    pub fn new(topic: &LogTopic) -> Result<Self, ValidationError> {
        let LogTopic {
            metadata,
            spec,
            status,
        } = topic;
        let name = required(metadata.name.as_ref(), "metadata.name")?;
        let namespace = required(metadata.namespace.as_ref(), "metadata.namespace")?;
        let created = metadata.creation_timestamp.as_ref();
        check_name(topic_name(topic))?;
        required(Some(&spec.cluster_ref.name), "spec.clusterRef.name")?;
        let finalizers = metadata.finalizers.iter().flatten();
        let stored = status.as_ref();
        Ok(Self {
            cluster: ClusterKey::new(&spec.cluster_ref, &namespace),
            name,
            namespace,
            created_unix_seconds: created.map_or(0, |created| created.0.as_second()),
            topic: topic_name(topic).to_owned(),
            partitions: count(spec.partitions, "spec.partitions", PARTITIONS_MAX_COUNT)?,
            replication_factor: count(
                spec.replication_factor,
                "spec.replicationFactor",
                REPLICATION_FACTOR_MAX_COUNT,
            )?,
            settings: settings(spec)?,
            deletion_policy: spec.deletion_policy,
            adopts: spec.adopt,
            is_deleting: metadata.deletion_timestamp.is_some(),
            has_finalizer: finalizers.clone().any(|it| it == TOPIC_FINALIZER),
            stored: stored.map_or_else(Stored::default, |status| {
                Stored::new(status, metadata.generation)
            }),
        })
    }

    /// Its claim to the topic in the cluster with this ID.
    pub(super) fn claim(&self, cluster_id: Option<&str>) -> Claimant {
        Claimant {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            created_unix_seconds: self.created_unix_seconds,
            topic_id: self.stored.id_in(cluster_id),
            namespace_labels: None,
        }
    }
}

fn check_name(name: &str) -> Result<(), ValidationError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_reserved = name == "." || name == "..";
    let fits = (1..=TOPIC_NAME_MAX_BYTES).contains(&name.len());
    if fits && !is_reserved && name.chars().all(is_allowed) {
        return Ok(());
    }
    let bound = format!(
        "1 to {TOPIC_NAME_MAX_BYTES} ASCII letters, digits, '.', '_' and '-', and not . or .."
    );
    Err(out_of_bounds("spec.topicName", &name, &bound))
}

fn count(
    found: Option<i32>,
    field: &'static str,
    max: i32,
) -> Result<Option<u32>, ValidationError> {
    let Some(found) = found else {
        return Ok(None);
    };
    within(field, found, max)?;
    Ok(u32::try_from(found).ok())
}

fn settings(spec: &LogTopicSpec) -> Result<BTreeMap<SettingKey, Option<u64>>, ValidationError> {
    let mut settings = BTreeMap::new();
    if let Some(retention) = &spec.retention {
        let field = "spec.retention.size";
        let size = retention.size.as_ref().map(|size| {
            let found = bytes(field, size)?;
            let bound = format!("at least {SEGMENT_MIN_BYTES} bytes");
            let fits = found >= SEGMENT_MIN_BYTES;
            fits.then_some(found)
                .ok_or_else(|| out_of_bounds(field, &size.0, &bound))
        });
        let time = retention.time.as_ref();
        let time = time.map(|time| milliseconds("spec.retention.time", time));
        settings.insert(SettingKey::RetentionBytes, size.transpose()?);
        settings.insert(SettingKey::RetentionMs, time.transpose()?);
    }
    let config = &spec.config;
    let sizes = RecordSizes::new(
        ("spec.config.maxBatchSize", &config.max_batch_size),
        ("spec.config.maxRecordSize", &config.max_record_size),
    )?;
    let sizes = [
        (SettingKey::BatchMaxBytes, sizes.batch_max_bytes),
        (SettingKey::RecordMaxBytes, sizes.record_max_bytes),
    ];
    let set = sizes.into_iter().filter(|(_, size)| size.is_some());
    settings.extend(set);
    let bounds = [
        (
            SettingKey::TimestampAfterMaxMs,
            "spec.config.timestampAfterMax",
            &config.timestamp_after_max,
        ),
        (
            SettingKey::TimestampBeforeMaxMs,
            "spec.config.timestampBeforeMax",
            &config.timestamp_before_max,
        ),
    ];
    for (key, field, period) in bounds {
        if let Some(period) = period {
            settings.insert(key, Some(milliseconds(field, period)?));
        }
    }
    Ok(settings)
}

fn milliseconds(field: &'static str, period: &Period) -> Result<u64, ValidationError> {
    let ms = seconds(field, period)?.checked_mul(1000);
    let ms = ms.and_then(|ms| u64::try_from(ms).ok());
    ms.ok_or_else(|| out_of_bounds(field, &period.0, &"shorter"))
}
