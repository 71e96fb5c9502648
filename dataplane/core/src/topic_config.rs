//! The settings of a topic, by key: one table says which keys there are, with their bounds and
//! their feature levels. API, command line and node configuration follow the table.
//!
//! A setting of a topic is either set or not; without it the topic has no such bound of its own.
//! Defaults of the cluster are written into a topic when it is created.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::feature_level::FeatureLevel;
use crate::limits::{
    BATCH_DEFAULT_BYTES, BATCH_LEVEL_1_MAX_BYTES, BATCH_MAX_BYTES, RECORD_MAX_BYTES,
    RETENTION_MIN_BYTES, RETENTION_MIN_MS, SETTING_KEY_SHOWN_MAX_BYTES, TIMESTAMP_AFTER_DEFAULT_MS,
    TIMESTAMP_BOUND_MIN_MS, TOPIC_BATCH_MIN_BYTES, TOPIC_RECORD_MIN_BYTES,
};
use crate::record_time::TimestampBounds;
use crate::retention::RetentionPolicy;
use crate::size_limits::{BATCH_KEY, RECORD_KEY, SizeLimits};
use crate::topic::TopicError;

/// A key of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TopicKey {
    /// Maximum size of a partition's log before old segments are deleted.
    #[serde(rename = "retention.bytes")]
    RetentionBytes,
    /// Maximum age of records before old segments are deleted.
    #[serde(rename = "retention.ms")]
    RetentionMs,
    /// Maximum size of a batch, as encoded.
    #[serde(rename = "batch.max.bytes")]
    BatchMaxBytes,
    /// Maximum size of a record: its key, value and headers together.
    #[serde(rename = "record.max.bytes")]
    RecordMaxBytes,
    /// Maximum time that a record's timestamp may be after its append time.
    #[serde(rename = "timestamp.after.max.ms")]
    TimestampAfterMaxMs,
    /// Maximum time that a record's timestamp may be before its append time.
    #[serde(rename = "timestamp.before.max.ms")]
    TimestampBeforeMaxMs,
}

/// The feature level from which on batches may be larger than `BATCH_LEVEL_1_MAX_BYTES`.
pub(crate) const LARGE_BATCHES_LEVEL: FeatureLevel = FeatureLevel(2);

/// The unit of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingUnit {
    /// A size.
    Bytes,
    /// A duration.
    Milliseconds,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicKeyInfo {
    /// The key's name.
    pub name: &'static str,
    /// The unit of the value.
    pub unit: SettingUnit,
    /// The smallest value.
    pub min: u64,
    /// The greatest value, inclusive.
    pub max: u64,
    /// The feature level that must be finalized before the key is used.
    pub level: FeatureLevel,
}

impl TopicKey {
    /// All keys.
    pub const ALL: [Self; 6] = [
        Self::RetentionBytes,
        Self::RetentionMs,
        Self::BatchMaxBytes,
        Self::RecordMaxBytes,
        Self::TimestampAfterMaxMs,
        Self::TimestampBeforeMaxMs,
    ];

    /// The row of the table.
    pub const fn info(self) -> TopicKeyInfo {
        match self {
            Self::RetentionBytes => TopicKeyInfo {
                name: "retention.bytes",
                unit: SettingUnit::Bytes,
                min: RETENTION_MIN_BYTES,
                max: u64::MAX,
                level: FeatureLevel::ZERO,
            },
            Self::RetentionMs => TopicKeyInfo {
                name: "retention.ms",
                unit: SettingUnit::Milliseconds,
                min: RETENTION_MIN_MS,
                max: u64::MAX,
                level: FeatureLevel::ZERO,
            },
            Self::BatchMaxBytes => TopicKeyInfo {
                name: BATCH_KEY,
                unit: SettingUnit::Bytes,
                min: TOPIC_BATCH_MIN_BYTES as u64,
                max: BATCH_MAX_BYTES as u64,
                level: FeatureLevel(1),
            },
            Self::RecordMaxBytes => TopicKeyInfo {
                name: RECORD_KEY,
                unit: SettingUnit::Bytes,
                min: TOPIC_RECORD_MIN_BYTES as u64,
                max: RECORD_MAX_BYTES as u64,
                level: FeatureLevel(2),
            },
            Self::TimestampAfterMaxMs => TopicKeyInfo {
                name: "timestamp.after.max.ms",
                unit: SettingUnit::Milliseconds,
                min: TIMESTAMP_BOUND_MIN_MS,
                max: u64::MAX,
                level: FeatureLevel(2),
            },
            Self::TimestampBeforeMaxMs => TopicKeyInfo {
                name: "timestamp.before.max.ms",
                unit: SettingUnit::Milliseconds,
                min: TIMESTAMP_BOUND_MIN_MS,
                max: u64::MAX,
                level: FeatureLevel(2),
            },
        }
    }

