//! What a topic may be called and how large it may be.

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
use crate::limits::{
    REPLICATION_FACTOR_MAX_COUNT, RETENTION_MIN_BYTES, RETENTION_MIN_MS, TOPIC_NAME_MAX_BYTES,
    TOPIC_PARTITIONS_MAX_COUNT,
};
use crate::reason::Reason;
use crate::retention::RetentionPolicy;

/// Why a topic is not allowed as asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TopicError {
    /// The name is empty or too long.
    #[error("topic name has {len_bytes} bytes, allowed are 1 to {TOPIC_NAME_MAX_BYTES}")]
    NameLength {
        /// The name's length, bytes.
        len_bytes: usize,
    },
    /// The name is "." or "..".
    #[error("topic name must not be {name:?}")]
    NameReserved {
        /// The name.
        name: String,
    },
    /// The name has a character that is not allowed.
    #[error("topic name has {found:?}, allowed are ASCII letters, digits, '.', '_' and '-'")]
    NameCharacter {
        /// The first such character.
        found: char,
    },
    /// No partitions, or too many.
    #[error("{partitions} partitions, allowed are 1 to {TOPIC_PARTITIONS_MAX_COUNT}")]
    PartitionCount {
        /// Partitions asked for.
        partitions: u32,
    },
    /// Fewer partitions than there are.
    #[error("{partitions} partitions, but the topic has {existing} already and only grows")]
    PartitionsShrink {
        /// Partitions asked for.
        partitions: u32,
        /// Partitions that are there.
        existing: u32,
    },
    /// No replicas, too many, or more than nodes.
    #[error("replication factor {replication_factor}, allowed are 1 to {max} here")]
    ReplicationFactor {
        /// Replicas asked for.
        replication_factor: u32,
        /// The most that are possible.
        max: u32,
    },
    /// A retention that would keep less than a segment.
    #[error("retention.bytes is {bytes}, the least is {RETENTION_MIN_BYTES}")]
    RetentionBytes {
        /// Bytes asked for.
        bytes: u64,
    },
    /// A retention too short.
    #[error("retention.ms is {ms}, the least is {RETENTION_MIN_MS}")]
    RetentionMs {
        /// Milliseconds asked for.
        ms: u64,
    },
}

impl TopicError {
    /// Its place in the table of errors.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NameLength { .. } | Self::NameReserved { .. } | Self::NameCharacter { .. } => {
                Reason::InvalidTopicName
            }
            Self::PartitionCount { .. } | Self::PartitionsShrink { .. } => {
                Reason::InvalidPartitionCount
            }
            Self::ReplicationFactor { .. } => Reason::InvalidReplicationFactor,
            Self::RetentionBytes { .. } | Self::RetentionMs { .. } => Reason::InvalidArgument,
        }
    }

    /// The field that is wrong.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::NameLength { .. } | Self::NameReserved { .. } | Self::NameCharacter { .. } => {
                "name"
            }
            Self::PartitionCount { .. } | Self::PartitionsShrink { .. } => "partitions",
            Self::ReplicationFactor { .. } => "replication_factor",
            Self::RetentionBytes { .. } => "retention.bytes",
            Self::RetentionMs { .. } => "retention.ms",
        }
    }

    /// The bound that the field exceeds.
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
        }
    }
}

/// Checks a topic's name.
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
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().find(|c| !is_allowed(c)) {
        Some(found) => Err(TopicError::NameCharacter { found }),
        None => Ok(()),
    }
}

/// Checks a number of partitions; `existing` is 0 for a new topic.
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

/// Checks a retention.
pub const fn validate_retention(retention: RetentionPolicy) -> Result<(), TopicError> {
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

/// Whether no node stands twice.
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
    fn names_keep_their_bounds() {
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
    fn numbers_keep_their_bounds() {
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
