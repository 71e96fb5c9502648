//! Records and batches of a group, with the partition that they are from.

use std::sync::Arc;

use lograft_core::Offset;

use super::membership::Cursor;
use super::partition::GroupPartition;
use crate::consumer::{ConsumedBatch, ConsumedRecord};

/// A record that a group consumer has handed out.
#[derive(Clone, Debug)]
pub struct GroupRecord {
    /// Topic and partition.
    pub partition: GroupPartition,
    /// The record, with its offset.
    pub consumed: ConsumedRecord,
    /// The assignment under which it was read.
    pub(super) cursor: Arc<Cursor>,
}

/// Consecutive records of one partition that a group consumer has handed out.
#[derive(Clone, Debug)]
pub struct GroupBatch {
    /// Topic and partition.
    pub partition: GroupPartition,
    /// The records.
    pub batch: ConsumedBatch,
    /// The assignment under which it was read.
    pub(super) cursor: Arc<Cursor>,
}

impl GroupRecord {
    /// The group's generation since which the member has the partition. It grows each time that the
    /// partition moves: a system that refuses writes with a smaller number than before (a fencing
    /// token) refuses those of a former owner.
    pub fn since_generation(&self) -> u64 {
        self.cursor.since()
    }
}

impl GroupBatch {
    /// The same as [`GroupRecord::since_generation`].
    pub fn since_generation(&self) -> u64 {
        self.cursor.since()
    }
}

/// The end of something that was processed, to commit.
#[derive(Clone, Debug)]
pub(super) struct Processed {
    pub(super) partition: GroupPartition,
    pub(super) next: Offset,
    pub(super) cursor: Arc<Cursor>,
}

impl From<&GroupRecord> for Processed {
    fn from(record: &GroupRecord) -> Self {
        Self {
            partition: record.partition.clone(),
            next: record.consumed.offset.next(),
            cursor: Arc::clone(&record.cursor),
        }
    }
}

impl From<&GroupBatch> for Processed {
    fn from(batch: &GroupBatch) -> Self {
        Self {
            partition: batch.partition.clone(),
            next: batch.batch.next_offset(),
            cursor: Arc::clone(&batch.cursor),
        }
    }
}
