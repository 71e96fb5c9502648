//! Administration of topics: create, alter, delete.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::acl::Principal;
use lograft_core::limits::{
    LEADER_POLL_INTERVAL, REPLICATION_FACTOR_DEFAULT_COUNT, TOPIC_ASSIGNMENT_ATTEMPTS_MAX_COUNT,
    TOPIC_READY_DEFAULT, TOPIC_READY_MAX,
};
use lograft_core::metadata::{Command, MetaError, Metadata, TopicId};
use lograft_core::topic_config::SettingsChange;
use lograft_core::{RetentionPolicy, topic};
use tokio::time::Instant;

use super::leader_lookup::LeaderLookup;
use super::placement::Placement;
use crate::config::TopicDefaultsSource;
use crate::error::ApiError;
use crate::serving::meta_group::{MetaHandle, MetaProposal, ProposeMetaError};
use crate::state_machine::MetaView;

/// Changes topics. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TopicAdmin {
    pub(crate) view: MetaView,
    pub(crate) leaders: LeaderLookup,
    pub(crate) proposer: MetaHandle,
    pub(crate) defaults: Arc<TopicDefaultsSource>,
    pub(crate) placement: Placement,
}

/// A topic to create; what is not set takes the default.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: Option<u32>,
    pub(crate) replication_factor: Option<u32>,
    pub(crate) retention: Option<RetentionPolicy>,
    pub(crate) settings: SettingsChange,
    /// How long to wait until all partitions have a leader.
    pub(crate) ready_timeout: Duration,
}

/// A change of a topic; what is not set stays.
#[derive(Clone, Debug)]
pub(crate) struct TopicChange {
    pub(crate) name: String,
    /// The id that the topic must have.
    pub(crate) id: Option<TopicId>,
    /// The new number of partitions.
    pub(crate) partitions: Option<u32>,
    /// The new number of replicas.
    pub(crate) replication_factor: Option<u32>,
    pub(crate) retention: Option<RetentionPolicy>,
    pub(crate) settings: SettingsChange,
    /// How long to wait until all partitions have a leader.
    pub(crate) ready_timeout: Duration,
}

/// The time to wait for leaders if a client asks for `timeout_ms`; 0 asks for the default.
pub(crate) fn ready_timeout(timeout_ms: u32) -> Duration {
    match timeout_ms {
        0 => TOPIC_READY_DEFAULT,
        ms => Duration::from_millis(ms.into()).min(TOPIC_READY_MAX),
    }
}

impl TopicAdmin {
    /// Creates a topic. Returns whether all of its partitions had a leader in time; the topic
    /// exists in either case.
    pub(crate) async fn create(
        &self,
        topic: NewTopic,
        by: &Arc<Principal>,
    ) -> Result<bool, ApiError> {
        let NewTopic {
            name,
            partitions,
            replication_factor: asked_factor,
            retention,
            settings,
            ready_timeout,
        } = topic;
        self.check_level(&settings)?;
        let defaults = self.defaults.read().await;
        let partitions = partitions.unwrap_or(defaults.partitions);
        let mut config = defaults.config(self.view.load().finalized_level());
        config.retention = retention.unwrap_or(config.retention);
        let config = settings.applied_to(config);
        topic::validate_name(&name)?;
        topic::validate_partitions(partitions, 0)?;
        if self.view.load().topic(&name).is_some() {
            return Err(MetaError::TopicExists { name }.into());
        }
        self.propose_placed(by, |metadata| {
            let factor = asked_factor
                .or(defaults.replication_factor)
                .unwrap_or_else(|| default_factor(metadata));
            let assignment = self.placement.place(metadata, partitions, factor)?;
            Ok(Command::CreateTopic {
                name: name.clone(),
                retention: config.retention,
                settings: config.settings,
                assignment,
                follows_default: asked_factor.is_none()
                    && metadata.finalized_level() >= Command::FACTOR_LEVEL,
            })
        })
        .await?;
        Ok(self.wait_for_leaders(&name, ready_timeout).await)
    }

