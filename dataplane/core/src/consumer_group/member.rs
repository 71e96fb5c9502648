//! The members of a group: their description of themselves, and their partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{GroupError, check_limit};
use super::ids::{Generation, TopicPartition};
use crate::ids::PartitionId;
use crate::limits::{
    GROUP_CLIENT_ID_MAX_BYTES, GROUP_MEMBER_ID_MAX_BYTES, GROUP_NAME_MAX_BYTES,
    GROUP_PATTERN_MAX_BYTES, GROUP_SUBSCRIBED_TOPICS_MAX_COUNT, GROUP_TIMEOUT_MAX_MS,
    GROUP_TIMEOUT_MIN_MS, TOPIC_NAME_MAX_BYTES,
};
use crate::metadata::TopicId;
use crate::topic::is_name_char;

/// The name that a member has chosen for itself: 1 to 64 ASCII letters, digits, `.`, `_` and `-`.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Arc<str>);

/// How partitions are divided among members.
///
/// The order of the variants is part of the format of the log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Assignor {
    /// Even, and partitions move only if they must.
    #[default]
    Sticky,
    /// Topic by topic, a range of partitions for each member.
    Range,
}

/// The topics that a member wants to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Topics by name.
    pub topics: BTreeSet<String>,
    /// Topics whose whole name matches this regular expression are read too.
    pub pattern: Option<String>,
}

/// A topic that members of a group read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTopic {
    /// The id of the topic.
    pub id: TopicId,
    /// The name of the topic.
    pub name: String,
    /// The number of its partitions that the group reads.
    pub partition_count: u32,
}

/// A member's description of itself: its latest join.
///
/// The order of the fields is part of the format of the log, here and in all types below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSpec {
    /// The member.
    pub id: MemberId,
    /// The caller that joined. Only it may speak for the member.
    pub principal: String,
    /// The name of its program, for people.
    pub client_id: String,
    /// A name that survives restarts of the member.
    pub instance_id: Option<String>,
    /// The topics that it wants to read.
    pub subscription: Subscription,
    /// How it wants partitions to be divided.
    pub assignor: Assignor,
    /// How long it stays in the group without a call, milliseconds.
    pub session_timeout_ms: u32,
    /// How long it may take to give up partitions, milliseconds.
    pub rebalance_timeout_ms: u32,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its description of itself.
    pub spec: MemberSpec,
    /// A hash of the ids of the topics that its subscription matched.
    pub topics_hash: u64,
    /// The generation in which `assigned` last changed.
    pub changed_at: Generation,
    /// The partitions that it reads, each with the generation since which it has it.
    pub assigned: BTreeMap<TopicPartition, Generation>,
    /// The partitions that it gives up: another member may get one only after this one has
    /// acknowledged that it has stopped.
    pub revoking: BTreeMap<TopicPartition, Revoking>,
    /// The partitions that it will have once others have given them up. Equal to the keys of
    /// `assigned` if nothing has to move.
    pub target: BTreeSet<TopicPartition>,
}

/// A partition that a member gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoking {
    /// The generation since which the member has the partition.
    pub since: Generation,
    /// The first generation without it. The member has stopped once it acknowledges this one or a
    /// later one.
    pub revoked_at: Generation,
}

impl MemberId {
    /// The id with this text. Fails unless it is 1 to 64 ASCII letters, digits, `.`, `_` and `-`.
    pub fn new(text: &str) -> Result<Self, GroupError> {
        check_name("member_id", text, GROUP_MEMBER_ID_MAX_BYTES)?;
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MemberId {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(D::Error::custom)
    }
}

impl GroupTopic {
    /// The partitions of the topic that the group reads.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + use<> {
        let topic = self.id;
        let numbers = (0..self.partition_count).map(PartitionId);
        numbers.map(move |partition| TopicPartition { topic, partition })
    }
}

