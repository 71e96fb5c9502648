//! Applying commands to the metadata.

mod authorization;
mod coordinators;
mod nodes;
mod partitions;
mod rebalancing;
mod recovery;
mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Command, MetaError, Metadata, Node, NodeState, Outcome, Partition, Rebalancing};
use crate::feature_level::FeatureLevel;
use crate::ids::{GroupId, NodeId, ProducerId};
use crate::limits::{CLUSTER_REPLICAS_MAX_COUNT, PRODUCERS_ALLOCATE_MAX_COUNT};
use crate::offset::LogIndex;
use crate::topic;
use crate::topic_config::{ConfigChange, TopicConfig};

/// The result of applying a command.
type Applied = Result<Outcome, MetaError>;

impl Metadata {
    /// Applies the command at `index`, which becomes the version of the metadata. A rejected
    /// command changes nothing, the version included.
    pub fn apply(&mut self, command: &Command, index: LogIndex) -> Applied {
        // All replicas of the meta group apply the same commands and must get the same result. So a
        // command is decided from the metadata and its own fields alone: no clock, no reachability.
        //
        // Each function below checks everything before its first change. The proposer of a rejected
        // command relies on it having had no effect, and equal versions must be equal metadata.
        if self.cluster_id.is_none() && !matches!(command, Command::InitCluster { .. }) {
            return Err(MetaError::NotBootstrapped);
        }
        command.check_finalized(self.finalized_level)?;
        let outcome = self.dispatch(command)?;
        self.version = index;
        Ok(outcome)
    }

    fn dispatch(&mut self, command: &Command) -> Applied {
        match command {
            Command::InitCluster {
                cluster_id,
                first_node,
                level,
            } => self.init_cluster(*cluster_id, first_node, *level),
            Command::RegisterNode(registration) => self.register_node(registration),
            Command::UpdateNode { node, registration } => self.update_node(*node, registration),
            Command::CreateTopic { .. }
            | Command::AlterTopic { .. }
            | Command::DeleteTopic { .. } => self.dispatch_topic(command),
            Command::AllocateProducers { count } => self.allocate_producers(*count),
            Command::SetPreferredLeader { group, node } => self.set_preferred_leader(*group, *node),
            Command::StartPartition { group } => self.start_partition(*group),
            Command::SetTarget { group, replicas } => self.set_target(*group, replicas),
            Command::CommitMove { group, replicas } => self.commit_move(*group, replicas),
            Command::ReportDamage { group, node } => self.report_damage(*group, *node),
            Command::CommitEviction { group, node } => self.commit_eviction(*group, *node),
            Command::CommitRepair { group, node } => self.commit_repair(*group, *node),
            Command::DrainNode { node } => self.drain_node(*node),
            Command::RemoveNode { node } => self.remove_node(*node),
            Command::UndrainNode { node } => self.undrain_node(*node),
            Command::RestNode { node, until_ms } => self.rest_node(*node, *until_ms),
            Command::MarkLost { node, since_ms } => self.mark_lost(*node, *since_ms),
            Command::FindNode { node } => self.find_node(*node),
            Command::ChangeRules {
                changes,
                changed_by,
                changed_at_ms,
            } => self.change_rules(changes, changed_by, *changed_at_ms),
            Command::ChangeRevocations {
                changes,
                changed_at_ms,
                ..
            } => self.change_revocations(changes, *changed_at_ms),
            Command::CreateCoordinators { assignment } => self.create_coordinators(assignment),
            Command::StartRebalance => Ok(self.start_rebalance()),
            Command::PauseRebalance { is_paused } => Ok(self.pause_rebalance(*is_paused)),
            Command::EndRebalance { request } => Ok(self.end_rebalance(*request)),
            Command::RecoverPartition {
                group,
                node,
                from,
                at_ms,
            } => self.recover_partition((*group, *node), *from, *at_ms),
            Command::CommitRecovery { group, epoch } => self.commit_recovery(*group, *epoch),
            Command::RecoverMetadata { epoch, at_ms, lost } => {
                self.recover_metadata(*epoch, *at_ms, lost)
            }
            Command::FinalizeLevel { level } => Ok(self.finalize_level(*level)),
        }
    }

