//! Rules, and why one is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Operation, Operations, PrincipalPattern, ResourceKind, ResourcePattern};
use crate::limits::{PRINCIPAL_NAME_MAX_BYTES, SERIAL_MAX_BYTES, TOPIC_NAME_MAX_BYTES};

/// Whether a rule allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The operations are allowed, unless another rule denies them.
    Allow,
    /// The operations are denied, whatever other rules allow.
    Deny,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Whose operations.
    pub principal: PrincipalPattern,
    /// Allowed or denied.
    pub effect: Effect,
    /// The operations; at least one.
    pub operations: Operations,
    /// On which resources.
    pub resource: ResourcePattern,
}

/// The number of bytes of a refused text that an error repeats.
const SHOWN_LEN: usize = 128;

/// An invalid part of a rule. Part of [`MetaError`](crate::metadata::MetaError), which is
/// replicated: variants and fields are part of the format. Feature level 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RuleError {
    /// The text is no principal.
    #[error(
        "principal must be user/<name>, user/<namespace>/<name>, node/<name> or operator, with \
         names of 1 to {PRINCIPAL_NAME_MAX_BYTES} ASCII letters, digits, '.', '_' and '-', \
         got {found:?}"
    )]
    Principal {
        /// The start of the text.
        found: String,
    },
    /// The text is no principal that a rule can be for.
    #[error(
        "principal of a rule must be user/<name>, user/<namespace>/<name>, user/<namespace>/* or \
         user/*, with names of 1 to {PRINCIPAL_NAME_MAX_BYTES} ASCII letters, digits, '.', '_' and \
         '-', got {found:?}"
    )]
    PrincipalPattern {
        /// The start of the text.
        found: String,
    },
    /// The text is no resource.
    #[error(
        "resource must be cluster, or topic: or group: followed by a name, a prefix and '*', or \
         '*' alone, with 1 to {TOPIC_NAME_MAX_BYTES} ASCII letters, digits, '.', '_' and '-', \
         got {found:?}"
    )]
    Resource {
        /// The start of the text.
        found: String,
    },
    /// The text is no operation.
    #[error(
        "operations must be among read, write, create, delete, alter, describe and admin, got \
         {found:?}"
    )]
    Operation {
        /// The start of the text.
        found: String,
    },
    /// The text is no serial number.
    #[error(
        "serial must be 1 to {SERIAL_MAX_BYTES} bytes as lower-case hexadecimal digits, without \
         leading zeros, got {found:?}"
    )]
    Serial {
        /// The start of the text.
        found: String,
    },
    /// The rule has no operation.
    #[error("operations of a rule must be at least 1, got 0")]
    NoOperation,
    /// Resources of the kind do not have the operations.
    #[error("operations on a {kind} must be among {known}, got {found}")]
    OtherOperations {
        /// The kind of resource.
        kind: String,
        /// Its operations.
        known: String,
        /// Those of the rule that are not among them.
        found: String,
    },
}

impl Rule {
    /// Checks that resources of the rule's kind have its operations, and that it has one at least.
    pub fn validate(&self) -> Result<(), RuleError> {
        let kind: ResourceKind = self.resource.kind();
        let known = Operations::of_kind(kind);
        let other = self.operations.without(known);
        if self.operations.is_empty() {
            Err(RuleError::NoOperation)
        } else if other.is_empty() {
            Ok(())
        } else {
            Err(RuleError::OtherOperations {
                kind: kind.to_string(),
                known: known.to_string(),
                found: other.to_string(),
            })
        }
    }
}

impl RuleError {
    pub(super) fn principal(text: &str) -> Self {
        let found = start_of(text);
        Self::Principal { found }
    }

    pub(super) fn principal_pattern(text: &str) -> Self {
        let found = start_of(text);
        Self::PrincipalPattern { found }
    }

    pub(super) fn resource(text: &str) -> Self {
        let found = start_of(text);
        Self::Resource { found }
    }

    pub(super) fn operation(text: &str) -> Self {
        let found = start_of(text);
        Self::Operation { found }
    }

    pub(super) fn serial(text: &str) -> Self {
        let found = start_of(text);
        Self::Serial { found }
    }

    /// The violated bound.
    pub fn bound(&self) -> String {
        let names = format!("names of 1..={PRINCIPAL_NAME_MAX_BYTES} of A-Z a-z 0-9 . _ -");
        match self {
            Self::Principal { .. } => {
                format!("user/<name>, user/<namespace>/<name>, node/<name> or operator; {names}")
            }
            Self::PrincipalPattern { .. } => format!(
                "user/<name>, user/<namespace>/<name>, user/<namespace>/* or user/*; {names}"
            ),
            Self::Resource { .. } => {
                "cluster, or topic: or group: with <name>, <prefix>* or *".to_owned()
            }
            Self::Operation { .. } => Operation::ALL.map(Operation::as_str).join(", "),
            Self::Serial { .. } => format!("1..={SERIAL_MAX_BYTES} bytes, hexadecimal"),
            Self::NoOperation => "1..".to_owned(),
            Self::OtherOperations { known, .. } => known.clone(),
        }
    }

    /// The invalid field.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Principal { .. } | Self::PrincipalPattern { .. } => "principal",
            Self::Resource { .. } => "resource",
            Self::Serial { .. } => "serial",
            Self::Operation { .. } | Self::NoOperation | Self::OtherOperations { .. } => {
                "operations"
            }
        }
    }
}

fn start_of(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN_LEN)].to_owned()
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            principal,
            effect,
            operations,
            resource,
        } = self;
        write!(f, "{effect} {principal} {operations} on {resource}")
    }
}
