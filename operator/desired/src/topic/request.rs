//! Requests to the data plane for a topic.

use std::collections::BTreeMap;

use crate::topic::observed::ObservedTopic;
use crate::topic::setting::SettingKey;
use crate::topic::validate::ValidTopic;

/// A request. An existing topic is named together with its ID: the executor sends nothing if the
/// topic with this name has another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Create the topic.
    Create(NewTopic),
    /// Change the topic.
    Alter(TopicChange),
    /// Delete the topic with its records.
    Delete {
        /// Name of the topic.
        topic: String,
        /// Its ID.
        id: u64,
    },
}

impl Request {
    /// The verb, for sentences.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Alter(_) => "change",
            Self::Delete { .. } => "delete",
        }
    }

    /// The name of the topic.
    pub fn topic(&self) -> &str {
        match self {
            Self::Create(new) => &new.topic,
            Self::Alter(change) => &change.topic,
            Self::Delete { topic, .. } => topic,
        }
    }
}

/// A topic to create; the cluster's default applies to what is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Name of the topic.
    pub topic: String,
    /// Number of partitions.
    pub partitions: Option<u32>,
    /// Number of replicas of a partition.
    pub replication_factor: Option<u32>,
    /// Settings; a bound that is none does not apply, whatever the default is.
    pub settings: BTreeMap<SettingKey, Option<u64>>,
}

impl NewTopic {
    /// The topic of a LogTopic.
    pub(super) fn of(topic: &ValidTopic) -> Self {
        Self {
            topic: topic.topic.clone(),
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            settings: topic.settings.clone(),
        }
    }

    /// Whether an existing topic may be the result of this request.
    pub(super) fn may_have_created(&self, found: &ObservedTopic) -> bool {
        let fits = |wanted: Option<u32>, found| wanted.is_none_or(|wanted| wanted == found);
        let mut settings = self.settings.iter();
        fits(self.partitions, found.partitions)
            && fits(self.replication_factor, found.replication_factor)
            && settings.all(|(key, value)| found.settings.get(key).copied() == *value)
    }
}

/// A change of an existing topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChange {
    /// Name of the topic.
    pub topic: String,
    /// Its ID.
    pub id: u64,
    /// New number of partitions.
    pub partitions: Option<u32>,
    /// New number of replicas of a partition.
    pub replication_factor: Option<u32>,
    /// Settings to set, or to remove if none.
    pub settings: BTreeMap<SettingKey, Option<u64>>,
}

impl TopicChange {
    /// The change that makes `found` match the LogTopic; none if it does. Settings that the spec
    /// had before return to the cluster's default.
    pub(super) fn of(
        topic: &ValidTopic,
        found: &ObservedTopic,
        defaults: &BTreeMap<SettingKey, u64>,
    ) -> Option<Self> {
        let mut wanted = topic.settings.clone();
        for key in &topic.stored.managed {
            wanted
                .entry(*key)
                .or_insert_with(|| defaults.get(key).copied());
        }
        wanted.retain(|key, value| found.settings.get(key).copied() != *value);
        let partitions = topic.partitions.filter(|wanted| *wanted > found.partitions);
        let replication_factor = topic
            .replication_factor
            .filter(|wanted| *wanted != found.replication_factor);
        let is_any = partitions.is_some() || replication_factor.is_some() || !wanted.is_empty();
        is_any.then(|| Self {
            topic: topic.topic.clone(),
            id: found.id,
            partitions,
            replication_factor,
            settings: wanted,
        })
    }
}