    fn dispatch_topic(&mut self, command: &Command) -> Applied {
        match command {
            Command::CreateTopic {
                name,
                retention,
                settings,
                assignment,
                follows_default,
            } => {
                let config = TopicConfig {
                    retention: *retention,
                    settings: *settings,
                };
                self.create_topic(name, config, assignment, *follows_default)
            }
            Command::AlterTopic {
                name,
                retention,
                settings,
                reset,
                growth,
                topic_id,
                replication_factor,
            } => {
                let change = ConfigChange {
                    retention: *retention,
                    settings: *settings,
                    reset,
                };
                self.alter_topic(
                    (name, *topic_id),
                    change,
                    growth.as_ref(),
                    *replication_factor,
                )
            }
            Command::DeleteTopic { name, topic_id } => self.delete_topic(name, *topic_id),
            _ => Ok(Outcome::Done),
        }
    }

    fn start_partition(&mut self, group: GroupId) -> Applied {
        self.edit(group, |partition| partition.started = true)
    }

    fn finalize_level(&mut self, level: FeatureLevel) -> Outcome {
        let former = self.finalized_level;
        self.finalized_level = former.max(level);
        if former < Rebalancing::LEVEL {
            self.want_rebalancing();
        }
        Outcome::Done
    }

    fn allocate_producers(&mut self, count: u32) -> Applied {
        if count == 0 || count > PRODUCERS_ALLOCATE_MAX_COUNT {
            return Err(MetaError::BadCount {
                field: "count".to_owned(),
                found: count.into(),
                max: PRODUCERS_ALLOCATE_MAX_COUNT.into(),
            });
        }
        let first = self.next.producer;
        self.next.producer = ProducerId(first.get() + u64::from(count));
        Ok(Outcome::Producers { first, count })
    }

    /// The node with this id, unless it is unknown or removed.
    fn member(&self, id: NodeId) -> Result<&Node, MetaError> {
        match self.nodes.get(&id) {
            None => Err(MetaError::UnknownNode { node: id }),
            Some(node) if node.state == NodeState::Removed => {
                Err(MetaError::NodeDecommissioned { node: id })
            }
            Some(node) => Ok(node),
        }
    }

    fn group_partition(&self, group: GroupId) -> Result<&Partition, MetaError> {
        self.group(group)
            .map(|p| p.partition)
            .ok_or(MetaError::UnknownGroup { group })
    }

    /// Changes the partition of a group.
    fn edit(&mut self, group: GroupId, change: impl FnOnce(&mut Partition)) -> Applied {
        let partition = self.groups.get(&group).and_then(|(name, number)| {
            let topic = match &mut self.coordinators {
                Some(coordinators) if coordinators.name == *name => coordinators,
                _ => self.topics.get_mut(name)?,
            };
            let topic = Arc::make_mut(topic);
            topic
                .partitions
                .get_mut(usize::try_from(number.get()).ok()?)
        });
        let partition = partition.ok_or(MetaError::UnknownGroup { group })?;
        change(partition);
        Ok(Outcome::Done)
    }

    /// Checks replicas of partitions. `staying` are nodes that have a replica already and may keep
    /// it, although they cannot take new ones.
    fn validate_assignment(
        &self,
        (assignment, staying): (&[Vec<NodeId>], &[NodeId]),
        replication_factor: u32,
    ) -> Result<(), MetaError> {
        let allowed: BTreeSet<NodeId> = self
            .active_nodes()
            .map(|node| node.id)
            .chain(staying.iter().copied())
            .collect();
        topic::validate_replication_factor(replication_factor, allowed.len())?;
        for (position, replicas) in assignment.iter().enumerate() {
            if count_u32(replicas.len()) != replication_factor || !topic::is_distinct(replicas) {
                return Err(MetaError::BadAssignment {
                    position,
                    replicas: replicas.clone(),
                });
            }
            for node in replicas {
                self.member(*node)?;
                if !allowed.contains(node) {
                    return Err(MetaError::NodeDecommissioned { node: *node });
                }
            }
        }
        let new: usize = assignment.iter().map(Vec::len).sum();
        check_limit(
            "replicas",
            self.replica_count() + new,
            CLUSTER_REPLICAS_MAX_COUNT,
        )
    }
}

fn check_limit(field: &str, found: usize, max: usize) -> Result<(), MetaError> {
    if found <= max {
        return Ok(());
    }
    let (found, max) = (found as u64, max as u64);
    Err(MetaError::LimitExceeded {
        field: field.to_owned(),
        found,
        max,
    })
}

fn count_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
