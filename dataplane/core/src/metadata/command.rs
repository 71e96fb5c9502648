//! The commands of the meta group and their outcomes.

use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::{MetaError, RegistrationToken, TopicId};
use crate::acl::{Principal, RevocationChange, RuleChange};
use crate::feature_level::FeatureLevel;
use crate::ids::{ClusterId, GroupId, NodeId, ProducerId};
use crate::recovery::RecoveryEpoch;
use crate::retention::RetentionPolicy;
use crate::topic_config::{TopicKey, TopicSettings};

/// A change of the metadata.
///
/// Variants and fields are part of the format of the log: they are only added, never changed, and
/// each addition has a feature level ([`Command::level`]). An unknown variant or field fails to
/// decode: a field that was dropped silently would make metadata differ between versions. A command
/// is idempotent unless its description says otherwise, since a proposer repeats a command whose
/// outcome it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Bootstraps the cluster with its id and first node. The first command of the log.
    InitCluster {
        /// The id of the cluster.
        cluster_id: ClusterId,
        /// The registration of the first node.
        first_node: Registration,
        /// The level at which the cluster is finalized: that of the first node.
        #[serde(default, skip_serializing_if = "FeatureLevel::is_zero")]
        level: FeatureLevel,
    },
    /// Registers a node and allocates its id. The same token always gets the same id.
    RegisterNode(Registration),
    /// Updates the addresses, name and zone of a node. Its token does not change.
    UpdateNode {
        /// The node.
        node: NodeId,
        /// The new registration.
        registration: Registration,
    },
    /// Creates a topic. Not idempotent: fails if the topic exists.
    CreateTopic {
        /// The name of the topic.
        name: String,
        /// The retention of each partition.
        retention: RetentionPolicy,
        /// The settings that were added after retention.
        #[serde(default, skip_serializing_if = "TopicSettings::is_empty")]
        settings: TopicSettings,
        /// The replicas of each partition, the same number for all.
        assignment: Vec<Vec<NodeId>>,
        /// Whether nobody asked for this number of replicas: it grows with the cluster, up to the
        /// default. Feature level 2.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        follows_default: bool,
    },
    /// Changes a topic. A setting that is `None` does not change.
    AlterTopic {
        /// The name of the topic.
        name: String,
        /// The new retention.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retention: Option<RetentionPolicy>,
        /// The settings to set of those that were added after retention.
        #[serde(default, skip_serializing_if = "TopicSettings::is_empty")]
        settings: TopicSettings,
        /// The settings to remove. Keys of the retention have no effect here.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reset: Vec<TopicKey>,
        /// The partitions to add.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        growth: Option<Growth>,
        /// The id that the topic must have, if the caller means one topic and not whichever has the
        /// name. Feature level 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic_id: Option<TopicId>,
        /// The new number of replicas of each partition. The partitions get there by moves that are
        /// planned afterwards. Feature level 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replication_factor: Option<FactorChange>,
    },
    /// Deletes a topic. Not idempotent: fails if the topic does not exist.
    DeleteTopic {
        /// The name of the topic.
        name: String,
        /// The id that the topic must have, as in `AlterTopic`. Feature level 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic_id: Option<TopicId>,
    },
    /// Allocates producer ids. Not idempotent: each time new ones.
    AllocateProducers {
        /// The number of ids.
        count: u32,
    },
    /// Makes one of a partition's replicas its preferred leader.
    SetPreferredLeader {
        /// The partition's group.
        group: GroupId,
        /// The replica.
        node: NodeId,
    },
    /// Records that the raft group of a partition is initialized.
    StartPartition {
        /// The partition's group.
        group: GroupId,
    },
    /// Starts to move a partition to other nodes. Its current replicas as the target cancel a move.
    SetTarget {
        /// The partition's group.
        group: GroupId,
        /// The nodes that will have a replica.
        replicas: Vec<NodeId>,
    },
    /// Records that a move is done: the voters of the raft group are exactly the target.
    CommitMove {
        /// The partition's group.
        group: GroupId,
        /// The nodes with a replica: the target of the move.
        replicas: Vec<NodeId>,
    },
    /// Reports that a node's replica is corrupt and must be repaired.
    ReportDamage {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Records that the corrupt replica has left the raft group.
    CommitEviction {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Records that the repaired replica is a voter of the raft group again.
    CommitRepair {
        /// The partition's group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Starts to decommission a node.
    DrainNode {
        /// The node.
        node: NodeId,
    },
    /// Completes the decommission of a node without replicas.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// Cancels the decommission of a node that is still draining, and the moves off it that are in
    /// progress. Replicas that were moved already are not moved back.
    UndrainNode {
        /// The node.
        node: NodeId,
    },
    /// Excludes a node that is about to stop from leader balancing until a time. An earlier time
    /// than the current one is ignored.
    RestNode {
        /// The node.
        node: NodeId,
        /// The end of the exclusion, milliseconds since the Unix epoch.
        until_ms: i64,
    },
    /// Marks a node as lost for good: its replicas are replaced by replicas on other nodes. Refused
    /// if the other active nodes are too few for that. Feature level 2.
    MarkLost {
        /// The node.
        node: NodeId,
        /// The time of the last sign of it, milliseconds since the Unix epoch.
        since_ms: i64,
    },
    /// Records that a lost node is back, and cancels the moves off it that are in progress.
    /// Replicas that were replaced already stay where they are. Feature level 2.
    FindNode {
        /// The node.
        node: NodeId,
    },
    /// Changes the authorization rules, all changes or none. Feature level 2.
    ChangeRules {
        /// The changes, in order.
        changes: Vec<RuleChange>,
        /// The principal that asked for them.
        changed_by: Principal,
        /// The time, milliseconds since the Unix epoch.
        changed_at_ms: i64,
    },
    /// Changes which certificates are revoked, all changes or none. Feature level 2.
    ChangeRevocations {
        /// The changes, in order.
        changes: Vec<RevocationChange>,
        /// The principal that asked for them.
        changed_by: Principal,
        /// The time, milliseconds since the Unix epoch.
        changed_at_ms: i64,
    },
    /// Creates the coordinators of consumer groups. If there are any, nothing changes. Feature
    /// level 2.
    CreateCoordinators {
        /// The replicas of each coordinator.
        assignment: Vec<Vec<NodeId>>,
    },
    /// Requests that replicas and preferred leaders are balanced. Feature level 2.
    StartRebalance,
    /// Pauses the balancing, or resumes it. Moves in progress end. Feature level 2.
    PauseRebalance {
        /// Whether it is paused.
        is_paused: bool,
    },
    /// Records that nothing is left to balance. If there is a later request, nothing changes.
    /// Feature level 2.
    EndRebalance {
        /// The request, `Rebalancing::requests` when it was planned.
        request: u64,
    },
    /// Makes one replica of a partition that lost its majority the only one, in a new recovery
    /// epoch. Feature level 2.
    RecoverPartition {
        /// The partition's group.
        group: GroupId,
        /// The node of the surviving replica.
        node: NodeId,
        /// The epoch that the proposer has seen. The command is refused if it is another one.
        from: RecoveryEpoch,
        /// The time, milliseconds since the Unix epoch.
        at_ms: i64,
    },
    /// Records that the survivor of a partition leads its group alone. Feature level 2.
    CommitRecovery {
        /// The partition's group.
        group: GroupId,
        /// The epoch.
        epoch: RecoveryEpoch,
    },
    /// Records that the meta group was recovered: its leader is the survivor. Feature level 2.
    RecoverMetadata {
        /// The epoch of the meta group. A lower one than the recorded one changes nothing.
        epoch: RecoveryEpoch,
        /// The time, milliseconds since the Unix epoch.
        at_ms: i64,
        /// The members that did not answer.
        lost: Vec<NodeId>,
    },
    /// Finalizes a feature level. A lower level than the finalized one changes nothing.
    FinalizeLevel {
        /// The level.
        level: FeatureLevel,
    },
}

/// The registration of a node: its description of itself. The version and the feature level of a
/// node are not part of it but of its reports: a program of level 0 would drop the new field when
/// it applies the command, and its metadata would differ from that of the other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The token that identifies the node until it has its id.
    pub token: RegistrationToken,
    /// The name, for people. Not unique: a node that was wiped rejoins as a new node with the same
    /// name.
    pub name: String,
    /// The address for clients, host:port.
    pub client_address: String,
    /// The address for peers, host:port.
    pub peer_address: String,
    /// The failure domain; empty if unknown.
    #[serde(default)]
    pub zone: String,
}

/// New partitions for a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    /// The number of partitions afterwards. A topic that already has as many does not change.
    pub total: u32,
    /// The replicas of each new partition.
    pub assignment: Vec<Vec<NodeId>>,
}