    /// The key's name.
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// The feature level that must be finalized before the key has this value. Programs of level 1
    /// can read no batch above `BATCH_LEVEL_1_MAX_BYTES`.
    pub fn level_of(self, value: u64) -> FeatureLevel {
        let TopicKeyInfo { max, level, .. } = self.info();
        // A value out of bounds is refused for that at every level.
        let large = BATCH_LEVEL_1_MAX_BYTES as u64 + 1..=max;
        let is_large = self == Self::BatchMaxBytes && large.contains(&value);
        if is_large {
            level.max(LARGE_BATCHES_LEVEL)
        } else {
            level
        }
    }

    /// The key of this name.
    pub fn from_name(name: &str) -> Result<Self, SettingError> {
        let named = Self::ALL.into_iter().find(|key| key.name() == name);
        named.ok_or_else(|| SettingError::UnknownKey {
            key: name[..name.floor_char_boundary(SETTING_KEY_SHOWN_MAX_BYTES)].to_owned(),
        })
    }

    /// Checks the bounds of a value.
    pub const fn check(self, value: u64) -> Result<(), TopicError> {
        let TopicKeyInfo { min, max, .. } = self.info();
        if min <= value && value <= max {
            return Ok(());
        }
        Err(match self {
            Self::RetentionBytes => TopicError::RetentionBytes { bytes: value },
            Self::RetentionMs => TopicError::RetentionMs { ms: value },
            Self::BatchMaxBytes => TopicError::BatchMaxBytes { bytes: value },
            Self::RecordMaxBytes => TopicError::RecordMaxBytes { bytes: value },
            Self::TimestampAfterMaxMs => TopicError::TimestampAfterMaxMs { ms: value },
            Self::TimestampBeforeMaxMs => TopicError::TimestampBeforeMaxMs { ms: value },
        })
    }
}

impl fmt::Display for TopicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The settings of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    /// The retention of each partition.
    pub retention: RetentionPolicy,
    /// The settings that were added after retention.
    pub settings: TopicSettings,
}

impl TopicConfig {
    /// The settings with this retention and these others.
    pub const fn new(retention: RetentionPolicy, settings: TopicSettings) -> Self {
        Self {
            retention,
            settings,
        }
    }
}

/// The settings of a topic that were added after retention, as they are stored in the metadata.
/// Fields are part of the format and only added; one that is not set is not encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// Maximum size of a batch, as encoded, in bytes. Feature level 1; level 2 for a value above
    /// `BATCH_LEVEL_1_MAX_BYTES`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_max_bytes: Option<u32>,
    /// Maximum size of a record, in bytes. Feature level 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_max_bytes: Option<u32>,
    /// Maximum time that a record's timestamp may be after its append time, milliseconds. Feature
    /// level 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_after_max_ms: Option<u64>,
    /// Maximum time that a record's timestamp may be before its append time, milliseconds. Feature
    /// level 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_before_max_ms: Option<u64>,
}

impl TopicSettings {
    /// Whether no setting is set. Then it is not encoded at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The feature level that must be finalized before these settings are used.
    pub fn level(&self) -> FeatureLevel {
        let levels = self.entries().map(|(key, value)| key.level_of(value));
        levels.max().unwrap_or_default()
    }

    /// Checks the bounds of all settings, each by itself.
    pub fn validate(&self) -> Result<(), TopicError> {
        self.entries().try_for_each(|(key, value)| key.check(value))
    }

