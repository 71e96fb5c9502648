//! Validation of the name and settings of a topic.

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
use crate::limits::{
    BATCH_MAX_BYTES, BATCH_OVERHEAD_MAX_BYTES, RECORD_MAX_BYTES, REPLICATION_FACTOR_MAX_COUNT,
    RETENTION_MIN_BYTES, RETENTION_MIN_MS, TIMESTAMP_BOUND_MIN_MS, TOPIC_BATCH_MIN_BYTES,
    TOPIC_NAME_MAX_BYTES, TOPIC_PARTITIONS_MAX_COUNT, TOPIC_RECORD_MIN_BYTES,
};
use crate::reason::Reason;
use crate::retention::RetentionPolicy;

/// An invalid name or setting of a topic. Part of [`MetaError`](crate::metadata::MetaError), which
/// is replicated: variants and fields are part of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TopicError {
    /// The name is empty or too long.
    #[error("topic name must be 1 to {TOPIC_NAME_MAX_BYTES} bytes long, got {len_bytes}")]
    NameLength {
        /// The length of the name, bytes.
        len_bytes: usize,
    },
    /// The name is "." or "..".
    #[error("topic name must not be {name:?}")]
    NameReserved {
        /// The name.
        name: String,
    },
    /// The name has a character that is not allowed.
    #[error("topic name must consist of ASCII letters, digits, '.', '_' and '-', got {found:?}")]
    NameCharacter {
        /// The first such character.
        found: char,
    },
    /// The number of partitions is 0 or too large.
    #[error("partitions must be between 1 and {TOPIC_PARTITIONS_MAX_COUNT}, got {partitions}")]
    PartitionCount {
        /// The requested number of partitions.
        partitions: u32,
    },
    /// The number of partitions is smaller than it is now.
    #[error("partitions must be at least {existing}, the current number, got {partitions}")]
    PartitionsShrink {
        /// The requested number of partitions.
        partitions: u32,
        /// The current number of partitions.
        existing: u32,
    },
    /// The replication factor is 0, above the limit or above the number of nodes.
    #[error("replication factor must be between 1 and {max}, got {replication_factor}")]
    ReplicationFactor {
        /// The requested replication factor.
        replication_factor: u32,
        /// The maximum in this cluster.
        max: u32,
    },
    /// The retention size is smaller than a segment.
    #[error("retention.bytes must be at least {RETENTION_MIN_BYTES}, got {bytes}")]
    RetentionBytes {
        /// The requested size, bytes.
        bytes: u64,
    },
    /// The retention time is too short.
    #[error("retention.ms must be at least {RETENTION_MIN_MS}, got {ms}")]
    RetentionMs {
        /// The requested time, milliseconds.
        ms: u64,
    },
    /// The maximum size of batches is out of bounds. Feature level 1.
    #[error(
        "batch.max.bytes must be between {TOPIC_BATCH_MIN_BYTES} and {BATCH_MAX_BYTES}, got {bytes}"
    )]
    BatchMaxBytes {
        /// The requested size, bytes.
        bytes: u64,
    },
    /// The maximum size of records is out of bounds. Feature level 2.
    #[error(
        "record.max.bytes must be between {TOPIC_RECORD_MIN_BYTES} and {RECORD_MAX_BYTES}, got \
         {bytes}"
    )]
    RecordMaxBytes {
        /// The requested size, bytes.
        bytes: u64,
    },
    /// The largest record of the topic would not fit into its batches. Feature level 2.
    #[error(
        "record.max.bytes must be at most {}, got {record_bytes}: a batch of one record takes up to \
         {BATCH_OVERHEAD_MAX_BYTES} bytes more, and batch.max.bytes of the topic is {batch_bytes}",
        record_that_fits(*batch_bytes)
    )]
    RecordAboveBatch {
        /// The maximum size of records, bytes.
        record_bytes: u64,
        /// The maximum size of batches, bytes.
        batch_bytes: u64,
    },
    /// The bound of timestamps after the append time is too small. Feature level 2.
    #[error("timestamp.after.max.ms must be at least {TIMESTAMP_BOUND_MIN_MS}, got {ms}")]
    TimestampAfterMaxMs {
        /// The requested bound, milliseconds.
        ms: u64,
    },
    /// The bound of timestamps before the append time is too small. Feature level 2.
    #[error("timestamp.before.max.ms must be at least {TIMESTAMP_BOUND_MIN_MS}, got {ms}")]
    TimestampBeforeMaxMs {
        /// The requested bound, milliseconds.
        ms: u64,
    },
}