/// A new replication factor of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorChange {
    /// The number of replicas of each partition.
    pub count: u32,
    /// Whether it grows with the cluster, up to the default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_default: bool,
}

/// The outcome of an applied command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The command succeeded.
    Done,
    /// The command succeeded for the node with this id.
    Node(NodeId),
    /// The command succeeded for the topic with this id.
    Topic(TopicId),
    /// The allocated producer ids: `count` ids from `first`.
    Producers {
        /// The first id.
        first: ProducerId,
        /// The number of ids.
        count: u32,
    },
}

impl Command {
    /// Encodes the command for the log.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// Decodes a command. Fails if it has a variant or field that this version does not know.
    ///
    /// A command that a peer sends is refused on an error. For a command from the log, the node
    /// MUST exit: if it skipped the command, its metadata would diverge from that of the other
    /// nodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes)
    }

    /// The feature level that must be finalized before the command is used.
    ///
    /// `InitCluster` and `FinalizeLevel` themselves set the finalized level and need none: a
    /// `FinalizeLevel` is proposed only once all nodes have reported that they know its level.
    pub fn level(&self) -> FeatureLevel {
        match self {
            Self::CreateTopic {
                settings,
                follows_default,
                ..
            } => settings
                .level()
                .max(Self::level_of_factor(*follows_default)),
            Self::AlterTopic {
                settings,
                reset,
                topic_id,
                replication_factor,
                ..
            } => {
                // Level 0 does not know the field, whichever keys it has.
                let reset = reset
                    .iter()
                    .map(|key| key.info().level.max(FeatureLevel(1)));
                let reset = reset.fold(settings.level(), FeatureLevel::max);
                reset
                    .max(Self::level_of_topic_id(*topic_id))
                    .max(Self::level_of_factor(replication_factor.is_some()))
            }
            Self::DeleteTopic { topic_id, .. } => Self::level_of_topic_id(*topic_id),
            Self::MarkLost { .. }
            | Self::FindNode { .. }
            | Self::ChangeRules { .. }
            | Self::ChangeRevocations { .. }
            | Self::CreateCoordinators { .. }
            | Self::StartRebalance
            | Self::PauseRebalance { .. }
            | Self::EndRebalance { .. }
            | Self::RecoverPartition { .. }
            | Self::CommitRecovery { .. }
            | Self::RecoverMetadata { .. } => FeatureLevel(2),
            Self::InitCluster { .. }
            | Self::FinalizeLevel { .. }
            | Self::RegisterNode(_)
            | Self::UpdateNode { .. }
            | Self::AllocateProducers { .. }
            | Self::SetPreferredLeader { .. }
            | Self::StartPartition { .. }
            | Self::SetTarget { .. }
            | Self::CommitMove { .. }
            | Self::ReportDamage { .. }
            | Self::CommitEviction { .. }
            | Self::CommitRepair { .. }
            | Self::DrainNode { .. }
            | Self::RemoveNode { .. }
            | Self::UndrainNode { .. }
            | Self::RestNode { .. } => FeatureLevel::ZERO,
        }
    }

    /// The feature level from which on `AlterTopic` and `DeleteTopic` have a topic id.
    pub const TOPIC_ID_LEVEL: FeatureLevel = FeatureLevel(2);

    /// The feature level from which on a draining or lost node may stay in a new target, which may
    /// have another number of replicas.
    pub(super) const FREE_TARGET_LEVEL: FeatureLevel = FeatureLevel(2);

    /// The feature level from which on the replication factor of a topic can change.
    pub const FACTOR_LEVEL: FeatureLevel = FeatureLevel(2);

    fn level_of_factor(is_used: bool) -> FeatureLevel {
        if is_used {
            Self::FACTOR_LEVEL
        } else {
            FeatureLevel::ZERO
        }
    }

    fn level_of_topic_id(topic_id: Option<TopicId>) -> FeatureLevel {
        topic_id.map_or(FeatureLevel::ZERO, |_| Self::TOPIC_ID_LEVEL)
    }

    /// The name of the command in the log, for error messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::InitCluster { .. } => "init_cluster",
            Self::FinalizeLevel { .. } => "finalize_level",
            Self::RegisterNode(_) => "register_node",
            Self::UpdateNode { .. } => "update_node",
            Self::CreateTopic { .. } => "create_topic",
            Self::AlterTopic { .. } => "alter_topic",
            Self::DeleteTopic { .. } => "delete_topic",
            Self::AllocateProducers { .. } => "allocate_producers",
            Self::SetPreferredLeader { .. } => "set_preferred_leader",
            Self::StartPartition { .. } => "start_partition",
            Self::SetTarget { .. } => "set_target",
            Self::CommitMove { .. } => "commit_move",
            Self::ReportDamage { .. } => "report_damage",
            Self::CommitEviction { .. } => "commit_eviction",
            Self::CommitRepair { .. } => "commit_repair",
            Self::DrainNode { .. } => "drain_node",
            Self::RemoveNode { .. } => "remove_node",
            Self::UndrainNode { .. } => "undrain_node",
            Self::RestNode { .. } => "rest_node",
            Self::MarkLost { .. } => "mark_lost",
            Self::FindNode { .. } => "find_node",
            Self::ChangeRules { .. } => "change_rules",
            Self::ChangeRevocations { .. } => "change_revocations",
            Self::CreateCoordinators { .. } => "create_coordinators",
            Self::StartRebalance => "start_rebalance",
            Self::PauseRebalance { .. } => "pause_rebalance",
            Self::EndRebalance { .. } => "end_rebalance",
            Self::RecoverPartition { .. } => "recover_partition",
            Self::CommitRecovery { .. } => "commit_recovery",
            Self::RecoverMetadata { .. } => "recover_metadata",
        }
    }

    /// Checks that a program which knows levels up to `known` may use the command in a cluster with
    /// this finalized level. Checked before a command is proposed.
    pub fn check_level(
        &self,
        finalized: FeatureLevel,
        known: FeatureLevel,
    ) -> Result<(), MetaError> {
        match self {
            Self::FinalizeLevel { level } if *level > known => Err(MetaError::UnknownLevel {
                level: *level,
                known,
            }),
            command => command.check_finalized(finalized),
        }
    }

    /// Checks that the level of the command is finalized.
    pub(super) fn check_finalized(&self, finalized: FeatureLevel) -> Result<(), MetaError> {
        let level = self.level();
        if level <= finalized {
            return Ok(());
        }
        Err(MetaError::NotFinalized {
            feature: self.name().to_owned(),
            level,
            finalized,
        })
    }
}

impl Outcome {
    /// Encodes the result for the proposer.
    pub fn encode(result: &Result<Self, MetaError>) -> Result<Vec<u8>, CodecError> {
        codec::encode(result)
    }

    /// Decodes the result of [`Outcome::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Result<Self, MetaError>, CodecError> {
        codec::decode(bytes)
    }
}
