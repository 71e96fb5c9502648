//! Requests of clients and their results, as every protocol and every hop between nodes carries
//! them. Payloads are `Bytes`: they move from the connection to the log and back without a copy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lograft_core::acl::Principal;
use lograft_core::limits::BATCH_READ_BYTES;
use lograft_core::metadata::TopicId;
use lograft_core::record::Header;
use lograft_core::{LogIndex, NodeId, Offset, ProducerStamp, Record, Term};

/// The partition that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) topic: String,
    /// The topic that the client means; `None`: whichever has the name now.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) partition: u32,
    /// Whether another node has forwarded the request. It is not forwarded a second time: two nodes
    /// that each take the other for the leader would send it back and forth.
    pub(crate) is_forwarded: bool,
    /// The principal whose request it is. It goes along when the request is forwarded, and the
    /// other node checks it too.
    pub(crate) principal: Arc<Principal>,
}

/// Appends one batch to a partition.
#[derive(Clone, Debug)]
pub(crate) struct AppendRequest {
    pub(crate) target: Target,
    pub(crate) content: Content,
    /// Identifies the batch among those of an idempotent producer.
    pub(crate) stamp: Option<ProducerStamp>,
    /// How long the client waits for the acknowledgement; already within the limits.
    pub(crate) timeout: Duration,
}

/// The records of an append, not yet checked.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A batch that the client has encoded.
    Encoded(UncheckedBatch),
    /// Records that this node encodes.
    Plain(Vec<PlainRecord>),
}

impl Content {
    /// The number of records, as the client states it.
    pub(crate) fn record_count(&self) -> usize {
        match self {
            Self::Encoded(batch) => batch.record_count as usize,
            Self::Plain(records) => records.len(),
        }
    }
}

/// A batch as its client encoded it.
#[derive(Clone, Debug)]
pub(crate) struct UncheckedBatch {
    pub(crate) data: Bytes,
    pub(crate) crc32c: u32,
    pub(crate) record_count: u32,
}

/// A record that its client did not encode.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlainRecord {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<Header>,
    /// Milliseconds since the Unix epoch; the time of the append if the client gives none.
    pub(crate) timestamp_ms: Option<i64>,
}

/// A batch that is in the log, committed and applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// None for a duplicate that is too far back in the log for its offset to be known.
    pub(crate) base_offset: Option<Offset>,
    pub(crate) record_count: u32,
    /// The leader's term.
    pub(crate) term: Term,
    /// Milliseconds since the Unix epoch, by the leader's clock.
    pub(crate) append_time_ms: i64,
    /// Whether an earlier attempt of the producer had appended the batch already.
    pub(crate) is_duplicate: bool,
}

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// At this offset.
    Offset(Offset),
    /// At the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// At the first record whose timestamp is this time or later, milliseconds since the Unix
    /// epoch.
    Timestamp(i64),
}

/// How records are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each record by itself.
    Records,
    /// Whole batches, as the producers encoded them.
    Batches,
}

/// Which replica may answer a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// The leader, as far as it knows.
    #[default]
    Leader,
    /// Any that has what the client has seen.
    Session,
    /// The leader, once a majority has confirmed it.
    Linearizable,
}

/// The newest state of a partition that a client has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadPoint {
    pub(crate) term: Term,
    pub(crate) high_watermark: Offset,
}

/// How a read is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadTerms {
    pub(crate) consistency: Consistency,
    pub(crate) seen: ReadPoint,
    /// Whether the client routes: a node that may not answer then refuses.
    pub(crate) refuses_to_forward: bool,
    /// The zone of the client; empty if it has none.
    pub(crate) zone: String,
}

impl ReadTerms {
    /// Those with which a node forwards a read to the leader.
    pub(crate) fn for_leader(self) -> Self {
        let consistency = match self.consistency {
            Consistency::Session => Consistency::Leader,
            other => other,
        };
        Self {
            consistency,
            refuses_to_forward: false,
            ..self
        }
    }
}

