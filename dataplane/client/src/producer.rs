//! Producing: records are packed into batches, several batches are in flight to each leader.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lograft_core::compression::Compression;
use lograft_core::limits;
use lograft_core::record::{Header, Record};
use lograft_core::{Offset, PartitionId, Term};
use lograft_proto::log::v1::Durability;

use crate::error::ClientError;

/// How a producer packs and delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// How batches are compressed.
    pub compression: Compression,
    /// At which size a batch is closed, bytes before compression.
    pub batch_max_bytes: usize,
    /// Unacknowledged batches at one leader, bytes.
    pub in_flight_max_bytes: usize,
    /// Records accepted and not yet acknowledged, bytes; sending waits beyond it.
    pub buffer_max_bytes: usize,
    /// How long a batch that is not full waits for more. With zero it goes as soon as nothing of
    /// its partition is in flight: the busier the partition, the fuller its batches.
    pub linger: Duration,
    /// How long a batch is tried before its records fail.
    pub delivery_timeout: Duration,
    /// How long a leader may take over one batch before it gives up and the producer tries again.
    pub request_timeout: Duration,
    /// Whether each record is stored exactly once, in order. Without it a batch whose
    /// acknowledgement was lost is stored again.
    pub idempotent: bool,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            batch_max_bytes: limits::PRODUCER_BATCH_BYTES,
            in_flight_max_bytes: limits::PRODUCER_IN_FLIGHT_MAX_BYTES,
            buffer_max_bytes: limits::PRODUCER_BUFFER_MAX_BYTES,
            linger: Duration::ZERO,
            delivery_timeout: limits::PRODUCER_DELIVERY_TIMEOUT,
            request_timeout: limits::PRODUCER_REQUEST_TIMEOUT,
            idempotent: true,
        }
    }
}

/// A record by its parts, borrowed: they are encoded straight into a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordParts<'a> {
    /// When it was made, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// What decides its partition.
    pub key: Option<&'a [u8]>,
    /// What it says.
    pub value: Option<&'a [u8]>,
    /// Further named values.
    pub headers: &'a [Header],
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

/// Where a record is, and how safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionId,
    /// The record's offset.
    pub offset: Offset,
    /// The raft term of the leader that acknowledged it.
    pub leader_epoch: Term,
    /// What had happened to it when it was acknowledged.
    pub durability: Durability,
    /// When the leader took it, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

/// Where a run of records is, and how safe: they stand one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionId,
    /// The first record's offset.
    pub base_offset: Offset,
    /// How many records.
    pub record_count: u32,
    /// The raft term of the leader that acknowledged them.
    pub leader_epoch: Term,
    /// What had happened to them when they were acknowledged.
    pub durability: Durability,
    /// When the leader took them, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

/// A record under way. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "without it nobody learns whether the record was stored; flush() tells in sum"]
pub struct Delivery {}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        unimplemented!()
    }
}

/// A run of records of one batch under way.
#[derive(Debug)]
#[must_use = "without it nobody learns whether the records were stored; flush() tells in sum"]
pub struct BatchDelivery {}

impl BatchDelivery {
    /// How many of the records that were sent are in it.
    pub fn record_count(&self) -> u32 {
        unimplemented!()
    }
}

impl Future for BatchDelivery {
    type Output = Result<BatchMetadata, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        unimplemented!()
    }
}

/// What a producer has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerStats {
    /// Records acknowledged.
    pub acked_records: u64,
    /// Records whose delivery failed.
    pub failed_records: u64,
    /// Batches acknowledged.
    pub acked_batches: u64,
    /// Encoded bytes acknowledged.
    pub acked_bytes: u64,
    /// Batches that a leader had already: an acknowledgement had been lost.
    pub duplicate_batches: u64,
    /// Batches sent again.
    pub resent_batches: u64,
    /// Bytes accepted and not yet acknowledged.
    pub buffered_bytes: usize,
}

/// Sends records. Clones share batches, buffers and connections.
#[derive(Clone, Debug)]
pub struct Producer {}

impl Producer {
    /// Takes a record; waits while the buffer is full. Without a partition the key decides, and
    /// without a key the producer. The result resolves once the record is stored.
    pub async fn send(
        &self,
        topic: &str,
        record: Record,
        partition: Option<PartitionId>,
    ) -> Result<Delivery, ClientError> {
        unimplemented!()
    }

    /// A handle for one topic: saves the search for it with each record.
    pub async fn topic(&self, name: &str) -> Result<TopicProducer, ClientError> {
        unimplemented!()
    }

    /// Waits until everything sent before is stored or has failed. Answers the first failure since
    /// the last flush, so that whoever drops deliveries still learns of it.
    pub async fn flush(&self) -> Result<(), ClientError> {
        unimplemented!()
    }

    /// Flushes and ends the producer; what is sent later by clones fails.
    pub async fn close(self) -> Result<(), ClientError> {
        unimplemented!()
    }

    /// What it has done so far.
    pub fn stats(&self) -> ProducerStats {
        unimplemented!()
    }
}

/// Sends records to one topic.
#[derive(Clone, Debug)]
pub struct TopicProducer {}

impl TopicProducer {
    /// The topic's name.
    pub fn name(&self) -> &Arc<str> {
        unimplemented!()
    }

    /// How many partitions the topic has, as far as is known.
    pub fn partition_count(&self) -> u32 {
        unimplemented!()
    }

    /// Takes a record as [`Producer::send`] does.
    pub async fn send(
        &self,
        record: RecordParts<'_>,
        partition: Option<PartitionId>,
    ) -> Result<Delivery, ClientError> {
        unimplemented!()
    }

    /// Takes many records: the fast way. One delivery for each run of records that went into the
    /// same batch, in the order in which the runs began. On an error those before it are taken and
    /// [`Producer::flush`] tells what became of them.
    pub async fn send_many<'a, I>(
        &self,
        records: I,
        partition: Option<PartitionId>,
    ) -> Result<Vec<BatchDelivery>, ClientError>
    where
        I: IntoIterator<Item = RecordParts<'a>>,
    {
        unimplemented!()
    }
}
