//! Feature levels, which let two versions of the program run side by side in one cluster.
//!
//! A level stands for everything that an older program would not understand: commands of the meta
//! group, kinds of entries, disk formats, RPCs between nodes, settings of topics. Each program
//! knows all levels up to its own, [`FeatureLevel::CURRENT`]. The metadata contains the *finalized*
//! level: only features up to it are used, so every node can return to its former version until a
//! newer level is finalized. Finalizing is explicit, irreversible, and requires that all nodes of
//! the cluster know the level.
//!
//! | level | version | features |
//! |---|---|---|
//! | 0 | 0.1 | all that 0.1 knows |
//! | 1 | 0.2 | the command `FinalizeLevel`; checkpoints with a finalized level; `batch.max.bytes` |
//! | 2 | 0.3 | `timestamp.*.max.ms`; rules and revocations; checked producer ids; `DeleteRecords` |
//! |   |     | `record.max.bytes`, and with it batches above 2 MiB; consumer groups |

use std::fmt;

use serde::{Deserialize, Serialize};

/// A feature level.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FeatureLevel(pub u32);

impl FeatureLevel {
    /// The level of the programs that know no levels, and of a cluster that never finalized one.
    pub const ZERO: Self = Self(0);
    /// The newest level that this program knows.
    pub const CURRENT: Self = Self(2);

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether it is level 0, which is not encoded: programs of level 0 do not know the field.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(crate) const fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
