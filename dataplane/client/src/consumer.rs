//! Consuming: batches of many partitions, each in its order.

use std::collections::BTreeMap;

use lograft_core::limits::CONSUMER_REPLY_BYTES;
use lograft_core::record::{Record, RecordRef};
use lograft_core::{Offset, PartitionId, Term};

use crate::error::ClientError;

/// Where a consumer begins in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The first record that is still there.
    Earliest,
    /// What is written from now on.
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first record at or after this time, milliseconds since the Unix epoch.
    Timestamp(i64),
}

/// What to do when the next offset is not in the log (any more).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfRange {
    /// Fail; [`ClientError::valid_offsets`] tells the range.
    #[default]
    Error,
    /// Go on at the first record that is there.
    Earliest,
    /// Go on with what is written from now on.
    Latest,
}

/// What a consumer reads and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// The topic.
    pub topic: String,
    /// Its partitions; empty takes all, and with `follow` also those that are added later.
    pub partitions: Vec<PartitionId>,
    /// Where to begin.
    pub start: StartAt,
    /// Where to begin in single partitions instead.
    pub start_overrides: BTreeMap<PartitionId, StartAt>,
    /// Whether to wait at the end for what comes. Without it the consumer ends at the high
    /// watermarks seen at its start.
    pub follow: bool,
    /// What to do when the next offset is not in the log.
    pub out_of_range: OutOfRange,
    /// How much a leader sends in one reply, batch bytes.
    pub reply_max_bytes: u32,
}

impl ConsumerConfig {
    /// All partitions of `topic` from `start` on, and what comes later.
    pub fn new(topic: impl Into<String>, start: StartAt) -> Self {
        Self {
            topic: topic.into(),
            partitions: Vec::new(),
            start,
            start_overrides: BTreeMap::new(),
            follow: true,
            out_of_range: OutOfRange::Error,
            reply_max_bytes: CONSUMER_REPLY_BYTES,
        }
    }
}

/// A record and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// The partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// The raft term in which it was appended.
    pub leader_epoch: Term,
    /// When the leader took it, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
    /// The record.
    pub record: Record,
}

/// Records of one partition, decoded, one after another.
#[derive(Clone, Debug)]
pub struct ConsumedBatch {}

impl ConsumedBatch {
    /// The partition.
    pub fn partition(&self) -> PartitionId {
        unimplemented!()
    }
    /// The first record's offset.
    pub fn base_offset(&self) -> Offset {
        unimplemented!()
    }
    /// The offset after the last record.
    pub fn next_offset(&self) -> Offset {
        unimplemented!()
    }
    /// How many records.
    pub fn record_count(&self) -> u32 {
        unimplemented!()
    }
    /// The encoded length, bytes.
    pub fn encoded_len(&self) -> usize {
        unimplemented!()
    }
    /// The raft term in which it was appended.
    pub fn leader_epoch(&self) -> Term {
        unimplemented!()
    }
    /// When the leader took it, milliseconds since the Unix epoch.
    pub fn append_time_ms(&self) -> i64 {
        unimplemented!()
    }
    /// The end (exclusive) of what could be read when it was sent.
    pub fn high_watermark(&self) -> Offset {
        unimplemented!()
    }
    /// The records, borrowed: the fast way.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Offset, RecordRef<'_>), ClientError>> {
        std::iter::empty()
    }
    /// The records, owned.
    pub fn into_records(self) -> impl Iterator<Item = Result<ConsumedRecord, ClientError>> {
        std::iter::empty()
    }
}

/// Reads a topic. What is not taken out stays at the nodes: buffers are bounded.
#[derive(Debug)]
pub struct Consumer {}

impl Consumer {
    /// The next record of any partition; `None` once all are read to their end. Within a partition
    /// in order. May be dropped before it is done without a loss.
    pub async fn next(&mut self) -> Result<Option<ConsumedRecord>, ClientError> {
        unimplemented!()
    }

    /// The next batch of any partition: the fast way. Begins with what [`Consumer::next`] has left
    /// of the current one.
    pub async fn next_batch(&mut self) -> Result<Option<ConsumedBatch>, ClientError> {
        unimplemented!()
    }

    /// For each partition the offset after what was handed out: where another consumer goes on.
    /// Partitions whose first offset is not known yet are left out.
    pub fn positions(&self) -> Vec<(PartitionId, Offset)> {
        unimplemented!()
    }
}