    /// Checks that the settings of a topic agree: a batch of the largest record fits into
    /// `batch.max.bytes`.
    pub fn validate_together(&self) -> Result<(), TopicError> {
        match (self.record_max_bytes, self.batch_max_bytes) {
            (Some(record_bytes), Some(batch_bytes))
                if SizeLimits::batch_of(record_bytes) > batch_bytes as usize =>
            {
                Err(TopicError::RecordAboveBatch {
                    record_bytes: record_bytes.into(),
                    batch_bytes: batch_bytes.into(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The limits of records and batches in a cluster with this finalized level.
    pub fn size_limits(&self, finalized: FeatureLevel) -> SizeLimits {
        let may_be_large = finalized >= LARGE_BATCHES_LEVEL;
        SizeLimits::new(self.batch_max_bytes, self.record_max_bytes, may_be_large)
    }

    /// The maximum size of batches that clients learn: none if it is the default.
    pub fn shown_batch_max_bytes(&self) -> Option<u32> {
        let needed = self.record_max_bytes.map(SizeLimits::batch_of);
        let needed = needed.filter(|bytes| *bytes > BATCH_DEFAULT_BYTES);
        self.batch_max_bytes.or_else(|| u32::try_from(needed?).ok())
    }

    /// The bounds of a record's timestamp.
    pub fn timestamp_bounds(&self) -> TimestampBounds {
        let after = self.timestamp_after_max_ms;
        TimestampBounds {
            after_max_ms: after.unwrap_or(TIMESTAMP_AFTER_DEFAULT_MS),
            before_max_ms: self.timestamp_before_max_ms,
        }
    }

    /// The settings that are set.
    fn entries(&self) -> impl Iterator<Item = (TopicKey, u64)> {
        TopicKey::ALL
            .into_iter()
            .filter_map(|key| Some((key, self.get(key)?)))
    }

    fn get(&self, key: TopicKey) -> Option<u64> {
        match key {
            TopicKey::RetentionBytes | TopicKey::RetentionMs => None,
            TopicKey::BatchMaxBytes => self.batch_max_bytes.map(u64::from),
            TopicKey::RecordMaxBytes => self.record_max_bytes.map(u64::from),
            TopicKey::TimestampAfterMaxMs => self.timestamp_after_max_ms,
            TopicKey::TimestampBeforeMaxMs => self.timestamp_before_max_ms,
        }
    }

    /// Sets a key to a value in its bounds. Keys of the retention are not part of it.
    fn set(&mut self, key: TopicKey, value: Option<u64>) {
        let size = value.and_then(|value| u32::try_from(value).ok());
        match key {
            TopicKey::RetentionBytes | TopicKey::RetentionMs => {}
            TopicKey::BatchMaxBytes => self.batch_max_bytes = size,
            TopicKey::RecordMaxBytes => self.record_max_bytes = size,
            TopicKey::TimestampAfterMaxMs => self.timestamp_after_max_ms = value,
            TopicKey::TimestampBeforeMaxMs => self.timestamp_before_max_ms = value,
        }
    }

    /// Takes over those of `newer` that are set.
    pub(crate) fn merge(&mut self, newer: Self) {
        for (key, value) in newer.entries() {
            self.set(key, Some(value));
        }
    }

    /// Removes a setting. Keys of the retention are not part of it.
    pub(crate) fn remove(&mut self, key: TopicKey) {
        self.set(key, None);
    }
}

impl TopicConfig {
    /// The value of a key, if it is set.
    pub fn get(&self, key: TopicKey) -> Option<u64> {
        match key {
            TopicKey::RetentionBytes => self.retention.bytes,
            TopicKey::RetentionMs => self.retention.ms,
            _ => self.settings.get(key),
        }
    }

    /// Sets a key. Fails if the value is out of bounds.
    pub fn set(&mut self, key: TopicKey, value: u64) -> Result<(), TopicError> {
        key.check(value)?;
        match key {
            TopicKey::RetentionBytes => self.retention.bytes = Some(value),
            TopicKey::RetentionMs => self.retention.ms = Some(value),
            _ => self.settings.set(key, Some(value)),
        }
        Ok(())
    }

    /// The keys that are set, in the order of the table.
    pub fn entries(&self) -> impl Iterator<Item = (TopicKey, u64)> {
        TopicKey::ALL
            .into_iter()
            .filter_map(|key| Some((key, self.get(key)?)))
    }
}

/// The settings that a command of the meta group changes.
#[derive(Clone, Copy)]
pub(crate) struct ConfigChange<'a> {
    /// The new retention, if it changes.
    pub(crate) retention: Option<RetentionPolicy>,
    /// Other settings to set.
    pub(crate) settings: TopicSettings,
    /// Other settings to remove.
    pub(crate) reset: &'a [TopicKey],
}

/// A value as a client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingValue<'a> {
    /// A number, in the unit of the key.
    Number(u64),
    /// A text.
    Text(&'a str),
}

/// An invalid setting in a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The table has no such key.
    #[error("topic setting {key:?} not found: known are {}", KeyNames)]
    UnknownKey {
        /// The key, cut if it is very long.
        key: String,
    },
    /// The value is a text, or there is none.
    #[error("{key} must be a number")]
    NotNumber {
        /// The key.
        key: TopicKey,
    },
    /// The request has the key more than once.
    #[error("{key} must be given once, got it twice")]
    Repeated {
        /// The key.
        key: TopicKey,
    },
    /// The value is out of bounds.
    #[error(transparent)]
    OutOfBounds(#[from] TopicError),
}

impl SettingError {
    /// The invalid field: the key.
    pub fn field(&self) -> &str {
        match self {
            Self::UnknownKey { key } => key,
            Self::NotNumber { key } | Self::Repeated { key } => key.name(),
            Self::OutOfBounds(error) => error.field(),
        }
    }

    /// The violated bound.
    pub fn bound(&self) -> String {
        match self {
            Self::UnknownKey { .. } => KeyNames.to_string(),
            Self::NotNumber { .. } => "a number".to_owned(),
            Self::Repeated { .. } => "given once".to_owned(),
            Self::OutOfBounds(error) => error.bound(),
        }
    }
}

/// The names of all keys, with commas.
struct KeyNames;

impl fmt::Display for KeyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, key) in TopicKey::ALL.into_iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{key}")?;
        }
        Ok(())
    }
}

/// A setting whose feature level is not finalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinalized {
    /// The key.
    pub key: TopicKey,
    /// The level that the key or its value needs.
    pub level: FeatureLevel,
}