impl TopicError {
    /// The reason in the table of errors.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NameLength { .. } | Self::NameReserved { .. } | Self::NameCharacter { .. } => {
                Reason::InvalidTopicName
            }
            Self::PartitionCount { .. } | Self::PartitionsShrink { .. } => {
                Reason::InvalidPartitionCount
            }
            Self::ReplicationFactor { .. } => Reason::InvalidReplicationFactor,
            Self::RetentionBytes { .. }
            | Self::RetentionMs { .. }
            | Self::BatchMaxBytes { .. }
            | Self::RecordMaxBytes { .. }
            | Self::RecordAboveBatch { .. }
            | Self::TimestampAfterMaxMs { .. }
            | Self::TimestampBeforeMaxMs { .. } => Reason::InvalidArgument,
        }
    }

    /// The invalid field.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::NameLength { .. } | Self::NameReserved { .. } | Self::NameCharacter { .. } => {
                "name"
            }
            Self::PartitionCount { .. } | Self::PartitionsShrink { .. } => "partitions",
            Self::ReplicationFactor { .. } => "replication_factor",
            Self::RetentionBytes { .. } => "retention.bytes",
            Self::RetentionMs { .. } => "retention.ms",
            Self::BatchMaxBytes { .. } => "batch.max.bytes",
            Self::RecordMaxBytes { .. } | Self::RecordAboveBatch { .. } => "record.max.bytes",
            Self::TimestampAfterMaxMs { .. } => "timestamp.after.max.ms",
            Self::TimestampBeforeMaxMs { .. } => "timestamp.before.max.ms",
        }
    }

    /// The violated bound.
    pub fn bound(&self) -> String {
        match self {
            Self::NameLength { .. } => format!("1..={TOPIC_NAME_MAX_BYTES} bytes"),
            Self::NameReserved { .. } => "not . or ..".to_owned(),
            Self::NameCharacter { .. } => "A-Z a-z 0-9 . _ -".to_owned(),
            Self::PartitionCount { .. } => format!("1..={TOPIC_PARTITIONS_MAX_COUNT}"),
            Self::PartitionsShrink { existing, .. } => {
                format!("{existing}..={TOPIC_PARTITIONS_MAX_COUNT}")
            }
            Self::ReplicationFactor { max, .. } => format!("1..={max}"),
            Self::RetentionBytes { .. } => format!("{RETENTION_MIN_BYTES}.."),
            Self::RetentionMs { .. } => format!("{RETENTION_MIN_MS}.."),
            Self::BatchMaxBytes { .. } => format!("{TOPIC_BATCH_MIN_BYTES}..={BATCH_MAX_BYTES}"),
            Self::RecordMaxBytes { .. } => format!("{TOPIC_RECORD_MIN_BYTES}..={RECORD_MAX_BYTES}"),
            Self::RecordAboveBatch { batch_bytes, .. } => {
                format!(
                    "{TOPIC_RECORD_MIN_BYTES}..={}",
                    record_that_fits(*batch_bytes)
                )
            }
            Self::TimestampAfterMaxMs { .. } | Self::TimestampBeforeMaxMs { .. } => {
                format!("{TIMESTAMP_BOUND_MIN_MS}..")
            }
        }
    }
}

/// The largest record that fits into a batch of so many bytes, whatever headers it has.
const fn record_that_fits(batch_bytes: u64) -> u64 {
    batch_bytes.saturating_sub(BATCH_OVERHEAD_MAX_BYTES as u64)
}

/// Whether names of topics, groups, nodes and users may contain a character.
pub const fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Checks a topic name.
pub fn validate_name(name: &str) -> Result<(), TopicError> {
    if name.is_empty() || name.len() > TOPIC_NAME_MAX_BYTES {
        return Err(TopicError::NameLength {
            len_bytes: name.len(),
        });
    }
    if name == "." || name == ".." {
        return Err(TopicError::NameReserved {
            name: name.to_owned(),
        });
    }
    match name.chars().find(|c| !is_name_char(*c)) {
        Some(found) => Err(TopicError::NameCharacter { found }),
        None => Ok(()),
    }
}

