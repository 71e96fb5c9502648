//! Every limit of the data plane: sizes, counts, lengths of queues, waits. The unit is the last
//! word of the name. What exceeds a limit gets a typed error that names the field and the bound.

use std::time::Duration;

/// Longest topic name, bytes.
pub const TOPIC_NAME_MAX_BYTES: usize = 249;
/// Most topics in a cluster.
pub const TOPICS_MAX_COUNT: usize = 10_000;
/// Most partitions of one topic.
pub const TOPIC_PARTITIONS_MAX_COUNT: u32 = 10_000;
/// Most partition replicas in a cluster.
pub const CLUSTER_REPLICAS_MAX_COUNT: usize = 100_000;
/// Most replicas of a partition.
pub const REPLICATION_FACTOR_MAX_COUNT: u32 = 7;
/// Most voters of the meta group; further nodes are its learners.
pub const META_VOTERS_MAX_COUNT: usize = 5;

/// Largest record: key, value and headers together, bytes.
pub const RECORD_MAX_BYTES: usize = 1024 * 1024;
/// Most headers of a record.
pub const RECORD_HEADERS_MAX_COUNT: usize = 128;
/// Largest record batch as encoded (and compressed), bytes.
pub const BATCH_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Largest record batch once decompressed, bytes.
pub const BATCH_UNCOMPRESSED_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Most records in a batch.
pub const BATCH_RECORDS_MAX_COUNT: u32 = 100_000;
/// Largest gRPC message taken from a client or a peer, bytes.
pub const GRPC_MESSAGE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Producers remembered per partition for the detection of duplicates; the one longest silent goes
/// first.
pub const PRODUCERS_PER_PARTITION_MAX_COUNT: usize = 4096;
/// Last batches remembered of each producer: how many a client may have in flight per partition.
pub const PRODUCER_BATCHES_MAX_COUNT: usize = 32;
/// A producer not heard of for this long is forgotten.
pub const PRODUCER_IDLE_MAX: Duration = Duration::from_hours(24);

/// Smallest `retention.bytes` of a partition: a few segments.
pub const RETENTION_MIN_BYTES: u64 = 1024 * 1024;
/// Smallest `retention.ms`.
pub const RETENTION_MIN_MS: u64 = 1000;

/// Largest segment file, bytes.
pub const SEGMENT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Smallest segment file, bytes: where a quiet partition begins.
pub const SEGMENT_MIN_BYTES: u64 = 1024 * 1024;
/// Largest entry that a peer or a disk may hold: a batch and its header, bytes.
pub const ENTRY_MAX_BYTES: usize = BATCH_MAX_BYTES + 4096;
/// Purged segments kept for recycling, per node.
pub const RECYCLED_SEGMENTS_MAX_COUNT: usize = 8;

/// Entry bytes in one AppendEntries request.
pub const APPEND_MAX_BYTES: usize = 1024 * 1024;
/// Entries in one AppendEntries request.
pub const APPEND_ENTRIES_MAX_COUNT: u64 = 512;
/// AppendEntries requests in flight to one follower of a group.
pub const APPEND_IN_FLIGHT_MAX_COUNT: usize = 8;