impl fmt::Display for NotFinalized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)?;
        // The key itself is of an earlier level.
        if self.level > self.key.info().level {
            write!(f, " above {BATCH_LEVEL_1_MAX_BYTES}")?;
        }
        Ok(())
    }
}

/// Settings that a request sets or removes; each key at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    set: BTreeMap<TopicKey, u64>,
    removed: BTreeSet<TopicKey>,
}

impl SettingsChange {
    /// Sets the key of this name. Fails if there is no such key, the value is not of its type or
    /// out of bounds, or the change has the key already.
    pub fn set(&mut self, name: &str, value: Option<SettingValue<'_>>) -> Result<(), SettingError> {
        let key = self.unused(name)?;
        let Some(SettingValue::Number(value)) = value else {
            return Err(SettingError::NotNumber { key });
        };
        key.check(value)?;
        self.set.insert(key, value);
        Ok(())
    }

    /// Removes the key of this name. Fails if there is no such key, or the change has it already.
    pub fn remove(&mut self, name: &str) -> Result<(), SettingError> {
        let key = self.unused(name)?;
        self.removed.insert(key);
        Ok(())
    }

    /// Fails if the change has a key of the retention, because the request has a whole retention
    /// besides.
    pub fn check_no_retention(&self) -> Result<(), SettingError> {
        let keys = [TopicKey::RetentionBytes, TopicKey::RetentionMs];
        match keys.into_iter().find(|key| self.has(*key)) {
            Some(key) => Err(SettingError::Repeated { key }),
            None => Ok(()),
        }
    }

    fn unused(&self, name: &str) -> Result<TopicKey, SettingError> {
        let key = TopicKey::from_name(name)?;
        if self.has(key) {
            return Err(SettingError::Repeated { key });
        }
        Ok(key)
    }

    fn has(&self, key: TopicKey) -> bool {
        self.set.contains_key(&key) || self.removed.contains(&key)
    }

    /// The first setting whose level is above the finalized one.
    pub fn not_finalized(&self, finalized: FeatureLevel) -> Option<NotFinalized> {
        let set = self.set.iter().map(|(key, value)| NotFinalized {
            key: *key,
            level: key.level_of(*value),
        });
        let removed = self.removed.iter().map(|key| NotFinalized {
            key: *key,
            level: key.info().level,
        });
        set.chain(removed).find(|found| found.level > finalized)
    }

    /// The settings of a new topic that has `defaults` where the change says nothing.
    pub fn applied_to(&self, defaults: TopicConfig) -> TopicConfig {
        let mut config = defaults;
        config.retention = self.retention(config.retention).unwrap_or(config.retention);
        config.settings.merge(self.settings());
        for key in self.removed_settings() {
            config.settings.remove(key);
        }
        if config.settings.validate_together().is_err() {
            // A default gives way to a value that was set.
            let (record, batch) = (TopicKey::RecordMaxBytes, TopicKey::BatchMaxBytes);
            match (self.has(record), self.has(batch)) {
                (true, false) => config.settings.remove(batch),
                (false, true) => config.settings.remove(record),
                (true, true) | (false, false) => {}
            }
        }
        config
    }

