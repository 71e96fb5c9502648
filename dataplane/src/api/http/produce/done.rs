//! The records of a stream that were appended.

use std::collections::BTreeMap;

use super::schema::{Durability, Streamed, StreamedPartition};
use crate::api::http::number::Int;
use crate::serving::request::Appended;

/// The records that were appended.
#[derive(Default)]
pub(super) struct Done {
    partitions: BTreeMap<u32, StreamedPartition>,
    /// The first line that may not be in the log.
    pub(super) first_failed_line: Option<u64>,
}

impl Done {
    pub(super) fn add(&mut self, partition: u32, appended: &Appended) {
        // Only duplicates may have none, and a stream without a producer has no duplicates.
        let Some(first) = appended.base_offset else {
            return;
        };
        let last = first.plus(appended.record_count.saturating_sub(1)).get();
        let entry = self
            .partitions
            .entry(partition)
            .or_insert_with(|| StreamedPartition {
                partition,
                record_count: Int(0),
                first_offset: Int(first.get()),
                last_offset: Int(last),
            });
        entry.record_count.0 += u64::from(appended.record_count);
        entry.first_offset = entry.first_offset.min(Int(first.get()));
        entry.last_offset = entry.last_offset.max(Int(last));
    }

    pub(super) fn fail(&mut self, line: u64) {
        let first = self.first_failed_line.map_or(line, |first| first.min(line));
        self.first_failed_line = Some(first);
    }

    pub(super) fn record_count(&self) -> u64 {
        self.partitions
            .values()
            .map(|found| found.record_count.0)
            .sum()
    }

    pub(super) fn streamed(self) -> Streamed {
        Streamed {
            durability: Durability::MajorityFsync,
            record_count: Int(self.record_count()),
            partitions: self.partitions.into_values().collect(),
        }
    }
}