impl MemberSpec {
    /// Checks every field. The principal is the node's to check, and so is the syntax of the
    /// pattern. Fails with the first field that is out of bounds.
    pub fn validate(&self) -> Result<(), GroupError> {
        if let Some(instance_id) = &self.instance_id {
            check_name("instance_id", instance_id, GROUP_MEMBER_ID_MAX_BYTES)?;
        }
        check_text("client_id", &self.client_id, GROUP_CLIENT_ID_MAX_BYTES)?;
        let Subscription { topics, pattern } = &self.subscription;
        if topics.is_empty() && pattern.is_none() {
            return Err(GroupError::NoTopics);
        }
        check_limit("topics", topics.len(), GROUP_SUBSCRIBED_TOPICS_MAX_COUNT)?;
        for topic in topics {
            check_name("topics", topic, TOPIC_NAME_MAX_BYTES)?;
        }
        let pattern = pattern.as_deref().unwrap_or_default();
        check_text("topic_pattern", pattern, GROUP_PATTERN_MAX_BYTES)?;
        check_timeout("session_timeout_ms", self.session_timeout_ms)?;
        check_timeout("rebalance_timeout_ms", self.rebalance_timeout_ms)
    }

    /// The name that the member keeps over restarts, if it has one; else its id.
    pub(super) fn lasting_name(&self) -> &str {
        self.instance_id.as_deref().unwrap_or(self.id.as_str())
    }

    /// Size of the texts, in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        let Subscription { topics, pattern } = &self.subscription;
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.id.as_str().len()
            + self.principal.len()
            + self.client_id.len()
            + optional(&self.instance_id)
            + optional(pattern)
            + topics.iter().map(|topic| topic.len() + 1).sum::<usize>()
    }
}

impl Member {
    /// A member without partitions.
    pub(super) const fn new(spec: MemberSpec, changed_at: Generation) -> Self {
        Self {
            spec,
            topics_hash: 0,
            changed_at,
            assigned: BTreeMap::new(),
            revoking: BTreeMap::new(),
            target: BTreeSet::new(),
        }
    }

    /// Whether the member has a partition: reads it or is about to give it up.
    pub fn has(&self, partition: TopicPartition) -> bool {
        self.assigned.contains_key(&partition) || self.revoking.contains_key(&partition)
    }

    /// Whether the member has what it will have, and has nothing to give up.
    pub fn is_settled(&self) -> bool {
        self.revoking.is_empty() && !self.is_incomplete()
    }

    /// Whether the member waits for partitions that others have to give up.
    pub fn is_incomplete(&self) -> bool {
        self.target.iter().any(|p| !self.assigned.contains_key(p))
    }
}

impl Revoking {
    /// Whether a member that acknowledges a generation has stopped with the partition. A generation
    /// that the group has not reached is of no reply that the member has seen.
    pub(super) fn is_given_up(&self, acknowledged: Generation, current: Generation) -> bool {
        self.revoked_at <= acknowledged && acknowledged <= current
    }
}

/// Checks the name of a group: 1 to 249 ASCII letters, digits, `.`, `_` and `-`.
pub fn validate_group_name(name: &str) -> Result<(), GroupError> {
    check_name("group", name, GROUP_NAME_MAX_BYTES)
}

fn check_name(field: &str, text: &str, max: usize) -> Result<(), GroupError> {
    let is_short = (1..=max).contains(&text.len());
    if is_short && text != "." && text != ".." && text.chars().all(is_name_char) {
        return Ok(());
    }
    Err(GroupError::BadName {
        field: field.to_owned(),
        len_bytes: text.len(),
        max,
    })
}

fn check_text(field: &str, text: &str, max: usize) -> Result<(), GroupError> {
    if text.len() <= max {
        return Ok(());
    }
    Err(GroupError::BadText {
        field: field.to_owned(),
        len_bytes: text.len(),
        max,
    })
}

fn check_timeout(field: &str, found: u32) -> Result<(), GroupError> {
    if (GROUP_TIMEOUT_MIN_MS..=GROUP_TIMEOUT_MAX_MS).contains(&found) {
        return Ok(());
    }
    Err(GroupError::BadTimeout {
        field: field.to_owned(),
        found,
    })
}
