//! Commands that change the replicas of a partition: preferred leader, moves and repairs.

use super::{Applied, count_u32};
use crate::ids::{GroupId, NodeId};
use crate::metadata::{Command, MetaError, Metadata, Outcome, Repair};

impl Metadata {
    pub(super) fn set_preferred_leader(&mut self, group: GroupId, node: NodeId) -> Applied {
        let partition = self.group_partition(group)?;
        let Some(position) = partition.replicas.iter().position(|n| *n == node) else {
            return Err(MetaError::NotReplica { group, node });
        };
        self.edit(group, |partition| {
            partition.replicas[..=position].rotate_right(1);
        })
    }

    pub(super) fn set_target(&mut self, group: GroupId, replicas: &[NodeId]) -> Applied {
        let partition = self.group_partition(group)?;
        if !partition.started {
            return Err(MetaError::NotStarted { group });
        }
        if let Some(recovery) = partition.pending_recovery() {
            let node = recovery.epoch.node();
            return Err(MetaError::Recovering { group, node });
        }
        let is_cancelled = replicas == partition.replicas;
        if is_cancelled && partition.target.is_none() {
            return Ok(Outcome::Done);
        }
        if !is_cancelled {
            let size = self.final_size(group, count_u32(partition.replicas.len()), replicas)?;
            // A draining or lost node may keep its replica while another one moves. Programs before
            // level 2 refuse that, and all must come to the same result.
            let staying = match self.finalized_level {
                level if level >= Command::FREE_TARGET_LEVEL => partition.replicas.clone(),
                _ => Vec::new(),
            };
            self.validate_assignment((&[replicas.to_vec()], &staying), size)?;
        }
        self.edit(group, |partition| {
            // A node of the abandoned target may be a voter of the raft group already. Its replica
            // is kept until the new move is done and the voters are known: deleting the replica of
            // a voter would remove a copy that acknowledged records depend on. For the same reason
            // a cancelled move is a move back to the current replicas, and takes all its steps.
            let dropped = partition.target.take().into_iter().flatten();
            let leaving = partition.leaving.drain(..).chain(dropped);
            let mut left: Vec<NodeId> = leaving.filter(|n| !replicas.contains(n)).collect();
            left.sort_unstable();
            left.dedup();
            partition.leaving = left;
            partition.target = Some(replicas.to_vec());
        })
    }

    pub(super) fn commit_move(&mut self, group: GroupId, replicas: &[NodeId]) -> Applied {
        let partition = self.group_partition(group)?;
        match &partition.target {
            None if partition.replicas == replicas => return Ok(Outcome::Done),
            Some(target) if target == replicas => {}
            _ => {
                return Err(MetaError::OtherTarget {
                    group,
                    replicas: replicas.to_vec(),
                });
            }
        }
        self.edit(group, |partition| {
            partition.replicas = replicas.to_vec();
            partition.target = None;
            partition.leaving.clear();
            // A corrupt replica that was moved away needs no repair.
            partition.repair = partition
                .repair
                .filter(|repair| replicas.contains(&repair.node));
        })
    }

    pub(super) fn report_damage(&mut self, group: GroupId, node: NodeId) -> Applied {
        // One repair at a time per partition: each one takes a voter out of the group, and two at
        // once could take the majority that has the acknowledged records.
        let partition = self.group_partition(group)?;
        if !partition.started {
            return Err(MetaError::NotStarted { group });
        }
        if !partition.is_on(node) {
            return Err(MetaError::NotReplica { group, node });
        }
        if partition.replicas.len() < 2 {
            return Err(MetaError::OnlyReplica { group, node });
        }
        if partition.repair.is_some_and(|repair| repair.node != node) {
            return Err(MetaError::OtherRepair { group, node });
        }
        self.edit(group, |partition| {
            partition.repair = Some(Repair {
                node,
                is_evicted: false,
            });
        })
    }

    /// Records that the corrupt replica has left the raft group, after which it may rejoin empty.
    pub(super) fn commit_eviction(&mut self, group: GroupId, node: NodeId) -> Applied {
        let partition = self.group_partition(group)?;
        if partition.repair.is_none_or(|repair| repair.node != node) {
            return Err(MetaError::OtherRepair { group, node });
        }
        self.edit(group, |partition| {
            partition.repair = Some(Repair {
                node,
                is_evicted: true,
            });
        })
    }

    pub(super) fn commit_repair(&mut self, group: GroupId, node: NodeId) -> Applied {
        let partition = self.group_partition(group)?;
        match partition.repair {
            None => Ok(Outcome::Done),
            Some(repair) if repair.node == node && repair.is_evicted => {
                self.edit(group, |partition| partition.repair = None)
            }
            Some(_) => Err(MetaError::OtherRepair { group, node }),
        }
    }
}
