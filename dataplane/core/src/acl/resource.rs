//! Resources and patterns of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RuleError;
use crate::limits::TOPIC_NAME_MAX_BYTES;
use crate::topic::is_name_char;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// Topics, by name.
    Topic,
    /// Consumer groups, by name.
    Group,
    /// The cluster, which has no name.
    Cluster,
}

/// The object of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The topic of this name.
    Topic(&'a str),
    /// The consumer group of this name.
    Group(&'a str),
    /// The cluster.
    Cluster,
}

/// The names that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// This name.
    Literal(String),
    /// All names that start with this text, which is not empty.
    Prefix(String),
    /// All names.
    Any,
}

/// The resources that a rule is for. Its text is `topic:<name>`, `topic:<prefix>*`, `topic:*`, the
/// same with `group:`, or `cluster`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ResourcePattern {
    /// Topics with such a name.
    Topic(NamePattern),
    /// Consumer groups with such a name.
    Group(NamePattern),
    /// The cluster.
    Cluster,
}

impl Resource<'_> {
    /// The resource's kind.
    pub const fn kind(self) -> ResourceKind {
        match self {
            Self::Topic(_) => ResourceKind::Topic,
            Self::Group(_) => ResourceKind::Group,
            Self::Cluster => ResourceKind::Cluster,
        }
    }
}

impl NamePattern {
    /// Whether the pattern matches a name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == name,
            Self::Prefix(prefix) => name.starts_with(prefix),
            Self::Any => true,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some("") => return Some(Self::Any),
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let is_valid =
            (1..=TOPIC_NAME_MAX_BYTES).contains(&name.len()) && name.chars().all(is_name_char);
        let pattern = if is_prefix {
            Self::Prefix
        } else {
            Self::Literal
        };
        is_valid.then(|| pattern(name.to_owned()))
    }
}

impl ResourcePattern {
    /// The kind of the resources.
    pub const fn kind(&self) -> ResourceKind {
        match self {
            Self::Topic(_) => ResourceKind::Topic,
            Self::Group(_) => ResourceKind::Group,
            Self::Cluster => ResourceKind::Cluster,
        }
    }

    /// Whether the pattern matches a resource.
    pub fn matches(&self, resource: Resource<'_>) -> bool {
        match (self, resource) {
            (Self::Topic(pattern), Resource::Topic(name))
            | (Self::Group(pattern), Resource::Group(name)) => pattern.matches(name),
            (Self::Cluster, Resource::Cluster) => true,
            (Self::Topic(_) | Self::Group(_) | Self::Cluster, _) => false,
        }
    }
}

fn parse(text: &str) -> Option<ResourcePattern> {
    match text.split_once(':') {
        Some(("topic", names)) => NamePattern::parse(names).map(ResourcePattern::Topic),
        Some(("group", names)) => NamePattern::parse(names).map(ResourcePattern::Group),
        None if text == "cluster" => Some(ResourcePattern::Cluster),
        _ => None,
    }
}

impl FromStr for ResourcePattern {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| RuleError::resource(text))
    }
}

impl TryFrom<String> for ResourcePattern {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ResourcePattern> for String {
    fn from(pattern: ResourcePattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Group => "group",
            Self::Cluster => "cluster",
        })
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name:?}"),
            Self::Group(name) => write!(f, "group {name:?}"),
            Self::Cluster => f.write_str("the cluster"),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(names) => write!(f, "topic:{names}"),
            Self::Group(names) => write!(f, "group:{names}"),
            Self::Cluster => f.write_str("cluster"),
        }
    }
}
