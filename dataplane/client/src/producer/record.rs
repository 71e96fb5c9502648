//! Records as they are sent, and the metadata of stored records.

use std::sync::Arc;

use lograft_core::record::{Header, Record};
use lograft_core::{Offset, PartitionId, Term};
use lograft_proto::log::v1::Durability;

/// A borrowed record. It is encoded directly into a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordParts<'a> {
    /// Creation time, in milliseconds since the Unix epoch; `None`: the time of the call that sends
    /// the record.
    pub timestamp_ms: Option<i64>,
    /// Key, which selects the partition.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a [Header],
}

impl RecordParts<'_> {
    /// The size of key, value and headers together, in bytes.
    pub(crate) fn payload_len(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers.map(|h| h.key.len() + h.value.len()).sum();
        let parts = [self.key, self.value].into_iter().flatten();
        parts.map(<[u8]>::len).sum::<usize>() + headers
    }
}

impl<'a> From<&'a Record> for RecordParts<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

/// Position and durability of an acknowledged record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: PartitionId,
    /// Offset of the record. None if an earlier request had stored it already, so long ago that the
    /// leader does not know its offset any more.
    pub offset: Option<Offset>,
    /// Raft term of the leader that acknowledged the record.
    pub leader_epoch: Term,
    /// Durability at the time of the acknowledgement.
    pub durability: Durability,
    /// Time at which the leader appended the record, in milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

/// Position and durability of acknowledged records with consecutive offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: PartitionId,
    /// Offset of the first record. None if an earlier request had stored the records already, so
    /// long ago that the leader does not know their offsets any more.
    pub base_offset: Option<Offset>,
    /// Number of records.
    pub record_count: u32,
    /// Raft term of the leader that acknowledged the records.
    pub leader_epoch: Term,
    /// Durability at the time of the acknowledgement.
    pub durability: Durability,
    /// Time at which the leader appended the records, in milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}
