//! The encoding of metadata and its commands in the log and in checkpoints:
//!
//! ```text
//! byte 0     version: 1; of a checkpoint with a finalized feature level above 0: 2
//! byte 1..   JSON; fields are only added, never removed or changed, and an unknown one is refused
//! ```
//!
//! Programs of feature level 0 ignore unknown fields. The other version keeps them from reading a
//! checkpoint without its finalized level, and so from running in a cluster that uses newer
//! features.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Metadata, NextIds, Node, Rebalancing, Recoveries, Topic};
use crate::acl::{RevocationTable, RuleTable, StoredRule};
use crate::feature_level::FeatureLevel;
use crate::ids::{ClusterId, PartitionId};
use crate::offset::LogIndex;

/// The version of everything but the checkpoints of a finalized level.
const VERSION: u8 = 1;
/// The version of checkpoints with a finalized level above 0.
const CHECKPOINT_FINALIZED_VERSION: u8 = 2;

/// The failure to encode or decode metadata or a command.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// There are no bytes.
    #[error("cannot decode metadata: it is empty")]
    Empty,
    /// A newer version of the program has written it.
    #[error("metadata version must be at most {newest}, got {found}: a newer version wrote it")]
    UnknownVersion {
        /// The version byte.
        found: u8,
        /// The newest version byte that this version knows.
        newest: u8,
    },
    /// The JSON is invalid, or has fields, variants or types that this version does not know.
    #[error("cannot decode metadata")]
    Malformed(#[source] serde_json::Error),
    /// The value cannot be encoded as JSON.
    #[error("cannot encode metadata")]
    Encode(#[source] serde_json::Error),
    /// Two topics have the same name, two partitions the same group, or an id was never allocated.
    #[error("{what} ids of the metadata must be allocated and unique")]
    Inconsistent {
        /// The kind of id.
        what: &'static str,
    },
}

/// The content of a checkpoint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMetadata<N, T> {
    cluster_id: Option<ClusterId>,
    version: LogIndex,
    #[serde(default, skip_serializing_if = "FeatureLevel::is_zero")]
    finalized_level: FeatureLevel,
    next: NextIds,
    nodes: Vec<N>,
    topics: Vec<T>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    coordinators: Option<T>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<StoredRule>,
    #[serde(default, skip_serializing_if = "RevocationTable::is_empty")]
    revocations: RevocationTable,
    #[serde(default, skip_serializing_if = "Rebalancing::is_default")]
    rebalancing: Rebalancing,
    #[serde(default, skip_serializing_if = "Recoveries::is_empty")]
    recoveries: Recoveries,
}

/// Without a bound on `T`, which `#[serde(default)]` would ask for.
const fn none<T>() -> Option<T> {
    None
}

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    encode_version(value, VERSION)
}

fn encode_version(value: &impl Serialize, version: u8) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![version];
    serde_json::to_writer(&mut bytes, value).map_err(CodecError::Encode)?;
    Ok(bytes)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_version(bytes, VERSION)
}

fn decode_version<T: DeserializeOwned>(bytes: &[u8], newest: u8) -> Result<T, CodecError> {
    match bytes {
        [] => Err(CodecError::Empty),
        [version, json @ ..] if (1..=newest).contains(version) => {
            serde_json::from_slice(json).map_err(CodecError::Malformed)
        }
        [found, ..] => Err(CodecError::UnknownVersion {
            found: *found,
            newest,
        }),
    }
}

fn rules_of(stored: Vec<StoredRule>) -> Result<RuleTable, CodecError> {
    let mut rules = RuleTable::default();
    for rule in stored {
        if !rules.insert_stored(rule) {
            return Err(CodecError::Inconsistent { what: "rule" });
        }
    }
    Ok(rules)
}

impl Metadata {
    /// Encodes the metadata for a checkpoint.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let stored = StoredMetadata::<&Node, &Topic> {
            cluster_id: self.cluster_id,
            version: self.version,
            finalized_level: self.finalized_level,
            next: self.next,
            nodes: self.nodes.values().collect(),
            topics: self.topics.values().map(AsRef::as_ref).collect(),
            coordinators: self.coordinators.as_deref(),
            rules: self.rules.iter().collect(),
            revocations: (*self.revocations).clone(),
            rebalancing: self.rebalancing,
            recoveries: self.recoveries.clone(),
        };
        let version = if self.finalized_level == FeatureLevel::ZERO {
            VERSION
        } else {
            CHECKPOINT_FINALIZED_VERSION
        };
        encode_version(&stored, version)
    }

    /// Decodes a checkpoint. Fails if it is malformed or inconsistent.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let stored: StoredMetadata<Node, Topic> =
            decode_version(bytes, CHECKPOINT_FINALIZED_VERSION)?;
        let mut metadata = Self {
            cluster_id: stored.cluster_id,
            version: stored.version,
            finalized_level: stored.finalized_level,
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            coordinators: None,
            groups: BTreeMap::new(),
            next: stored.next,
            rules: Arc::new(rules_of(stored.rules)?),
            revocations: Arc::new(stored.revocations),
            rebalancing: stored.rebalancing,
            recoveries: stored.recoveries,
        };
        for node in stored.nodes {
            let is_allocated = node.id < metadata.next.node;
            if !is_allocated || metadata.nodes.insert(node.id, node).is_some() {
                return Err(CodecError::Inconsistent { what: "node" });
            }
        }
        for topic in stored.topics {
            metadata.insert_stored(topic)?;
        }
        if let Some(coordinators) = stored.coordinators {
            if !coordinators.is_coordinators() {
                return Err(CodecError::Inconsistent {
                    what: "coordinator",
                });
            }
            metadata.index_groups(&coordinators)?;
            metadata.coordinators = Some(Arc::new(coordinators));
        }
        Ok(metadata)
    }

    fn index_groups(&mut self, topic: &Topic) -> Result<(), CodecError> {
        for (number, partition) in (0..).map(PartitionId).zip(&topic.partitions) {
            let partition_key = (topic.name.clone(), number);
            let is_allocated = partition.group < self.next.group;
            if !is_allocated || self.groups.insert(partition.group, partition_key).is_some() {
                return Err(CodecError::Inconsistent { what: "group" });
            }
        }
        Ok(())
    }

    fn insert_stored(&mut self, topic: Topic) -> Result<(), CodecError> {
        self.index_groups(&topic)?;
        let is_allocated = topic.id < self.next.topic;
        if !is_allocated
            || self
                .topics
                .insert(topic.name.clone(), Arc::new(topic))
                .is_some()
        {
            return Err(CodecError::Inconsistent { what: "topic" });
        }
        Ok(())
    }
}
