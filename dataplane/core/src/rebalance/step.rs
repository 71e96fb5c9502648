//! The result of a plan: its steps and what they cost.

use crate::assignment::final_replicas;
use crate::ids::{GroupId, NodeId};
use crate::metadata::{Command, Metadata};

/// A step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Replaces a replica by one on another node.
    Move {
        /// The partition's group.
        group: GroupId,
        /// The node that has the replica.
        from: NodeId,
        /// The node that receives it.
        to: NodeId,
        /// The size of the replica, if it is known.
        size_bytes: Option<u64>,
    },
    /// Makes another replica the preferred leader.
    Lead {
        /// The partition's group.
        group: GroupId,
        /// The preferred leader until now.
        from: NodeId,
        /// The new one.
        to: NodeId,
    },
}

/// The steps from the current places of the replicas to balanced ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in order. Empty if nothing can be improved.
    pub steps: Vec<Step>,
    /// The cost of the steps.
    pub cost: Cost,
    /// The change of each node.
    pub nodes: Vec<NodeChange>,
}

/// The cost of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Number of replicas that are moved.
    pub moves: u64,
    /// A lower bound: no plan that ends with the same number of replicas on each node and as few
    /// replicas in a wrong zone needs fewer moves. It is the number of replicas that nodes lose in
    /// total or, if that is more, of replicas in a wrong zone. The plan can need more where one
    /// move cannot serve both.
    pub least_moves: u64,
    /// The bytes of the moved replicas whose size is known.
    pub size_bytes: u64,
    /// Number of moved replicas whose size is not known.
    pub unknown_sizes: u64,
    /// Number of changes of preferred leaders.
    pub leader_changes: u64,
    /// Number of preferred leaders that nodes lose in total, after the moves: a lower bound.
    pub least_leader_changes: u64,
}

/// Replicas and preferred leaders of a node, before and after a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChange {
    /// The node.
    pub node: NodeId,
    /// Its zone; empty if unknown.
    pub zone: String,
    /// Number of replicas, those that are being moved to it included.
    pub replicas: BeforeAfter,
    /// Number of partitions that have it as preferred leader.
    pub leaders: BeforeAfter,
}

/// A number before and after a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeforeAfter {
    /// Before the plan.
    pub before: u32,
    /// After it.
    pub after: u32,
}

impl Step {
    /// The partition's group.
    pub const fn group(&self) -> GroupId {
        match self {
            Self::Move { group, .. } | Self::Lead { group, .. } => *group,
        }
    }

    /// The command that starts the step; `None` if the partition is not as it was planned.
    pub fn command(&self, metadata: &Metadata) -> Option<Command> {
        let partition = metadata.group(self.group())?.partition;
        match *self {
            Self::Move {
                group, from, to, ..
            } => {
                let mut replicas = final_replicas(partition).to_vec();
                let replaced = replicas.iter_mut().find(|node| **node == from)?;
                *replaced = to;
                Some(Command::SetTarget { group, replicas })
            }
            Self::Lead { group, to, .. } => {
                let is_replica = partition.replicas.contains(&to);
                is_replica.then_some(Command::SetPreferredLeader { group, node: to })
            }
        }
    }
}
