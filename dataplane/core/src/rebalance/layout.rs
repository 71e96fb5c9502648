//! The input of a plan: the nodes and the places of the replicas.

use crate::assignment::final_replicas;
use crate::ids::{GroupId, NodeId};
use crate::metadata::Metadata;

/// The part that a node takes in the balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Participation {
    /// It gives replicas and leaders, and receives them.
    #[default]
    Full,
    /// It receives nothing, for example because its disk has no room.
    GivesOnly,
    /// It neither gives nor receives. Partitions with a replica on it are not changed: a change of
    /// the other replicas would leave fewer complete copies than there are now.
    Fixed,
}

/// A node among which replicas are balanced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancedNode {
    /// The node's id.
    pub id: NodeId,
    /// The node's failure domain; empty if unknown.
    pub zone: String,
    /// Its part in the balance.
    pub participation: Participation,
    /// Maximum number of replicas that it carries.
    pub replicas_max_count: u32,
}

/// A partition, or a coordinator of consumer groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancedPartition {
    /// The partition's group.
    pub group: GroupId,
    /// Its replicas after the move in progress, if any. The first one is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Whether it may be changed. If not, its replicas count nevertheless.
    pub is_movable: bool,
    /// The size of a replica, if it is known.
    pub size_bytes: Option<u64>,
}

/// The nodes and the places of the replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The nodes, by id.
    pub nodes: Vec<BalancedNode>,
    /// The partitions.
    pub partitions: Vec<BalancedPartition>,
}

impl Layout {
    /// The active nodes and all partitions of a cluster. `describe` says of a node which part it
    /// takes and how many replicas it carries, `size_bytes` how large the replicas of a group are.
    ///
    /// A partition that has not started, is being moved or repaired is not movable: only one
    /// change of a group is in progress at a time.
    pub fn new(
        metadata: &Metadata,
        describe: impl Fn(NodeId) -> (Participation, u32),
        size_bytes: impl Fn(GroupId) -> Option<u64>,
    ) -> Self {
        let nodes = metadata.active_nodes().map(|node| {
            let (participation, replicas_max_count) = describe(node.id);
            BalancedNode {
                id: node.id,
                zone: node.registration.zone.clone(),
                participation,
                replicas_max_count,
            }
        });
        let partitions = metadata.partitions().map(|place| {
            let partition = place.partition;
            let is_changing = partition.target.is_some()
                || partition.repair.is_some()
                || partition.pending_recovery().is_some();
            BalancedPartition {
                group: partition.group,
                replicas: final_replicas(partition).to_vec(),
                is_movable: partition.started && !is_changing,
                size_bytes: size_bytes(partition.group),
            }
        });
        Self {
            nodes: nodes.collect(),
            partitions: partitions.collect(),
        }
    }

    /// The active nodes and all partitions of a cluster, without any restriction.
    pub fn unrestricted(metadata: &Metadata) -> Self {
        Self::new(metadata, |_| (Participation::Full, u32::MAX), |_| None)
    }
}
