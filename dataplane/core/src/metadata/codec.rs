//! How metadata and its commands stand in the log and in checkpoints:
//!
//! ```text
//! byte 0     version, 1
//! byte 1..   JSON, fields only ever added
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Metadata, NextIds, Node, Topic};
use crate::ids::{ClusterId, PartitionId};
use crate::offset::LogIndex;

/// The version written.
const VERSION: u8 = 1;

/// Why bytes do not encode or decode.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// There are no bytes.
    #[error("decode metadata: no bytes")]
    Empty,
    /// Another version's bytes.
    #[error("decode metadata: version {found}, this program knows {VERSION}")]
    UnknownVersion {
        /// The version byte.
        found: u8,
    },
    /// The JSON is not what it should be.
    #[error("decode metadata")]
    Malformed(#[source] serde_json::Error),
    /// The value has no JSON form.
    #[error("encode metadata")]
    Encode(#[source] serde_json::Error),
    /// Two topics of one name, two partitions of one group, or a number not yet given out.
    #[error("decode metadata: {what} stands twice or was never given out")]
    Inconsistent {
        /// Which kind of id.
        what: &'static str,
    },
}

/// A checkpoint's content.
#[derive(Serialize, Deserialize)]
struct Stored<N, T> {
    cluster_id: Option<ClusterId>,
    version: LogIndex,
    next: NextIds,
    nodes: Vec<N>,
    topics: Vec<T>,
}

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, value).map_err(CodecError::Encode)?;
    Ok(bytes)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes {
        [] => Err(CodecError::Empty),
        [VERSION, json @ ..] => serde_json::from_slice(json).map_err(CodecError::Malformed),
        [found, ..] => Err(CodecError::UnknownVersion { found: *found }),
    }
}

impl Metadata {
    /// As it stands in a checkpoint.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        encode(&Stored::<&Node, &Topic> {
            cluster_id: self.cluster_id,
            version: self.version,
            next: self.next,
            nodes: self.nodes.values().collect(),
            topics: self.topics.values().map(AsRef::as_ref).collect(),
        })
    }

    /// From a checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let stored: Stored<Node, Topic> = decode(bytes)?;
        let mut metadata = Self {
            cluster_id: stored.cluster_id,
            version: stored.version,
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            next: stored.next,
        };
        for node in stored.nodes {
            let is_given_out = node.id < metadata.next.node;
            if !is_given_out || metadata.nodes.insert(node.id, node).is_some() {
                return Err(CodecError::Inconsistent { what: "node" });
            }
        }
        for topic in stored.topics {
            metadata.insert_stored(topic)?;
        }
        Ok(metadata)
    }

    fn insert_stored(&mut self, topic: Topic) -> Result<(), CodecError> {
        for (number, partition) in (0..).map(PartitionId).zip(&topic.partitions) {
            let place = (topic.name.clone(), number);
            let is_given_out = partition.group < self.next.group;
            if !is_given_out || self.groups.insert(partition.group, place).is_some() {
                return Err(CodecError::Inconsistent { what: "group" });
            }
        }
        let is_given_out = topic.id < self.next.topic;
        if !is_given_out
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