/// Reads once.
#[derive(Clone, Debug)]
pub(crate) struct FetchRequest {
    pub(crate) target: Target,
    pub(crate) terms: ReadTerms,
    pub(crate) position: Position,
    pub(crate) format: Format,
    /// Most bytes to return; 0 for the default.
    pub(crate) max_bytes: u32,
    /// Return as soon as this many bytes are available.
    pub(crate) min_bytes: u32,
    /// Return after this time even with fewer bytes.
    pub(crate) max_wait: Duration,
}

/// Reads continuously.
#[derive(Clone, Debug)]
pub(crate) struct ConsumeRequest {
    pub(crate) target: Target,
    pub(crate) terms: ReadTerms,
    pub(crate) position: Position,
    pub(crate) format: Format,
    /// Most bytes of one reply; 0 for the default.
    pub(crate) max_bytes: u32,
    /// Most records of the whole stream.
    pub(crate) max_records: Option<u64>,
    /// Whether to wait for new records at the end of the log.
    pub(crate) follow: bool,
}

/// Records read from a partition, and its bounds at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) data: FetchedData,
    /// End of the committed records, exclusive.
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
    /// Where the read started: the first batch may have records before it. `None` if a node before
    /// 0.3.0 has read.
    pub(crate) start_offset: Option<Offset>,
    /// Where the next read continues.
    pub(crate) next_offset: Offset,
    /// The term of the leader, or of the one that the replica follows.
    pub(crate) term: Term,
    pub(crate) origin: ReadOrigin,
}

/// Where records were read. Nodes before 0.3.0 do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadOrigin {
    /// Guarantee of the read.
    pub(crate) consistency: Option<Consistency>,
    pub(crate) node: Option<NodeId>,
    /// The last entry that the high watermark counts, if known.
    pub(crate) commit_index: Option<LogIndex>,
}

/// Records in the format that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FetchedData {
    Batches(Vec<FetchedBatch>),
    Records(Vec<FetchedRecord>),
}

impl FetchedData {
    /// The memory that they take.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Batches(batches) => {
                let bytes = |batch: &FetchedBatch| batch.data.len() + BATCH_READ_BYTES;
                batches.iter().map(bytes).sum()
            }
            Self::Records(records) => records.iter().map(|r| r.record.decoded_bytes()).sum(),
        }
    }
}

/// A batch of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchedBatch {
    pub(crate) base_offset: Offset,
    pub(crate) record_count: u32,
    pub(crate) append_time_ms: i64,
    pub(crate) data: Bytes,
    pub(crate) crc32c: u32,
    /// The term in which it was appended.
    pub(crate) term: Term,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchedRecord {
    pub(crate) offset: Offset,
    pub(crate) record: Record,
    pub(crate) append_time_ms: i64,
}

/// Deletes the records of a partition before an offset.
#[derive(Clone, Debug)]
pub(crate) struct DeleteRecordsRequest {
    pub(crate) target: Target,
    pub(crate) before: DeleteBefore,
}

/// The first record to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteBefore {
    /// The record at this offset.
    Offset(Offset),
    /// The next one to be written.
    HighWatermark,
}

/// The bounds of a partition after records were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeletedRecords {
    pub(crate) log_start_offset: Offset,
    /// End of the committed records, exclusive.
    pub(crate) high_watermark: Offset,
    /// The leader's term.
    pub(crate) term: Term,
}

/// Asks for the bounds of some partitions of a topic.
#[derive(Clone, Debug)]
pub(crate) struct ListOffsetsRequest {
    pub(crate) topic: String,
    /// The topic that the client means; `None`: whichever has the name now.
    pub(crate) topic_id: Option<TopicId>,
    /// All partitions of the topic if empty.
    pub(crate) partitions: Vec<u32>,
    /// Also find the first record whose timestamp is this time or later, milliseconds since the
    /// Unix epoch.
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) is_forwarded: bool,
    /// The principal whose request it is.
    pub(crate) principal: Arc<Principal>,
}

/// The bounds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetBounds {
    pub(crate) log_start_offset: Offset,
    /// End of the committed records, exclusive.
    pub(crate) high_watermark: Offset,
    /// The offset of the first record of the time that was asked for or later, if there is one.
    pub(crate) at_timestamp: Option<Offset>,
    /// The leader's term.
    pub(crate) term: Term,
}
