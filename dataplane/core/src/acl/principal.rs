//! Principals: the callers as rules name them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RuleError;
use crate::limits::PRINCIPAL_NAME_MAX_BYTES;
use crate::topic::is_name_char;

/// A caller. Its text is the end of the SPIFFE id in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// `user/<name>`, or `user/<namespace>/<name>` for a user of another namespace than the
    /// cluster's.
    User {
        /// The namespace, if it is not the cluster's own.
        namespace: Option<String>,
        /// The name in the namespace.
        name: String,
    },
    /// `node/<name>`, a node of the cluster.
    Node(String),
    /// `operator`, the operator of the cluster.
    Operator,
}

/// The principals that a rule is for. Only users have rules: the rights of nodes and of the
/// operator are fixed, so that no rule can stop the cluster from working.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PrincipalPattern {
    /// `user/<name>` or `user/<namespace>/<name>`: this user.
    User {
        /// The namespace, if it is not the cluster's own.
        namespace: Option<String>,
        /// The name in the namespace.
        name: String,
    },
    /// `user/<namespace>/*`: all users of another namespace than the cluster's.
    Namespace(String),
    /// `user/*`: all users, whatever their namespace.
    AllUsers,
}

impl Principal {
    /// The user of this name in the cluster's own namespace.
    pub fn user(name: &str) -> Self {
        Self::User {
            namespace: None,
            name: name.to_owned(),
        }
    }
}

impl PrincipalPattern {
    /// Whether the pattern matches a principal.
    pub fn matches(&self, principal: &Principal) -> bool {
        let Principal::User { namespace, name } = principal else {
            return false;
        };
        match self {
            Self::User {
                namespace: of,
                name: called,
            } => of == namespace && called == name,
            Self::Namespace(of) => namespace.as_ref() == Some(of),
            Self::AllUsers => true,
        }
    }
}

/// Whether a text is a name in an identity: 1 to `PRINCIPAL_NAME_MAX_BYTES` ASCII letters, digits,
/// `.`, `_` and `-`, but not `.` or `..`. So no name can contain a wildcard, a separator or an
/// encoded character, and two different texts are never the same principal.
pub fn is_name(text: &str) -> bool {
    (1..=PRINCIPAL_NAME_MAX_BYTES).contains(&text.len())
        && text.chars().all(is_name_char)
        && !matches!(text, "." | "..")
}

fn name(text: &str) -> Option<String> {
    is_name(text).then(|| text.to_owned())
}

fn parse_principal(text: &str) -> Option<Principal> {
    let parts: Vec<&str> = text.split('/').collect();
    Some(match *parts.as_slice() {
        ["operator"] => Principal::Operator,
        ["node", node] => Principal::Node(name(node)?),
        ["user", user] => Principal::User {
            namespace: None,
            name: name(user)?,
        },
        ["user", namespace, user] => Principal::User {
            namespace: Some(name(namespace)?),
            name: name(user)?,
        },
        _ => return None,
    })
}

fn parse_pattern(text: &str) -> Option<PrincipalPattern> {
    match *text.split('/').collect::<Vec<_>>().as_slice() {
        ["user", "*"] => Some(PrincipalPattern::AllUsers),
        ["user", namespace, "*"] => Some(PrincipalPattern::Namespace(name(namespace)?)),
        _ => match parse_principal(text)? {
            Principal::User { namespace, name } => Some(PrincipalPattern::User { namespace, name }),
            Principal::Node(_) | Principal::Operator => None,
        },
    }
}

impl FromStr for Principal {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_principal(text).ok_or_else(|| RuleError::principal(text))
    }
}

impl FromStr for PrincipalPattern {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_pattern(text).ok_or_else(|| RuleError::principal_pattern(text))
    }
}

impl TryFrom<String> for Principal {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for PrincipalPattern {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        principal.to_string()
    }
}

impl From<PrincipalPattern> for String {
    fn from(pattern: PrincipalPattern) -> Self {
        pattern.to_string()
    }
}

fn write_user(f: &mut fmt::Formatter<'_>, namespace: Option<&str>, name: &str) -> fmt::Result {
    match namespace {
        Some(namespace) => write!(f, "user/{namespace}/{name}"),
        None => write!(f, "user/{name}"),
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { namespace, name } => write_user(f, namespace.as_deref(), name),
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Operator => f.write_str("operator"),
        }
    }
}

impl fmt::Display for PrincipalPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { namespace, name } => write_user(f, namespace.as_deref(), name),
            Self::Namespace(namespace) => write_user(f, Some(namespace), "*"),
            Self::AllUsers => write_user(f, None, "*"),
        }
    }
}
