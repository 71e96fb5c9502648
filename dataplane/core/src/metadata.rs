//! What the meta group agrees on: the cluster's id, its nodes, its topics, where their partitions
//! stand, and which numbers have been given out. [`Metadata::apply`] is the only way to change it.

mod apply;
mod codec;
mod command;
mod error;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use codec::CodecError;
pub use command::{Command, Growth, Outcome, Registration};
pub use error::MetaError;

use crate::ids::{ClusterId, GroupId, NodeId, PartitionId, ProducerId};
use crate::limits::STOP_REST_MAX;
use crate::offset::LogIndex;
use crate::retention::RetentionPolicy;

/// The cluster's own state. Cheap to clone: topics are shared until one of them changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster, once it is bootstrapped.
    pub(crate) cluster_id: Option<ClusterId>,
    /// Index of the last command that changed anything.
    pub(crate) version: LogIndex,
    /// Every node there ever was.
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// The topics by name.
    pub(crate) topics: BTreeMap<String, Arc<Topic>>,
    /// Where each group's partition stands; follows from `topics`.
    pub(crate) groups: BTreeMap<GroupId, (String, PartitionId)>,
    /// Numbers not given out yet.
    pub(crate) next: NextIds,
}

/// The next of each kind of id. They only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextIds {
    /// The next node's.
    pub node: NodeId,
    /// The next partition's group.
    pub group: GroupId,
    /// The next topic's.
    pub topic: TopicId,
    /// The next producer's.
    pub producer: ProducerId,
}

/// A topic's id: unlike its name never used again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TopicId(pub u64);

/// What a joining node calls itself until it has an id: random, made by itself, kept until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistrationToken(Uuid);

/// Whether a node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Holds replicas and gets new ones.
    Active,
    /// Being decommissioned: its replicas move away.
    Draining,
    /// Decommissioned, for ever.
    Removed,
}

/// A node as it registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What it said of itself.
    pub registration: Registration,
    /// Whether it takes part.
    pub state: NodeState,
    /// Until when the balance of leaders hands it nothing, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "is_epoch")]
    pub rests_until_ms: i64,
}

impl Node {
    /// How much longer it rests. A time further off than a rest may last comes from a clock that
    /// is wrong, and counts for nothing.
    pub fn rests_for(&self, now_ms: i64) -> Option<Duration> {
        let left_ms = u64::try_from(self.rests_until_ms.checked_sub(now_ms)?).ok()?;
        let left = Duration::from_millis(left_ms);
        (!left.is_zero() && left <= STOP_REST_MAX).then_some(left)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_epoch(ms: &i64) -> bool {
    *ms == 0
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// Replicas of each partition.
    pub replication_factor: u32,
    /// What is kept.
    pub retention: RetentionPolicy,
    /// Its partitions by number.
    pub partitions: Vec<Partition>,
}

/// A partition's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its raft group.
    pub group: GroupId,
    /// Who holds it. The first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Who is to hold it, while it is being moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Vec<NodeId>>,
    /// Who was to hold it in an abandoned move, and may still be in the group: they keep their
    /// replica until the move that is under way now is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<NodeId>,
    /// Whether its raft group has been initialized: then nobody may do that again.
    pub started: bool,
    /// A replica whose files were damaged, on its way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
}

/// How a replica comes back whose files were damaged: what it once voted for and acknowledged is
/// forgotten, so it leaves its raft group first, and returns empty, as a learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// The node that it stands on.
    pub node: NodeId,
    /// Whether raft's membership is known to be without it: now it may begin again.
    pub is_evicted: bool,
}

/// A partition and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRef<'a> {
    /// The topic.
    pub topic: &'a Arc<Topic>,
    /// The partition's number.
    pub number: PartitionId,
    /// The partition.
    pub partition: &'a Partition,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            cluster_id: None,
            version: LogIndex::ZERO,
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            next: NextIds {
                node: NodeId(1),
                group: GroupId(1),
                topic: TopicId(1),
                producer: ProducerId(1),
            },
        }
    }
}

impl Metadata {
    /// The cluster, once it is bootstrapped.
    pub const fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// Index of the last command that changed anything: the same version is the same metadata.
    pub const fn version(&self) -> LogIndex {
        self.version
    }

    /// Every node there ever was, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The nodes that belong to the cluster: active or draining.
    pub fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes().filter(|n| n.state != NodeState::Removed)
    }

    /// The nodes that take new replicas.
    pub fn active_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes().filter(|n| n.state == NodeState::Active)
    }

    /// The node with this id, removed or not.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The topics by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The partition with this name and number.
    pub fn partition(&self, topic: &str, number: PartitionId) -> Option<PartitionRef<'_>> {
        let topic = self.topics.get(topic)?;
        let partition = topic.partitions.get(usize::try_from(number.get()).ok()?)?;
        Some(PartitionRef {
            topic,
            number,
            partition,
        })
    }

    /// The partition that a group is.
    pub fn group(&self, group: GroupId) -> Option<PartitionRef<'_>> {
        let (topic, number) = self.groups.get(&group)?;
        self.partition(topic, *number)
    }

    /// Every partition, by topic name and number.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionRef<'_>> {
        self.topics.values().flat_map(|topic| {
            (0..)
                .map(PartitionId)
                .zip(&topic.partitions)
                .map(move |(number, partition)| PartitionRef {
                    topic,
                    number,
                    partition,
                })
        })
    }

    /// The next of each kind of id.
    pub const fn next_ids(&self) -> NextIds {
        self.next
    }

    /// Replicas of all partitions, those on their way in included.
    pub fn replica_count(&self) -> usize {
        self.partitions().map(|p| p.partition.hosts().count()).sum()
    }
}

impl Topic {
    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }
}

impl Partition {
    /// Every node that has, may have or is to have a replica; each once.
    pub fn hosts(&self) -> impl Iterator<Item = NodeId> {
        let target = self
            .target
            .iter()
            .flatten()
            .filter(|n| !self.replicas.contains(n));
        let leaving = self.leaving.iter().filter(|n| {
            !self.replicas.contains(n) && !self.target.as_ref().is_some_and(|t| t.contains(n))
        });
        self.replicas.iter().chain(target).chain(leaving).copied()
    }

    /// Whether `node` has, may have or is to have a replica.
    pub fn is_on(&self, node: NodeId) -> bool {
        self.hosts().any(|n| n == node)
    }

    /// Who should lead when all is well.
    pub fn preferred_leader(&self) -> Option<NodeId> {
        self.replicas.first().copied()
    }
}

impl RegistrationToken {
    /// From 16 random bytes.
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for RegistrationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for RegistrationToken {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
