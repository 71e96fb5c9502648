//! The encoding of a coordinator's state in checkpoints and snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::CoordinatorState;
use super::entry::{CommittedOffset, Group};
use crate::consumer_group::codec::{self, GroupCodecError};
use crate::consumer_group::group::ConsumerGroup;
use crate::consumer_group::ids::{Generation, TopicPartition};

/// A state with groups of type `G`.
#[derive(Serialize, Deserialize)]
struct StoredState<G> {
    deleted_generation: Generation,
    groups: Vec<G>,
}

/// A group, its membership and offsets as values or as references.
#[derive(Serialize, Deserialize)]
struct StoredGroup<N, M, O> {
    name: N,
    membership: M,
    offsets: O,
    last_commit_ms: i64,
}

type Offsets = BTreeMap<TopicPartition, CommittedOffset>;

impl CoordinatorState {
    /// Encodes the state for a checkpoint.
    pub fn encode(&self) -> Result<Vec<u8>, GroupCodecError> {
        let groups = self.groups().map(|(name, group)| StoredGroup {
            name,
            membership: &**group.membership(),
            offsets: group.offsets(),
            last_commit_ms: group.last_commit_ms(),
        });
        codec::encode(&StoredState {
            deleted_generation: self.deleted_generation,
            groups: groups.collect(),
        })
    }

    /// Decodes a checkpoint. Fails if it is malformed or inconsistent.
    pub fn decode(bytes: &[u8]) -> Result<Self, GroupCodecError> {
        type Stored = StoredState<StoredGroup<String, ConsumerGroup, Offsets>>;
        let stored: Stored = codec::decode(bytes)?;
        let mut state = Self {
            deleted_generation: stored.deleted_generation,
            ..Self::default()
        };
        for stored in stored.groups {
            let group = Group::new(&stored.name, Arc::new(stored.membership))
                .with_offsets(stored.offsets, stored.last_commit_ms);
            state.bytes += group.bytes();
            if state.groups.insert(stored.name, group).is_some() {
                return Err(GroupCodecError::Inconsistent);
            }
        }
        Ok(state)
    }
}
