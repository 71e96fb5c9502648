//! Commands that change the replicas of a partition: preferred leader, moves and repairs.

use super::{Applied, count_u32};
use crate::ids::{GroupId, NodeId};
use crate::metadata::{MetaError, Metadata, Outcome, Repair};

impl Metadata {
    pub(super) fn set_preferred_leader(&mut self, group: GroupId, node: NodeId) -> Applied {
        let partition = self.group_partition(group)?;
        let Some(place) = partition.replicas.iter().position(|n| *n == node) else {
            return Err(MetaError::NotReplica { group, node });
        };
        self.edit(group, |partition| {
            partition.replicas[..=place].rotate_right(1);
        })
    }

    pub(super) fn set_target(&mut self, group: GroupId, replicas: &[NodeId]) -> Applied {
        let partition = self.group_partition(group)?;
        if !partition.started {
            return Err(MetaError::NotStarted { group });
        }
        let is_called_off = replicas == partition.replicas;
        if is_called_off && partition.target.is_none() {
            return Ok(Outcome::Done);
        }
        if !is_called_off {
            let size = count_u32(partition.replicas.len());
            self.validate_assignment(&[replicas.to_vec()], size)?;
        }
        self.edit(group, |partition| {
            // Who was on the way in may have become a voter: it keeps its replica till the end,
            // and a move that is called off is a move back.
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
            // A damaged replica that has moved away needs no repair.
            partition.repair = partition
                .repair
                .filter(|repair| replicas.contains(&repair.node));
        })
    }

    pub(super) fn report_damage(&mut self, group: GroupId, node: NodeId) -> Applied {
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
