//! Defaults for new topics. The file is read again for each new topic, so a change needs no
//! restart.

use std::path::PathBuf;

use lograft_core::RetentionPolicy;
use lograft_core::limits::{
    REPLICATION_FACTOR_MAX_COUNT, RETENTION_MIN_BYTES, RETENTION_MIN_MS, TOPIC_PARTITIONS_MAX_COUNT,
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{ConfigError, NodeConfig, within};
use crate::error_text::error_chain;

/// Defaults for new topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicDefaults {
    /// Partitions of a topic.
    pub partitions: u32,
    /// Replicas of a partition; without it 3, or all nodes if there are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,
    /// Maximum size per partition before old segments are deleted, bytes; no limit without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
    /// Age at which records are deleted, milliseconds; no limit without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self {
            partitions: 1,
            replication_factor: None,
            retention_bytes: None,
            retention_ms: None,
        }
    }
}

impl TopicDefaults {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (most, unit) = (TOPIC_PARTITIONS_MAX_COUNT, "partitions");
        within("topics.partitions", self.partitions, 1, most, unit)?;
        if let Some(factor) = self.replication_factor {
            let (most, unit) = (REPLICATION_FACTOR_MAX_COUNT, "replicas");
            within("topics.replication_factor", factor, 1, most, unit)?;
        }
        if let Some(bytes) = self.retention_bytes {
            let least = RETENTION_MIN_BYTES;
            within("topics.retention_bytes", bytes, least, u64::MAX, "bytes")?;
        }
        if let Some(ms) = self.retention_ms {
            within("topics.retention_ms", ms, RETENTION_MIN_MS, u64::MAX, "ms")?;
        }
        Ok(())
    }

    /// The default retention.
    pub(crate) const fn retention(&self) -> RetentionPolicy {
        RetentionPolicy {
            bytes: self.retention_bytes,
            ms: self.retention_ms,
        }
    }
}

/// The defaults in the current file.
#[derive(Clone, Debug)]
pub(crate) struct TopicDefaultsSource {
    file: Option<PathBuf>,
    at_start: TopicDefaults,
}

impl TopicDefaultsSource {
    pub(crate) fn new(config: &NodeConfig) -> Self {
        Self {
            file: config.file.clone(),
            at_start: config.topics,
        }
    }

    /// Those of the file; those of the start where it cannot be used.
    pub(crate) async fn read(&self) -> TopicDefaults {
        let Some(file) = self.file.clone() else {
            return self.at_start;
        };
        let loaded = tokio::task::spawn_blocking(move || NodeConfig::load(&file)).await;
        match loaded {
            Ok(Ok(config)) => config.topics,
            Ok(Err(error)) => {
                warn!(
                    error = %error_chain(&error),
                    "cannot reload the configuration, keeping the topic defaults from startup"
                );
                self.at_start
            }
            Err(_) => self.at_start,
        }
    }
}
