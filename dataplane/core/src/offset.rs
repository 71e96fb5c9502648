//! Positions. An offset counts the records of a partition, a log index the raft entries of a group.
//! Blank and membership entries take an index and no offset, so the two numbers differ. They are
//! separate types, and no arithmetic converts one into the other.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The first position.
            pub const ZERO: Self = Self(0);

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The position after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The position before this one, if there is one.
            #[must_use]
            pub const fn prev(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(n) => Some(Self(n)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

position! {
    /// The position of a record in its partition, from 0, without gaps.
    Offset
}
position! {
    /// The position of an entry in its raft group's log, from 0, without gaps.
    LogIndex
}
position! {
    /// A raft term. Each term has at most one leader.
    Term
}

impl Offset {
    /// The offset `record_count` records later.
    #[must_use]
    pub const fn plus(self, record_count: u32) -> Self {
        Self(self.0 + record_count as u64)
    }

    /// The number of records from `earlier` (inclusive) to this offset (exclusive); 0 if `earlier`
    /// is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