    /// The new retention of a topic that has `current`; none if the change has no key of it.
    pub fn retention(&self, current: RetentionPolicy) -> Option<RetentionPolicy> {
        let (bytes, ms) = (TopicKey::RetentionBytes, TopicKey::RetentionMs);
        let value = |key, current: Option<u64>| match self.set.get(&key) {
            Some(value) => Some(*value),
            None => current.filter(|_| !self.removed.contains(&key)),
        };
        (self.has(bytes) || self.has(ms)).then(|| RetentionPolicy {
            bytes: value(bytes, current.bytes),
            ms: value(ms, current.ms),
        })
    }

    /// The settings besides the retention that are set.
    pub fn settings(&self) -> TopicSettings {
        let mut settings = TopicSettings::default();
        for (key, value) in &self.set {
            settings.set(*key, Some(*value));
        }
        settings
    }

    /// The keys besides those of the retention that are removed.
    pub fn removed_settings(&self) -> Vec<TopicKey> {
        let is_retention =
            |key: &TopicKey| matches!(key, TopicKey::RetentionBytes | TopicKey::RetentionMs);
        let removed = self.removed.iter().filter(|key| !is_retention(key));
        removed.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(value: u64) -> SettingValue<'static> {
        SettingValue::Number(value)
    }

    #[test]
    fn every_key_has_a_name_and_bounds_and_is_stored() {
        for key in TopicKey::ALL {
            let TopicKeyInfo { name, min, max, .. } = key.info();
            assert_eq!(TopicKey::from_name(name), Ok(key));
            let stored = serde_json::to_string(&key).unwrap();
            assert_eq!(stored, format!("{name:?}"), "the name in a reset");
            let mut config = TopicConfig::default();
            for value in [min, max] {
                config.set(key, value).unwrap();
                assert_eq!(config.entries().collect::<Vec<_>>(), [(key, value)]);
            }
            let error = config.set(key, min - 1).unwrap_err();
            assert_eq!(error.field(), name);
            if let Some(above) = max.checked_add(1) {
                assert!(config.set(key, above).is_err());
            }
            let mut change = SettingsChange::default();
            change.set(name, Some(number(max))).unwrap();
            let config = change.applied_to(TopicConfig::default());
            assert_eq!(config.get(key), Some(max));
            let mut removal = SettingsChange::default();
            removal.remove(name).unwrap();
            assert_eq!(removal.applied_to(config), TopicConfig::default());
        }
    }

    #[test]
    fn a_default_that_does_not_go_with_a_given_value_gives_way() {
        let given = |name: &str, value: u64| {
            let mut change = SettingsChange::default();
            change.set(name, Some(number(value))).unwrap();
            change
        };
        let mut defaults = TopicConfig::default();
        defaults.settings.record_max_bytes = Some(3 * 1024 * 1024);
        let small = given("batch.max.bytes", 1_048_576).applied_to(defaults);
        assert_eq!(small.settings.record_max_bytes, None);
        assert_eq!(small.settings.batch_max_bytes, Some(1_048_576));
        let other = given("timestamp.after.max.ms", 5000).applied_to(defaults);
        assert_eq!(other.settings.record_max_bytes, Some(3 * 1024 * 1024));
        defaults.settings.record_max_bytes = None;
        defaults.settings.batch_max_bytes = Some(65_536);
        let large = given("record.max.bytes", 2_097_152).applied_to(defaults);
        assert_eq!(large.settings.batch_max_bytes, None);
    }

    #[test]
    fn an_invalid_setting_names_its_key_and_bound() {
        let mut change = SettingsChange::default();
        let unknown = change.set("no.such", Some(number(1))).unwrap_err();
        assert_eq!(unknown.field(), "no.such");
        assert_eq!(
            unknown.bound(),
            "retention.bytes, retention.ms, batch.max.bytes, record.max.bytes, \
             timestamp.after.max.ms, timestamp.before.max.ms"
        );
        let long = change.remove(&"ü".repeat(5000)).unwrap_err();
        assert!(long.to_string().len() < 250, "{long}");
        for value in [None, Some(SettingValue::Text("1MiB"))] {
            let error = change.set("batch.max.bytes", value).unwrap_err();
            assert_eq!(error.to_string(), "batch.max.bytes must be a number");
        }
        let error = change
            .set("batch.max.bytes", Some(number(1023)))
            .unwrap_err();
        assert_eq!(error.field(), "batch.max.bytes");
        assert_eq!(error.bound(), format!("1024..={BATCH_MAX_BYTES}"));
        change.set("batch.max.bytes", Some(number(1024))).unwrap();
        let error = change.remove("batch.max.bytes").unwrap_err();
        assert_eq!(error.bound(), "given once");
    }

