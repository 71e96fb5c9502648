//! Commands that create, change and delete topics.

use std::sync::Arc;

use super::{Applied, check_limit, count_u32};
use crate::ids::{GroupId, NodeId, PartitionId};
use crate::limits::{CLUSTER_REPLICAS_MAX_COUNT, TOPICS_MAX_COUNT};
use crate::metadata::{
    FactorChange, Growth, MetaError, Metadata, Outcome, Partition, Topic, TopicId,
};
use crate::topic;
use crate::topic_config::{ConfigChange, TopicConfig, TopicKey, TopicSettings};

impl Metadata {
    pub(super) fn create_topic(
        &mut self,
        name: &str,
        config: TopicConfig,
        assignment: &[Vec<NodeId>],
        follows_default: bool,
    ) -> Applied {
        let TopicConfig {
            retention,
            settings,
        } = config;
        topic::validate_name(name)?;
        topic::validate_retention(retention)?;
        settings.validate()?;
        settings.validate_together()?;
        topic::validate_partitions(count_u32(assignment.len()), 0)?;
        if self.topics.contains_key(name) {
            return Err(MetaError::TopicExists {
                name: name.to_owned(),
            });
        }
        check_limit("topics", self.topics.len() + 1, TOPICS_MAX_COUNT)?;
        let replication_factor = count_u32(assignment.first().map_or(0, Vec::len));
        self.validate_assignment((assignment, &[]), replication_factor)?;
        let id = self.next.topic;
        self.next.topic = TopicId(id.0 + 1);
        let mut topic = Topic {
            name: name.to_owned(),
            id,
            replication_factor,
            follows_default,
            retention,
            settings,
            partitions: Vec::new(),
        };
        self.grow(&mut topic, assignment);
        self.topics.insert(name.to_owned(), Arc::new(topic));
        Ok(Outcome::Topic(id))
    }

    pub(super) fn alter_topic(
        &mut self,
        (name, id): (&str, Option<TopicId>),
        change: ConfigChange<'_>,
        growth: Option<&Growth>,
        factor: Option<FactorChange>,
    ) -> Applied {
        let ConfigChange {
            retention,
            settings,
            reset,
        } = change;
        let mut topic = Arc::clone(self.topic_with_id(name, id)?);
        if let Some(retention) = retention {
            topic::validate_retention(retention)?;
        }
        settings.validate()?;
        let settings = altered_settings(topic.settings, settings, reset);
        settings.validate_together()?;
        // The topic already has this number of partitions if the same command was sent twice.
        let growth = growth.filter(|g| g.total != topic.partition_count());
        if let Some(growth) = growth {
            topic::validate_partitions(growth.total, topic.partition_count())?;
            let new = growth.total - topic.partition_count();
            if new != count_u32(growth.assignment.len()) {
                let position = growth.assignment.len();
                return Err(MetaError::BadAssignment {
                    position,
                    replicas: Vec::new(),
                });
            }
            self.validate_assignment((&growth.assignment, &[]), topic.replication_factor)?;
        }
        if let Some(factor) = factor {
            self.check_factor(&topic, factor.count)?;
        }
        let altered = Arc::make_mut(&mut topic);
        altered.retention = retention.unwrap_or(altered.retention);
        altered.settings = settings;
        if let Some(growth) = growth {
            self.grow(altered, &growth.assignment);
        }
        if let Some(factor) = factor {
            altered.replication_factor = factor.count;
            altered.follows_default = factor.follows_default;
        }
        let id = topic.id;
        self.topics.insert(name.to_owned(), topic);
        Ok(Outcome::Topic(id))
    }

    /// Checks a new replication factor. A higher one needs as many active nodes.
    fn check_factor(&self, topic: &Topic, factor: u32) -> Result<(), MetaError> {
        let active = self.active_nodes().count();
        let former = topic.replication_factor;
        topic::validate_replication_factor(factor, active.max(former as usize))?;
        let new = factor.saturating_sub(former) as usize * topic.partitions.len();
        let replicas = self.replica_count() + new;
        check_limit("replicas", replicas, CLUSTER_REPLICAS_MAX_COUNT)
    }

    pub(super) fn delete_topic(&mut self, name: &str, id: Option<TopicId>) -> Applied {
        let topic = Arc::clone(self.topic_with_id(name, id)?);
        self.topics.remove(name);
        for partition in &topic.partitions {
            self.groups.remove(&partition.group);
        }
        Ok(Outcome::Topic(topic.id))
    }

    /// Adds partitions to a topic and allocates their groups.
    pub(super) fn grow(&mut self, topic: &mut Topic, assignment: &[Vec<NodeId>]) {
        for replicas in assignment {
            let group = self.next.group;
            self.next.group = GroupId(group.get() + 1);
            let number = PartitionId(topic.partition_count());
            self.groups.insert(group, (topic.name.clone(), number));
            topic.partitions.push(Partition {
                group,
                replicas: replicas.clone(),
                target: None,
                leaving: Vec::new(),
                started: false,
                repair: None,
                recovery: None,
            });
        }
    }
}

/// The settings of a topic after a change.
fn altered_settings(
    current: TopicSettings,
    newer: TopicSettings,
    reset: &[TopicKey],
) -> TopicSettings {
    let mut altered = current;
    for key in reset {
        altered.remove(*key);
    }
    altered.merge(newer);
    altered
}
