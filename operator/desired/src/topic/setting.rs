//! The settings of a topic, by the keys of the data plane.

use std::fmt;

/// A key of the table of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingKey {
    /// Maximum size of a partition's log, bytes.
    RetentionBytes,
    /// Maximum age of records, milliseconds.
    RetentionMs,
    /// Maximum size of a batch, bytes.
    BatchMaxBytes,
    /// Maximum size of a record, bytes.
    RecordMaxBytes,
    /// Maximum time of a timestamp after the append time, milliseconds.
    TimestampAfterMaxMs,
    /// Maximum time of a timestamp before the append time, milliseconds.
    TimestampBeforeMaxMs,
}

impl SettingKey {
    /// All keys.
    pub const ALL: [Self; 6] = [
        Self::RetentionBytes,
        Self::RetentionMs,
        Self::BatchMaxBytes,
        Self::RecordMaxBytes,
        Self::TimestampAfterMaxMs,
        Self::TimestampBeforeMaxMs,
    ];

    /// The name in the data plane's table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RetentionBytes => "retention.bytes",
            Self::RetentionMs => "retention.ms",
            Self::BatchMaxBytes => "batch.max.bytes",
            Self::RecordMaxBytes => "record.max.bytes",
            Self::TimestampAfterMaxMs => "timestamp.after.max.ms",
            Self::TimestampBeforeMaxMs => "timestamp.before.max.ms",
        }
    }

    /// The key of this name; none for one of a newer data plane.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value in a sentence; none if there is no bound.
pub(super) fn value_text(value: Option<u64>) -> String {
    value.map_or_else(|| "unset".to_owned(), |value| value.to_string())
}