/// Checks the number of partitions of a topic; `existing` is 0 for a new topic.
pub const fn validate_partitions(partitions: u32, existing: u32) -> Result<(), TopicError> {
    if partitions == 0 || partitions > TOPIC_PARTITIONS_MAX_COUNT {
        return Err(TopicError::PartitionCount { partitions });
    }
    if partitions < existing {
        return Err(TopicError::PartitionsShrink {
            partitions,
            existing,
        });
    }
    Ok(())
}

/// Checks a replication factor against the number of nodes that can take replicas.
pub fn validate_replication_factor(
    replication_factor: u32,
    nodes: usize,
) -> Result<(), TopicError> {
    let max = u32::try_from(nodes)
        .unwrap_or(u32::MAX)
        .min(REPLICATION_FACTOR_MAX_COUNT);
    if replication_factor == 0 || replication_factor > max {
        return Err(TopicError::ReplicationFactor {
            replication_factor,
            max,
        });
    }
    Ok(())
}

/// Checks the retention of a topic.
pub(crate) const fn validate_retention(retention: RetentionPolicy) -> Result<(), TopicError> {
    match retention {
        RetentionPolicy {
            bytes: Some(bytes), ..
        } if bytes < RETENTION_MIN_BYTES => Err(TopicError::RetentionBytes { bytes }),
        RetentionPolicy { ms: Some(ms), .. } if ms < RETENTION_MIN_MS => {
            Err(TopicError::RetentionMs { ms })
        }
        _ => Ok(()),
    }
}

/// Whether no node is listed twice.
pub(crate) fn is_distinct(nodes: &[NodeId]) -> bool {
    nodes
        .iter()
        .enumerate()
        .all(|(i, node)| !nodes[..i].contains(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in [
            "a",
            "orders.eu_1-x",
            "...",
            &"x".repeat(TOPIC_NAME_MAX_BYTES),
        ] {
            assert_eq!(validate_name(good), Ok(()), "{good}");
        }
        let too_long = "x".repeat(TOPIC_NAME_MAX_BYTES + 1);
        for (bad, error) in [
            ("", TopicError::NameLength { len_bytes: 0 }),
            (too_long.as_str(), TopicError::NameLength { len_bytes: 250 }),
            (".", TopicError::NameReserved { name: ".".into() }),
            ("..", TopicError::NameReserved { name: "..".into() }),
            ("a b", TopicError::NameCharacter { found: ' ' }),
            ("a/b", TopicError::NameCharacter { found: '/' }),
            ("é", TopicError::NameCharacter { found: 'é' }),
        ] {
            assert_eq!(validate_name(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn numbers_are_checked() {
        assert!(validate_partitions(1, 0).is_ok());
        assert!(validate_partitions(TOPIC_PARTITIONS_MAX_COUNT, 0).is_ok());
        assert!(validate_partitions(0, 0).is_err());
        assert!(validate_partitions(TOPIC_PARTITIONS_MAX_COUNT + 1, 0).is_err());
        assert!(validate_partitions(3, 3).is_ok());
        let shrink = validate_partitions(2, 3).unwrap_err();
        assert_eq!(shrink.bound(), "3..=10000");
        assert_eq!(shrink.reason(), Reason::InvalidPartitionCount);

        assert!(validate_replication_factor(3, 3).is_ok());
        let error = validate_replication_factor(4, 3).unwrap_err();
        assert_eq!(
            (error.field(), error.bound().as_str()),
            ("replication_factor", "1..=3")
        );
        assert!(validate_replication_factor(0, 3).is_err());
        assert!(validate_replication_factor(8, 100).is_err());

        let policy = |bytes, ms| RetentionPolicy { bytes, ms };
        assert!(validate_retention(policy(None, None)).is_ok());
        assert!(validate_retention(policy(Some(RETENTION_MIN_BYTES), Some(1000))).is_ok());
        assert!(validate_retention(policy(Some(RETENTION_MIN_BYTES - 1), None)).is_err());
        assert!(validate_retention(policy(Some(RETENTION_MIN_BYTES), Some(999))).is_err());
    }
}
