//! The partitions of a group, and how far a member has read them.

use std::fmt;
use std::sync::Arc;

use lograft_core::{Offset, PartitionId};

/// A partition that a group reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: PartitionId,
    /// Topic id. A topic that is deleted and created again under the same name has another id, and
    /// the group has no offsets in it.
    pub topic_id: u64,
}

impl fmt::Display for GroupPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The progress of a member in one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: GroupPartition,
    /// The offset after the last record that was handed out, once it is known.
    pub position: Option<Offset>,
    /// The committed offset, as far as this member knows.
    pub committed: Option<Offset>,
    /// End of the readable records (exclusive) in the last reply with records.
    pub high_watermark: Option<Offset>,
    /// Whether the application has paused the partition.
    pub is_paused: bool,
}

impl PartitionStatus {
    /// The number of records between the position and the high watermark. Unset before the first
    /// records have arrived.
    pub fn lag(&self) -> Option<u64> {
        let (end, position) = (self.high_watermark?, self.position?);
        Some(end.get().saturating_sub(position.get()))
    }
}

/// The state of a member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: String,
    /// The member.
    pub member_id: String,
    /// The generation that the member has acknowledged; 0 while it is not in the group.
    pub generation: u64,
    /// The partitions that the member reads.
    pub partitions: Vec<PartitionStatus>,
}

impl GroupStatus {
    /// The sum of the lags that are known.
    pub fn lag(&self) -> u64 {
        self.partitions
            .iter()
            .filter_map(PartitionStatus::lag)
            .sum()
    }
}
