//! Consumer configuration: topic, partitions, start positions.

use std::collections::BTreeMap;
use std::time::Duration;

use lograft_core::limits::{CONSUMER_REPLY_BYTES, CONSUMER_RETRY_TIMEOUT};
use lograft_core::{Offset, PartitionId};

/// The position at which a consumer starts to read a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The first record in the log.
    Earliest,
    /// The end of the log: only records that are written later.
    Latest,
    /// This offset (inclusive).
    Offset(Offset),
    /// The first record whose timestamp is at or after this time, in milliseconds since the Unix
    /// epoch; later records may be older. If there is none, the end of the log.
    Timestamp(i64),
}

/// Policy for a next offset that is not in the log, for example because of retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfRange {
    /// Fail. [`ClientError::valid_offsets`](crate::ClientError::valid_offsets) is the valid range.
    #[default]
    Error,
    /// Continue at the first record in the log.
    Earliest,
    /// Continue at the end of the log.
    Latest,
}

/// The replica that a consumer reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadReplica {
    /// The leader of the partition.
    #[default]
    Leader,
    /// The nearest one: a healthy replica in the zone of the client, else in any, of these the one
    /// with the fewest streams of this client; the leader if there is none. Records arrive a few
    /// milliseconds later than from the leader, and at most some seconds later if the replica lags.
    /// Only committed records are returned, and the high watermark never goes back.
    Nearest,
}

/// Topic, partitions and start positions of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Topic name.
    pub topic: String,
    /// Partitions to read. Empty selects all, with `follow` also partitions that are added later.
    pub partitions: Vec<PartitionId>,
    /// Start position.
    pub start: StartAt,
    /// Start positions of single partitions, in place of `start`.
    pub start_overrides: BTreeMap<PartitionId, StartAt>,
    /// Whether to keep waiting for new records at the end of the log. If false, the consumer ends
    /// at the high watermarks at the time of its start.
    pub follow: bool,
    /// Policy for a next offset that is not in the log.
    pub out_of_range: OutOfRange,
    /// The replica to read.
    pub replica: ReadReplica,
    /// Maximum size of one reply of a leader, in bytes of batches.
    pub reply_max_bytes: u32,
    /// Time without progress after which the consumer fails. Waiting at the end of the log for new
    /// records does not count.
    pub retry_timeout: Duration,
}

impl ConsumerConfig {
    /// Whether it reads from the nearest replica.
    pub(crate) fn is_nearest(&self) -> bool {
        self.replica == ReadReplica::Nearest
    }

    /// All partitions of `topic` from `start` on, waiting for new records at the end.
    pub fn new(topic: impl Into<String>, start: StartAt) -> Self {
        Self {
            topic: topic.into(),
            partitions: Vec::new(),
            start,
            start_overrides: BTreeMap::new(),
            follow: true,
            out_of_range: OutOfRange::Error,
            replica: ReadReplica::Leader,
            reply_max_bytes: CONSUMER_REPLY_BYTES,
            retry_timeout: CONSUMER_RETRY_TIMEOUT,
        }
    }
}
