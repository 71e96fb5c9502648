//! Operations and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ResourceKind, RuleError};

/// An operation of a caller on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Read records of a topic; read as a member of a group.
    Read,
    /// Append records to a topic.
    Write,
    /// Create a topic of this name.
    Create,
    /// Delete a topic or a group.
    Delete,
    /// Change the settings of a topic, the offsets of a group, or which node leads what.
    Alter,
    /// See that a resource exists, and its state.
    Describe,
    /// Administer the cluster: rules, nodes, disks and feature levels.
    Admin,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Delete,
        Self::Alter,
        Self::Describe,
        Self::Admin,
    ];

    /// The name in rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Alter => "alter",
            Self::Describe => "describe",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Operation {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| RuleError::operation(text))
    }
}

/// A set of operations.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(from = "Vec<Operation>", into = "Vec<Operation>")]
pub struct Operations(u8);

impl Operations {
    /// No operation.
    pub const NONE: Self = Self(0);

    /// The operations that exist on resources of a kind.
    pub fn of_kind(kind: ResourceKind) -> Self {
        use Operation::{Admin, Alter, Create, Delete, Describe, Read, Write};
        match kind {
            ResourceKind::Topic => [Read, Write, Create, Delete, Alter, Describe]
                .into_iter()
                .collect(),
            ResourceKind::Group => [Read, Delete, Alter, Describe].into_iter().collect(),
            ResourceKind::Cluster => [Alter, Describe, Admin].into_iter().collect(),
        }
    }

    /// Whether the operation is in the set.
    pub const fn contains(self, operation: Operation) -> bool {
        self.0 & operation.bit() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The operations of either set.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The operations of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The operations, in the order of [`Operation::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL
            .into_iter()
            .filter(move |operation| self.contains(*operation))
    }
}

impl FromIterator<Operation> for Operations {
    fn from_iter<T: IntoIterator<Item = Operation>>(operations: T) -> Self {
        let bits = operations.into_iter().map(Operation::bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

impl From<Operation> for Operations {
    fn from(operation: Operation) -> Self {
        Self(operation.bit())
    }
}

impl From<Vec<Operation>> for Operations {
    fn from(operations: Vec<Operation>) -> Self {
        operations.into_iter().collect()
    }
}

impl From<Operations> for Vec<Operation> {
    fn from(operations: Operations) -> Self {
        operations.iter().collect()
    }
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Operation::as_str).collect();
        f.write_str(&names.join(","))
    }
}

/// Operations that are allowed and denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    pub(super) allowed: Operations,
    pub(super) denied: Operations,
}

impl Grants {
    pub(super) const fn with(self, other: Self) -> Self {
        Self {
            allowed: self.allowed.with(other.allowed),
            denied: self.denied.with(other.denied),
        }
    }

    /// Whether an operation is allowed and not denied. Who may do anything to a resource may also
    /// see it, unless that is denied.
    pub(super) const fn allows(self, operation: Operation) -> bool {
        if self.denied.contains(operation) {
            return false;
        }
        let is_implied = matches!(operation, Operation::Describe) && !self.allowed.is_empty();
        self.allowed.contains(operation) || is_implied
    }
}