    #[test]
    fn a_change_of_one_bound_of_the_retention_keeps_the_other() {
        let current = RetentionPolicy {
            bytes: Some(1 << 40),
            ms: Some(5000),
        };
        let mut change = SettingsChange::default();
        assert_eq!(change.retention(current), None);
        change.set("batch.max.bytes", Some(number(4096))).unwrap();
        assert_eq!(change.retention(current), None);
        change.remove("retention.bytes").unwrap();
        let found = change.retention(current).unwrap();
        assert_eq!((found.bytes, found.ms), (None, Some(5000)));
        change.set("retention.ms", Some(number(9000))).unwrap();
        let found = change.retention(current).unwrap();
        assert_eq!((found.bytes, found.ms), (None, Some(9000)));
        assert!(change.check_no_retention().is_err());
    }

    #[test]
    fn the_level_of_a_change_is_that_of_its_newest_key() {
        let mut change = SettingsChange::default();
        change.set("retention.ms", Some(number(5000))).unwrap();
        assert_eq!(change.not_finalized(FeatureLevel::ZERO), None);
        change.remove("batch.max.bytes").unwrap();
        let found = change.not_finalized(FeatureLevel::ZERO).unwrap();
        assert_eq!(found.key, TopicKey::BatchMaxBytes);
        assert_eq!(change.not_finalized(FeatureLevel(1)), None);
        for key in [TopicKey::TimestampBeforeMaxMs, TopicKey::RecordMaxBytes] {
            let mut change = change.clone();
            change.set(key.name(), Some(number(5000))).unwrap();
            let found = change.not_finalized(FeatureLevel(1)).unwrap();
            assert_eq!((found.key, found.level), (key, FeatureLevel(2)));
            assert_eq!(found.to_string(), key.name());
            assert_eq!(change.settings().level(), FeatureLevel(2));
        }
    }

    #[test]
    fn a_batch_that_level_1_cannot_read_needs_level_2() {
        let of_level_1 = BATCH_LEVEL_1_MAX_BYTES as u64;
        for (bytes, level) in [(1024, 1), (of_level_1, 1), (of_level_1 + 1, 2)] {
            let mut change = SettingsChange::default();
            change.set("batch.max.bytes", Some(number(bytes))).unwrap();
            assert_eq!(change.settings().level(), FeatureLevel(level), "{bytes}");
            let refused = change.not_finalized(FeatureLevel(1));
            assert_eq!(refused.is_some(), level == 2, "{bytes}");
            if let Some(refused) = refused {
                assert_eq!(refused.to_string(), "batch.max.bytes above 2097152");
            }
        }
    }

    #[test]
    fn the_largest_record_of_a_topic_fits_into_its_batches() {
        let settings = |record_max_bytes, batch_max_bytes| TopicSettings {
            batch_max_bytes,
            record_max_bytes,
            ..TopicSettings::default()
        };
        for (record, batch) in [
            (Some(3 << 20), None),
            (None, Some(1024)),
            (Some(3 << 20), Some((3 << 20) + 4096)),
            (Some(1024), Some(1024 + 4096)),
        ] {
            assert_eq!(settings(record, batch).validate_together(), Ok(()));
        }
        let refused = settings(Some(1024), Some(1024 + 4095)).validate_together();
        let error = refused.unwrap_err();
        assert_eq!(error.field(), "record.max.bytes");
        assert_eq!(error.bound(), "1024..=1023");
        assert_eq!(
            error.to_string(),
            "record.max.bytes must be at most 1023, got 1024: a batch of one record takes up to 4096 \
             bytes more, and batch.max.bytes of the topic is 5119"
        );
    }

    #[test]
    fn settings_that_are_not_set_are_not_encoded() {
        let encoded = |settings: TopicSettings| serde_json::to_string(&settings).unwrap();
        assert_eq!(encoded(TopicSettings::default()), "{}");
        let settings = TopicSettings {
            batch_max_bytes: Some(4096),
            ..TopicSettings::default()
        };
        assert_eq!(encoded(settings), r#"{"batch_max_bytes":4096}"#);
        assert!(!settings.is_empty() && TopicSettings::default().is_empty());
        let later = r#"{"of_a_later_version":1}"#;
        assert!(serde_json::from_str::<TopicSettings>(later).is_err());
    }
}
