//! Identifiers. Each is its own type, so that one cannot stand where another is meant.

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
            /// The bare number.
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
    /// A node of the cluster. Given out once by the meta group, from 1 on, and never used again.
    NodeId(u64)
}
id! {
    /// A raft group. 0 is the meta group; each partition has one of its own, never used again.
    GroupId(u64)
}
id! {
    /// A partition's number within its topic, from 0.
    PartitionId(u32)
}
id! {
    /// An idempotent producer. Given out once by the meta group, from 1 on.
    ProducerId(u64)
}
id! {
    /// The incarnation of a producer; a newer one fences the older.
    ProducerEpoch(u32)
}
id! {
    /// The number of a record among all that one producer epoch sent to one partition, from 0.
    Sequence(u64)
}

impl From<u64> for NodeId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl GroupId {
    /// The group that holds the cluster's own state.
    pub const META: Self = Self(0);
}

impl Sequence {
    /// The sequence that follows `record_count` records.
    #[must_use]
    pub const fn plus(self, record_count: u32) -> Self {
        Self(self.0 + record_count as u64)
    }
}

/// The cluster's identity: a random UUID made once, at bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(Uuid);

impl ClusterId {
    /// From its 16 bytes as they stand on disk.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes as they stand on disk.
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
