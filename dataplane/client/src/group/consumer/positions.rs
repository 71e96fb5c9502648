//! What the application decides about the reading of single partitions.

use std::sync::Arc;

use lograft_core::PartitionId;

use super::GroupConsumer;
use crate::consumer::StartAt;
use crate::group::partition::GroupPartition;
use crate::group::readers::seek_offset;

impl GroupConsumer {
    /// Stops to read a partition until [`Self::resume`]. The member keeps it, and has to go on to
    /// ask for records. Batches that were fetched are dropped and fetched again later. Returns
    /// whether the member has the partition.
    pub fn pause(&mut self, topic: &str, partition: PartitionId) -> bool {
        self.set_paused(topic, partition, true)
    }

    /// Reads a paused partition on. Returns whether the member has the partition.
    pub fn resume(&mut self, topic: &str, partition: PartitionId) -> bool {
        self.set_paused(topic, partition, false)
    }

    fn set_paused(&mut self, topic: &str, partition: PartitionId, is_paused: bool) -> bool {
        let Some(partition) = self.find(topic, partition) else {
            return false;
        };
        let was_paused = self.handle.shared.with(|membership| {
            let held = membership.held_mut(&partition)?;
            Some(std::mem::replace(&mut held.is_paused, is_paused))
        });
        match (was_paused, is_paused) {
            (Some(false), true) => self.stop_reading(&[partition]),
            (Some(true), false) => self.start_reading(&[partition]),
            _ => {}
        }
        true
    }

    /// Continues a partition at another position. The next commit commits it. Returns whether the
    /// member has the partition.
    pub fn seek(&mut self, topic: &str, partition: PartitionId, at: StartAt) -> bool {
        let Some(partition) = self.find(topic, partition) else {
            return false;
        };
        let held = self.handle.shared.with(|membership| {
            let held = membership.held_mut(&partition)?;
            held.seek = Some(at);
            Some(held.clone())
        });
        let Some(held) = held else { return false };
        self.stop_reading(std::slice::from_ref(&partition));
        if self
            .handed_out
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, &held.cursor))
        {
            self.handed_out = None;
        }
        held.cursor.restart_at(seek_offset(at));
        self.start_reading(&[partition]);
        true
    }

    /// The partition with this name that the member reads now.
    fn find(&self, topic: &str, partition: PartitionId) -> Option<GroupPartition> {
        self.handle.shared.with(|membership| {
            let is_it = |held: &&GroupPartition| {
                *held.topic == *topic
                    && held.partition == partition
                    && !membership.is_given_up(held)
            };
            membership.partitions().find(is_it).cloned()
        })
    }
}
