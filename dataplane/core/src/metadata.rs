//! The cluster metadata that the meta group replicates: the cluster id, nodes, topics, partition
//! assignments, authorization rules and the next ids. Only [`Metadata::apply`] changes it.

mod apply;
mod codec;
mod command;
mod error;
mod rebalancing;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use codec::CodecError;
pub use command::{Command, FactorChange, Growth, Outcome, Registration};
pub use error::MetaError;
pub use rebalancing::Rebalancing;

use crate::acl::{RevocationTable, RuleTable};
use crate::feature_level::FeatureLevel;
use crate::ids::{ClusterId, GroupId, NodeId, PartitionId, ProducerId};
use crate::limits::{LOST_ACTIVE_MIN_COUNT, STOP_REST_MAX};
use crate::offset::LogIndex;
use crate::partitioner::partition_for_key;
use crate::producer_id_key::{ProducerIdKey, SEALED_IDS_LEVEL, is_plain};
use crate::recovery::RecoveryEpoch;
use crate::retention::RetentionPolicy;
use crate::topic_config::{TopicConfig, TopicSettings};

/// The name of the coordinators in logs and metrics. No topic can have it.
pub const COORDINATORS_NAME: &str = "$coordinators";

/// The cluster metadata. Cheap to clone: topics are shared until they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster id, once the cluster is bootstrapped.
    pub(crate) cluster_id: Option<ClusterId>,
    /// The log index of the last command that changed anything.
    pub(crate) version: LogIndex,
    /// The feature level up to which features are used.
    pub(crate) finalized_level: FeatureLevel,
    /// All nodes that ever registered.
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// The topics, by name.
    pub(crate) topics: BTreeMap<String, Arc<Topic>>,
    /// The coordinators of consumer groups, once there are any. Not one of the topics: no request
    /// of a client finds it, whatever its name.
    pub(crate) coordinators: Option<Arc<Topic>>,
    /// The partition of each group, an index over `topics` and `coordinators`.
    pub(crate) groups: BTreeMap<GroupId, (String, PartitionId)>,
    /// The next ids to allocate.
    pub(crate) next: NextIds,
    /// The authorization rules.
    pub(crate) rules: Arc<RuleTable>,
    /// The revoked certificates.
    pub(crate) revocations: Arc<RevocationTable>,
    /// Whether replicas are being balanced.
    pub(crate) rebalancing: Rebalancing,
    /// The recoveries of groups that lost their majority.
    pub(crate) recoveries: Recoveries,
}

/// The recoveries of groups that lost their majority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recoveries {
    /// The last generation of a partition's epoch. It only grows.
    pub generation: u64,
    /// The last recovery of the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataRecovery>,
}

impl Recoveries {
    /// Whether nothing was recovered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The recovery of the metadata from one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataRecovery {
    /// The epoch of the meta group since then.
    pub epoch: RecoveryEpoch,
    /// The time, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The nodes that did not answer, of this and earlier recoveries. They may have more of the
    /// former metadata, and are refused.
    pub lost: BTreeSet<NodeId>,
    /// The ids of groups that the lost voters may have allocated.
    pub skipped_groups: Vec<SkippedGroups>,
}

/// Ids of groups that are not used, because metadata that were lost may have used them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkippedGroups {
    /// The first one.
    pub from: GroupId,
    /// The first one after them.
    pub to: GroupId,
}

/// The next id of each kind. They only grow, also over deletions, so that no id is allocated twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextIds {
    /// The next node id.
    pub node: NodeId,
    /// The next group id.
    pub group: GroupId,
    /// The next topic id.
    pub topic: TopicId,
    /// The next producer id.
    pub producer: ProducerId,
}

/// The id of a topic. Unlike the name, it is never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TopicId(pub u64);

/// The random token with which a joining node identifies itself until it has a node id. The node
/// generates it once and keeps it, so that a retry of its registration gets the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistrationToken(Uuid);

