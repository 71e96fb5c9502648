//! Defaults for new topics. The file is read again for each new topic, so a change needs no
//! restart.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::limits::{
    BATCH_OVERHEAD_MAX_BYTES, REPLICATION_FACTOR_DEFAULT_COUNT, REPLICATION_FACTOR_MAX_COUNT,
    RETENTION_MIN_BYTES, RETENTION_MIN_MS, TOPIC_PARTITIONS_MAX_COUNT,
};
use lograft_core::topic_config::TopicKeyInfo;
use lograft_core::{FeatureLevel, RetentionPolicy, TopicConfig, TopicKey, TopicSettings};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{ConfigError, NodeConfig, field as invalid, within};
use crate::blocking::run_blocking;
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
    /// Maximum size of a batch, as encoded, bytes; the default of all topics without it. Used from
    /// feature level 1 on, above 2 MiB from level 2 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_max_bytes: Option<u32>,
    /// Maximum size of a record, bytes; the default of all topics without it. Used from feature
    /// level 2 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_max_bytes: Option<u32>,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self {
            partitions: 1,
            replication_factor: None,
            retention_bytes: None,
            retention_ms: None,
            batch_max_bytes: None,
            record_max_bytes: None,
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
        for (field, key, bytes) in self.sizes() {
            let TopicKeyInfo { min, max, .. } = key.info();
            if let Some(bytes) = bytes {
                within(field, bytes.into(), min, max, "bytes")?;
            }
        }
        if let (Some(record), Some(batch)) = (self.record_max_bytes, self.batch_max_bytes) {
            let most = u64::from(batch).saturating_sub(BATCH_OVERHEAD_MAX_BYTES as u64);
            if u64::from(record) > most {
                let bound = format!(
                    "at most {most} bytes, {BATCH_OVERHEAD_MAX_BYTES} less than \
                     topics.batch_max_bytes"
                );
                let found = format!("{record} bytes");
                return Err(invalid("topics.record_max_bytes", &found, bound));
            }
        }
        Ok(())
    }

    /// The settings that are sizes, with their fields.
    fn sizes(&self) -> [(&'static str, TopicKey, Option<u32>); 2] {
        [
            (
                "topics.batch_max_bytes",
                TopicKey::BatchMaxBytes,
                self.batch_max_bytes,
            ),
            (
                "topics.record_max_bytes",
                TopicKey::RecordMaxBytes,
                self.record_max_bytes,
            ),
        ]
    }

    /// Replicas of a new topic, if there are enough nodes.
    pub(crate) fn replication_factor(&self) -> u32 {
        self.replication_factor
            .unwrap_or(REPLICATION_FACTOR_DEFAULT_COUNT)
    }

    /// The default settings of a topic in a cluster with this finalized level. A default above it
    /// is not used: programs that the cluster may still return to would not know the setting.
    pub(crate) fn config(&self, finalized: FeatureLevel) -> TopicConfig {
        let retention = RetentionPolicy {
            bytes: self.retention_bytes,
            ms: self.retention_ms,
        };
        let [batch_max_bytes, record_max_bytes] = self.sizes().map(|(field, key, bytes)| {
            let bytes = bytes?;
            let level = key.level_of(bytes.into());
            if level > finalized {
                info!(
                    field,
                    %level,
                    %finalized,
                    "topic default not used: its feature level is not finalized"
                );
                return None;
            }
            Some(bytes)
        });
        TopicConfig {
            retention,
            settings: TopicSettings {
                batch_max_bytes,
                record_max_bytes,
                ..TopicSettings::default()
            },
        }
    }
}

/// The defaults in the current file.
#[derive(Clone, Debug)]
pub(crate) struct TopicDefaultsSource {
    file: Option<PathBuf>,
    at_start: TopicDefaults,
    /// What was read last.
    latest: Arc<Mutex<TopicDefaults>>,
}

impl TopicDefaultsSource {
    pub(crate) fn new(config: &NodeConfig) -> Self {
        Self {
            file: config.file.clone(),
            at_start: config.topics,
            latest: Arc::new(Mutex::new(config.topics)),
        }
    }

    /// Those of the file; those of the start where it cannot be used.
    pub(crate) async fn read(&self) -> TopicDefaults {
        let defaults = self.load().await;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = defaults;
        defaults
    }

    /// Those that were read last. Makes no call to the disk.
    pub(crate) fn latest(&self) -> TopicDefaults {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self) -> TopicDefaults {
        let Some(file) = self.file.clone() else {
            return self.at_start;
        };
        match run_blocking(move || NodeConfig::load(&file)).await {
            Some(Ok(config)) => config.topics,
            Some(Err(error)) => {
                warn!(
                    error = %error_chain(&error),
                    "cannot reload the configuration, keeping the topic defaults from startup"
                );
                self.at_start
            }
            None => self.at_start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_above_the_finalized_level_is_not_used() {
        let defaults = TopicDefaults {
            retention_ms: Some(5000),
            batch_max_bytes: Some(4096),
            record_max_bytes: Some(2048),
            ..TopicDefaults::default()
        };
        let old = defaults.config(FeatureLevel::ZERO);
        assert_eq!(old.retention.ms, Some(5000));
        assert!(old.settings.is_empty());
        let new = defaults.config(FeatureLevel(1));
        assert_eq!(new.settings.batch_max_bytes, Some(4096));
        assert_eq!(new.settings.record_max_bytes, None);
        let new = defaults.config(FeatureLevel(2));
        assert_eq!(new.settings.record_max_bytes, Some(2048));
    }

    /// A file that is meant for level 2 gives topics of level 1 no batch that level 1 cannot read.
    #[test]
    fn a_default_that_level_1_cannot_read_is_not_used_before_level_2() {
        let defaults = TopicDefaults {
            batch_max_bytes: Some((2 << 20) + 1),
            ..TopicDefaults::default()
        };
        assert!(defaults.check().is_ok());
        assert!(defaults.config(FeatureLevel(1)).settings.is_empty());
        let new = defaults.config(FeatureLevel(2)).settings;
        assert_eq!(new.batch_max_bytes, defaults.batch_max_bytes);
    }

    #[test]
    fn the_default_of_a_record_is_bounded_and_fits_into_a_batch() {
        let check = |record, batch| {
            let defaults = TopicDefaults {
                record_max_bytes: Some(record),
                batch_max_bytes: batch,
                ..TopicDefaults::default()
            };
            defaults.check()
        };
        assert!(check(1024, None).is_ok());
        assert!(check(3 << 20, None).is_ok());
        assert!(check(3 << 20, Some((3 << 20) + 4096)).is_ok());
        for (record, batch) in [
            (1023, None),
            ((3 << 20) + 1, None),
            (1 << 20, Some(1 << 20)),
        ] {
            let error = check(record, batch).unwrap_err().to_string();
            assert!(error.contains("topics.record_max_bytes"), "{error}");
        }
        let error = check(1 << 20, Some(1 << 20)).unwrap_err().to_string();
        assert!(error.contains("at most 1044480 bytes"), "{error}");
    }

    #[test]
    fn the_default_of_a_batch_is_bounded() {
        let check = |bytes| {
            let defaults = TopicDefaults {
                batch_max_bytes: Some(bytes),
                ..TopicDefaults::default()
            };
            defaults.check()
        };
        assert!(check(1024).is_ok());
        for bytes in [0, 1023, u32::MAX] {
            let error = check(bytes).unwrap_err().to_string();
            assert!(error.contains("topics.batch_max_bytes"), "{error}");
        }
    }
}
