//! Identifiers. Each has its own type, so that one cannot be passed in place of another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id! {
    /// A node of the cluster. Allocated by the meta group, from 1, and never reused: a node that
    /// lost its disk and kept its id could vote twice in the same term.
    NodeId(u64)
}
id! {
    /// A raft group. Group 0 is the meta group. Each partition has its own group, whose id is never
    /// reused: files of a deleted topic must not be mistaken for those of a new one.
    GroupId(u64)
}
id! {
    /// The number of a partition within its topic, from 0.
    PartitionId(u32)
}
id! {
    /// An idempotent producer. Allocated by the meta group, from 1, and never reused.
    ProducerId(u64)
}
id! {
    /// The epoch of a producer. A newer epoch fences the older ones.
    ProducerEpoch(u32)
}
id! {
    /// The sequence number of a record within one producer epoch and partition, from 0.
    Sequence(u64)
}

impl From<u64> for NodeId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl GroupId {
    /// The group that replicates the cluster metadata.
    pub const META: Self = Self(0);
}

impl Sequence {
    /// The sequence after `record_count` records.
    #[must_use]
    pub const fn plus(self, record_count: u32) -> Self {
        Self(self.0 + record_count as u64)
    }
}

/// The identity of a cluster: a random UUID, generated once at bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(Uuid);

impl ClusterId {
    /// The id with these 16 bytes, as stored on disk.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes, as stored on disk.
    pub const fn to_bytes(self) -> [u8; 16] {
        *self.0.as_bytes()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for ClusterId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}