/// The state of a node in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Has replicas and receives new ones.
    Active,
    /// Is being decommissioned: its replicas are moved to other nodes.
    Draining,
    /// Is decommissioned. This is final.
    Removed,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The node's id.
    pub id: NodeId,
    /// The node's latest registration.
    pub registration: Registration,
    /// The state of the node in the cluster.
    pub state: NodeState,
    /// The time until which leader balancing excludes the node, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "is_epoch")]
    pub rests_until_ms: i64,
    /// The time of the last sign of the node, milliseconds since the Unix epoch, while it is marked
    /// as lost (see [`crate::lost_nodes`]). Feature level 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since_ms: Option<i64>,
}

impl Node {
    /// Whether the node is marked as lost.
    pub const fn is_lost(&self) -> bool {
        self.lost_since_ms.is_some()
    }

    /// Whether the node can take new replicas.
    pub fn is_receiving(&self) -> bool {
        self.state == NodeState::Active && !self.is_lost()
    }

    /// The remaining time for which leader balancing excludes the node. A time further in the
    /// future than `limits::STOP_REST_MAX` was set by a wrong clock and is ignored.
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

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The name of the topic.
    pub name: String,
    /// The id of the topic.
    pub id: TopicId,
    /// The number of replicas that each partition has, or gets.
    pub replication_factor: u32,
    /// Whether that number grows with the cluster, up to the default. Feature level 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_default: bool,
    /// The retention of each partition.
    pub retention: RetentionPolicy,
    /// The settings that were added after retention.
    #[serde(default, skip_serializing_if = "TopicSettings::is_empty")]
    pub settings: TopicSettings,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
}

/// The assignment of a partition to nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// The raft group of the partition.
    pub group: GroupId,
    /// The nodes with a replica. The first one is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// The nodes that will have a replica, while a move is in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Vec<NodeId>>,
    /// Targets of an abandoned move, which may be members of the raft group already. They keep
    /// their replica until the current move is done: deleting the replica of a voter would lose one
    /// of the copies that acknowledgements count on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<NodeId>,
    /// Whether the raft group was initialized. It MUST NOT be initialized again.
    pub started: bool,
    /// The replica that is under repair, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
    /// The last recovery after the loss of the majority, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// The recovery of a partition that lost the majority of its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The epoch of the partition's group since then. Its node is that of the surviving replica.
    pub epoch: RecoveryEpoch,
    /// The time, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The nodes that had a replica before, as long as the survivor does not lead. They keep their
    /// files until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<NodeId>,
    /// Whether the survivor is known to lead the group alone.
    pub is_done: bool,
}

/// The repair of a replica with corrupt files.
///
/// A replica that lost its log and vote must leave its raft group before it rejoins empty, as a
/// learner: otherwise it could vote twice in one term, or help to elect a leader without committed
/// entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// The node of the replica.
    pub node: NodeId,
    /// Whether the replica is known to have left the raft group. It may then be re-created empty.
    pub is_evicted: bool,
}

/// A partition with its topic and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRef<'a> {
    /// The topic.
    pub topic: &'a Arc<Topic>,
    /// The number of the partition.
    pub number: PartitionId,
    /// The partition.
    pub partition: &'a Partition,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            cluster_id: None,
            version: LogIndex::ZERO,
            finalized_level: FeatureLevel::ZERO,
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            coordinators: None,
            groups: BTreeMap::new(),
            next: NextIds {
                node: NodeId(1),
                group: GroupId(1),
                topic: TopicId(1),
                producer: ProducerId(1),
            },
            rules: Arc::default(),
            revocations: Arc::default(),
            rebalancing: Rebalancing::default(),
            recoveries: Recoveries::default(),
        }
    }
}

impl Metadata {
    /// The cluster id, once the cluster is bootstrapped.
    pub const fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// The log index of the last command that changed anything. Equal versions are equal metadata.
    pub const fn version(&self) -> LogIndex {
        self.version
    }

    /// The key of the ids of producers; `None` before there is a cluster. It comes from the token
    /// of the first node: random, never changed or removed, and sent to no client.
    pub fn producer_id_key(&self) -> Option<ProducerIdKey> {
        let first = self.nodes.get(&NodeId(1))?;
        Some(ProducerIdKey::new(first.registration.token.0.as_u64_pair()))
    }