    /// Changes a topic. Returns whether all of its partitions had a leader in time; the change is
    /// made in either case.
    pub(crate) async fn alter(
        &self,
        change: TopicChange,
        by: &Arc<Principal>,
    ) -> Result<bool, ApiError> {
        let TopicChange {
            name,
            id,
            partitions,
            replication_factor,
            retention,
            settings,
            ready_timeout,
        } = change;
        self.check_level(&settings)?;
        let topic_id = self.expected_id(&name, id)?;
        self.propose_placed(by, |metadata| {
            Ok(Command::AlterTopic {
                name: name.clone(),
                retention: retention.or_else(|| changed_retention(metadata, &name, &settings)),
                settings: settings.settings(),
                reset: settings.removed_settings(),
                growth: self.placement.growth(metadata, &name, partitions)?,
                topic_id,
                replication_factor: self.placement.factor(metadata, &name, replication_factor)?,
            })
        })
        .await?;
        Ok(self.wait_for_leaders(&name, ready_timeout).await)
    }

    /// Deletes a topic and its records; the one with the given id, if there is one.
    pub(crate) async fn delete(
        &self,
        (name, id): (String, Option<TopicId>),
        by: &Arc<Principal>,
    ) -> Result<(), ApiError> {
        let topic_id = self.expected_id(&name, id)?;
        let proposal = MetaProposal::of(by, Command::DeleteTopic { name, topic_id });
        self.proposer.propose(proposal).await?;
        Ok(())
    }

    /// The id for a command that is meant for one topic. Below the level of the field this node's
    /// metadata alone are compared with it: the topic may still be replaced before the command is
    /// applied.
    fn expected_id(&self, name: &str, id: Option<TopicId>) -> Result<Option<TopicId>, MetaError> {
        let metadata = self.view.load();
        if id.is_some() && metadata.finalized_level() < Command::TOPIC_ID_LEVEL {
            metadata.topic_with_id(name, id)?;
            return Ok(None);
        }
        Ok(id)
    }

    /// Refuses settings whose feature level is not finalized. The proposer refuses the command too,
    /// but cannot name the setting.
    fn check_level(&self, settings: &SettingsChange) -> Result<(), MetaError> {
        let finalized = self.view.load().finalized_level();
        match settings.not_finalized(finalized) {
            Some(found) => Err(MetaError::NotFinalized {
                feature: found.to_string(),
                level: found.level,
                finalized,
            }),
            None => Ok(()),
        }
    }

    /// Proposes a command that places replicas. Places them again if one of the nodes was
    /// decommissioned in the meantime.
    async fn propose_placed(
        &self,
        by: &Arc<Principal>,
        command: impl Fn(&Metadata) -> Result<Command, ApiError>,
    ) -> Result<(), ApiError> {
        let mut attempts = 1;
        loop {
            let proposal = MetaProposal::of(by, command(&self.view.load())?);
            match self.proposer.propose(proposal).await {
                Ok(_) => return Ok(()),
                Err(ProposeMetaError::Refused(MetaError::NodeDecommissioned { .. }))
                    if attempts < TOPIC_ASSIGNMENT_ATTEMPTS_MAX_COUNT =>
                {
                    attempts += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until each partition has started and has a leader. Returns whether that happened in
    /// time.
    async fn wait_for_leaders(&self, name: &str, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let metadata = self.view.load();
            let Some(topic) = metadata.topic(name) else {
                return false;
            };
            if topic.partitions.iter().all(|partition| {
                partition.started && self.leaders.leader_of(partition.group).is_some()
            }) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LEADER_POLL_INTERVAL).await;
        }
    }
}

fn default_factor(metadata: &Metadata) -> u32 {
    u32::try_from(metadata.active_nodes().count())
        .unwrap_or(u32::MAX)
        .clamp(1, REPLICATION_FACTOR_DEFAULT_COUNT)
}

/// The new retention of a topic, if the change has one of its keys. Level 0 stores both bounds
/// together: of two changes of different bounds at the same time the later one decides about both.
fn changed_retention(
    metadata: &Metadata,
    name: &str,
    settings: &SettingsChange,
) -> Option<RetentionPolicy> {
    settings.retention(metadata.topic(name)?.retention)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::cluster;

    #[test]
    fn the_default_replication_factor_is_bounded_by_the_nodes() {
        assert_eq!(default_factor(&cluster(1)), 1);
        assert_eq!(default_factor(&cluster(2)), 2);
        assert_eq!(default_factor(&cluster(5)), 3);
    }
}