    /// Whether a node of the cluster has issued an id of a producer. Always true below the feature
    /// level from which on all nodes seal ids.
    ///
    /// Ids without a seal are from before. All of them were allocated before that level was
    /// finalized, so metadata that have the level have the allocations too: a node whose metadata
    /// lag refuses no id by mistake.
    pub fn is_producer_issued(&self, id: ProducerId) -> bool {
        if self.finalized_level < SEALED_IDS_LEVEL {
            return true;
        }
        if is_plain(id) {
            return id != ProducerId(0) && id < self.next.producer;
        }
        self.producer_id_key().is_some_and(|key| key.is_sealed(id))
    }

    /// The finalized feature level: only features up to it are used. It only grows.
    pub const fn finalized_level(&self) -> FeatureLevel {
        self.finalized_level
    }

    /// All nodes that ever registered, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The nodes of the cluster: active or draining.
    pub fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes().filter(|n| n.state != NodeState::Removed)
    }

    /// The nodes that can take new replicas: active, and not lost.
    pub fn active_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes().filter(|n| n.is_receiving())
    }

    /// The nodes that are marked as lost, draining ones included.
    pub fn lost_nodes(&self) -> impl Iterator<Item = &Node> {
        self.members().filter(|n| n.is_lost())
    }

    /// Checks that the other active nodes could take the replicas of a node.
    pub fn check_spare(&self, node: NodeId) -> Result<(), MetaError> {
        let active = self.active_nodes().filter(|n| n.id != node).count();
        let topics = self.topics.values().chain(&self.coordinators);
        let widest = topics.map(|t| t.replication_factor as usize).max();
        let needed = widest.unwrap_or(0).max(LOST_ACTIVE_MIN_COUNT);
        if active >= needed {
            return Ok(());
        }
        Err(MetaError::NoSpareNode {
            node,
            active,
            needed,
        })
    }

    /// The node with this id, even if it was removed.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topics whose names sort after `name`, by name; all of them if it is empty.
    pub fn topics_after(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let after = (Bound::Excluded(name), Bound::Unbounded);
        self.topics.range::<str, _>(after).map(|(_, topic)| topic)
    }

    /// The topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic with this name. Fails if it does not exist, or if an id is given and another topic
    /// has the name.
    pub fn topic_with_id(&self, name: &str, id: Option<TopicId>) -> Result<&Arc<Topic>, MetaError> {
        match self.topics.get(name) {
            None => Err(MetaError::UnknownTopic {
                name: name.to_owned(),
            }),
            Some(topic) if id.is_some_and(|id| id != topic.id) => Err(MetaError::TopicRecreated {
                name: name.to_owned(),
                current: topic.id,
            }),
            Some(topic) => Ok(topic),
        }
    }

    /// The partition with this topic name and number.
    pub fn partition(&self, topic: &str, number: PartitionId) -> Option<PartitionRef<'_>> {
        let topic = self.topics.get(topic)?;
        let partition = topic.partitions.get(usize::try_from(number.get()).ok()?)?;
        Some(PartitionRef {
            topic,
            number,
            partition,
        })
    }

    /// The partition or coordinator of a raft group.
    pub fn group(&self, group: GroupId) -> Option<PartitionRef<'_>> {
        let (name, number) = self.groups.get(&group)?;
        let topic = self.stored_topic(name)?;
        let partition = topic.partitions.get(usize::try_from(number.get()).ok()?)?;
        Some(PartitionRef {
            topic,
            number: *number,
            partition,
        })
    }

    /// The topic or the coordinators of this name.
    fn stored_topic(&self, name: &str) -> Option<&Arc<Topic>> {
        match &self.coordinators {
            Some(coordinators) if coordinators.name == name => Some(coordinators),
            _ => self.topics.get(name),
        }
    }

    /// The coordinators of consumer groups, each a raft group; `None` before the first use.
    pub const fn coordinators(&self) -> Option<&Arc<Topic>> {
        self.coordinators.as_ref()
    }

    /// The coordinator of a consumer group: its number and its raft group.
    pub fn coordinator_of(&self, consumer_group: &str) -> Option<(PartitionId, GroupId)> {
        let coordinators = self.coordinators.as_ref()?;
        let count = coordinators.partition_count();
        let number = partition_for_key(consumer_group.as_bytes(), count);
        let at = usize::try_from(number.get()).ok()?;
        Some((number, coordinators.partitions.get(at)?.group))
    }

    /// All partitions, by topic name and number, and the coordinators of consumer groups.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionRef<'_>> {
        self.topics
            .values()
            .chain(&self.coordinators)
            .flat_map(|topic| {
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

    /// The authorization rules. The same table until one changes.
    pub const fn rules(&self) -> &Arc<RuleTable> {
        &self.rules
    }

    /// The revoked certificates. The same table until one changes.
    pub const fn revocations(&self) -> &Arc<RevocationTable> {
        &self.revocations
    }

    /// Whether replicas are being balanced.
    pub const fn rebalancing(&self) -> Rebalancing {
        self.rebalancing
    }

    /// The recoveries of groups.
    pub const fn recoveries(&self) -> &Recoveries {
        &self.recoveries
    }

    /// The epoch of a group, as far as these metadata know: the meta group's, or a partition's.
    pub fn recovery_epoch(&self, group: GroupId) -> RecoveryEpoch {
        if group == GroupId::META {
            let recovery = self.recoveries.metadata.as_ref();
            return recovery.map_or(RecoveryEpoch::ZERO, |recovery| recovery.epoch);
        }
        let place = self.group(group);
        place.map_or(RecoveryEpoch::ZERO, |place| place.partition.epoch())
    }

    /// Whether a node was left behind by a recovery of the metadata. It must not take part any
    /// more. Not what [`Node::is_lost`] says.
    pub fn is_left_behind(&self, node: NodeId) -> bool {
        let recovery = self.recoveries.metadata.as_ref();
        recovery.is_some_and(|recovery| recovery.lost.contains(&node))
    }

    /// Whether metadata that were lost may have allocated the id of a group.
    pub fn is_skipped(&self, group: GroupId) -> bool {
        let recovery = self.recoveries.metadata.iter();
        let mut skipped = recovery.flat_map(|recovery| &recovery.skipped_groups);
        skipped.any(|range| (range.from..range.to).contains(&group))
    }

    /// Whether a group was created before the last recovery of the metadata. The metadata that were
    /// lost may have moved its replicas.
    pub fn is_older_than_recovery(&self, group: GroupId) -> bool {
        let recovery = self.recoveries.metadata.iter();
        let mut skipped = recovery.flat_map(|recovery| &recovery.skipped_groups);
        skipped.any(|range| group < range.from)
    }

    /// The next id of each kind.
    pub const fn next_ids(&self) -> NextIds {
        self.next
    }

    /// The number of replicas of all partitions, including those that are being moved in.
    pub(crate) fn replica_count(&self) -> usize {
        self.partitions().map(|p| p.partition.hosts().count()).sum()
    }
}

impl Topic {
    /// Whether these are the coordinators of consumer groups.
    pub fn is_coordinators(&self) -> bool {
        self.name == COORDINATORS_NAME
    }

    /// All settings of the topic.
    pub const fn config(&self) -> TopicConfig {
        TopicConfig {
            retention: self.retention,
            settings: self.settings,
        }
    }

    /// The number of partitions.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }
}

impl Partition {
    /// All nodes that have, may have or will have a replica; each once.
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

    /// Whether `node` has, may have or will have a replica.
    pub fn is_on(&self, node: NodeId) -> bool {
        self.hosts().any(|n| n == node)
    }

    /// The recovery epoch of the group.
    pub fn epoch(&self) -> RecoveryEpoch {
        let recovery = self.recovery.as_ref();
        recovery.map_or(RecoveryEpoch::ZERO, |recovery| recovery.epoch)
    }

    /// The recovery that is in progress: its survivor does not lead yet.
    pub fn pending_recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref().filter(|recovery| !recovery.is_done)
    }

    /// The preferred leader: the first replica.
    pub fn preferred_leader(&self) -> Option<NodeId> {
        self.replicas.first().copied()
    }
}

impl RegistrationToken {
    /// A token made of 16 random bytes.
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
