//! All limits of the data plane: sizes, counts, queue lengths, intervals and timeouts. A number
//! ends its name in its unit; a `Duration` carries its unit in its type. A value above a limit is
//! rejected with a typed error that names the field and the bound.
//!
//! Naming: `_MAX` and `_MIN` bounds are inclusive, `_INTERVAL` is the time between two repetitions,
//! `_TIMEOUT` and a `Duration` `_MAX` bound one operation, `_DEFAULT` may be overridden by
//! settings.

use std::time::Duration;

/// Maximum length of an unknown key of a topic setting in an error message, in bytes. A longer one
/// is cut.
pub const SETTING_KEY_SHOWN_MAX_BYTES: usize = 64;
/// Minimum of a topic's `batch.max.bytes`. Its maximum is `BATCH_MAX_BYTES`.
pub const TOPIC_BATCH_MIN_BYTES: usize = 1024;
/// Minimum of a topic's `record.max.bytes`. Its maximum is `RECORD_MAX_BYTES`.
pub const TOPIC_RECORD_MIN_BYTES: usize = 1024;
/// Maximum length of a topic name, in bytes; the same bound as in Kafka.
pub const TOPIC_NAME_MAX_BYTES: usize = 249;
/// Maximum number of topics in a cluster.
pub const TOPICS_MAX_COUNT: usize = 10_000;
/// Number of coordinators of consumer groups in a cluster. A group is assigned to one by a hash, so
/// that the number of a cluster is never changed.
pub const COORDINATORS_COUNT: u32 = 8;
/// Maximum number of replicas of a coordinator; fewer while the cluster has fewer nodes.
pub const COORDINATOR_REPLICAS_MAX_COUNT: u32 = 3;
/// Maximum size of a segment of a coordinator's log, in bytes. The log is purged in whole segments,
/// and a replica replays what is left of it when it starts.
pub const COORDINATOR_SEGMENT_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum number of partitions of one topic.
pub const TOPIC_PARTITIONS_MAX_COUNT: u32 = 10_000;
/// Maximum number of partition replicas in a cluster, over all topics.
pub const CLUSTER_REPLICAS_MAX_COUNT: usize = 100_000;
/// Maximum number of replicas per core of a node. At 2,500 per core a cluster was measured to spend
/// its time with elections.
pub const REPLICAS_PER_CORE_MAX_COUNT: usize = 1500;
/// Maximum number of files that a replica has open: its newest segment, and one that is being
/// written beside it (the next segment, an index, the hard state).
pub const FILES_PER_REPLICA_MAX_COUNT: u64 = 2;
/// Open files that are not for replicas or connections of clients and nodes: sealed segments that
/// are being read, the health port, listening sockets, the runtime.
pub const OPEN_FILES_RESERVED_COUNT: u64 = 256;
/// Minimum limit of open files that a node starts with.
pub const OPEN_FILES_MIN_COUNT: u64 = 512;
/// The limit of open files that a node asks for at most.
pub const OPEN_FILES_MAX_COUNT: u64 = 1024 * 1024;
/// Maximum replication factor. Seven replicas survive the loss of three nodes.
pub const REPLICATION_FACTOR_MAX_COUNT: u32 = 7;
/// Replicas of a partition whose topic sets none, if there are enough nodes.
pub const REPLICATION_FACTOR_DEFAULT_COUNT: u32 = 3;
/// Maximum number of voters of the meta group; the remaining nodes are its learners. Five voters
/// survive the loss of two nodes, and more would only slow down its commits.
pub const META_VOTERS_MAX_COUNT: usize = 5;

// Sizes of records, and all that contains one: `RECORD_MAX_BYTES` is their base, and
// `docs/sizes.md` lists them. Inequalities between limits are asserted in `size_chain.rs`.

/// Greatest `record.max.bytes` of a topic: the maximum size of any record, in bytes, its key, value
/// and headers together. With all that is around it in a reply, a record must fit into
/// `CLIENT_MESSAGE_DEFAULT_BYTES`.
pub const RECORD_MAX_BYTES: usize = 3 * 1024 * 1024;
/// Maximum size of a record of a topic that sets no `record.max.bytes`, in bytes.
pub const RECORD_DEFAULT_BYTES: usize = 1024 * 1024;
/// Maximum number of headers of a record.
pub const RECORD_HEADERS_MAX_COUNT: usize = 128;
/// Bytes that a batch of one record takes at most besides its key, value and headers: the batch
/// header, and the lengths of a record with the most headers.
pub const BATCH_OVERHEAD_MAX_BYTES: usize = 4096;
/// Greatest `batch.max.bytes` of a topic: the maximum size of any encoded (compressed) record
/// batch, in bytes. The largest record fits.
pub const BATCH_MAX_BYTES: usize = RECORD_MAX_BYTES + BATCH_OVERHEAD_MAX_BYTES;
/// Maximum size of an encoded batch of a topic that sets neither `batch.max.bytes` nor a
/// `record.max.bytes` that needs more, in bytes.
pub const BATCH_DEFAULT_BYTES: usize = BATCH_LEVEL_1_MAX_BYTES;
/// Maximum size of an encoded batch that programs of feature level 1 can read, in bytes. No larger
/// one is appended before level 2 is finalized.
pub const BATCH_LEVEL_1_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Maximum size of a record batch after decompression, in bytes. Bounds the memory that a
/// decompression bomb can take.
pub const BATCH_UNCOMPRESSED_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of records in a batch.
pub const BATCH_RECORDS_MAX_COUNT: u32 = 100_000;
/// Memory that a decoded record takes besides its key, value and headers, in bytes. A record
/// without content takes 4 bytes in a batch and 2 in a request, so its bytes alone bound nothing.
pub const RECORD_DECODED_BYTES: usize = 128;
/// Memory that a decoded header takes besides its name and value, in bytes. On the wire an empty
/// one takes 2.
pub const HEADER_DECODED_BYTES: usize = 64;
/// Memory that a batch takes in a read of the log besides its bytes, in bytes.
pub const BATCH_READ_BYTES: usize = 256;
/// Maximum memory that the records of a batch take when they are decoded, in bytes. The largest
/// block of as many records as a batch may have takes two thirds of it, so that only batches with
/// hundreds of thousands of short headers exceed it.
pub const BATCH_DECODED_MAX_BYTES: usize = 32 * 1024 * 1024;
/// zstd compression level of record batches. Above 1, the CPU time costs more than the saved bytes.
pub const ZSTD_LEVEL: i32 = 1;
/// Maximum size of a gRPC message, sent or received, in bytes.
pub const GRPC_MESSAGE_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Maximum size of a message that gRPC clients accept unless they set another one, in bytes.
pub const CLIENT_MESSAGE_DEFAULT_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes that a reply or an AppendEntries request takes besides the batch in it: names,
/// offsets, lengths, and those of the fields of a record with the most headers.
pub const MESSAGE_OVERHEAD_MAX_BYTES: usize = 64 * 1024;
/// Maximum size of a request of the log service, in bytes: twice the largest batch. Short plain
/// records are longer in a request than in a batch.
pub const LOG_REQUEST_MAX_BYTES: usize = 2 * BATCH_MAX_BYTES;
/// Maximum memory that the repeated fields of a request take when they are decoded, in bytes. It is
/// more than any plain records take that fit into `BATCH_DEFAULT_BYTES`; more bytes are only
/// decoded if records and headers are not the shortest. Vectors grow by doubling, so that decoding
/// takes up to three times as much for a moment.
pub const REQUEST_DECODED_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Maximum memory that a byte of a request takes when it is decoded, in bytes: that of an empty
/// message in a repeated field, which takes two bytes. Requests that are too short to exceed
/// `REQUEST_DECODED_MAX_BYTES` at this rate are not measured.
pub const REQUEST_DECODED_PER_BYTE_MAX_BYTES: usize = 128;

/// Maximum length of a text that a node passes on from another node, in bytes; the rest is cut.
pub const PEER_TEXT_MAX_BYTES: usize = 512;

/// Maximum number of producers that a partition remembers for deduplication. Above it, the producer
/// with the oldest last batch is evicted.
pub const PRODUCERS_PER_PARTITION_MAX_COUNT: usize = 4096;
/// Number of most recent batches remembered per producer and partition. A client may have at most
/// this many batches in flight, or a retry could no longer be recognized.
pub const PRODUCER_BATCHES_MAX_COUNT: usize = 32;
/// Time without a batch after which a partition forgets a producer.
pub const PRODUCER_IDLE_MAX: Duration = Duration::from_hours(24);

/// Minimum of `retention.bytes` of a partition, in bytes: the size of the smallest segment. Only
/// whole segments are deleted.
pub const RETENTION_MIN_BYTES: u64 = 1024 * 1024;
/// Minimum of `retention.ms`, in milliseconds.
pub const RETENTION_MIN_MS: u64 = 1000;

/// Minimum of the bounds of a record's timestamp before and after its append time, in milliseconds.
pub const TIMESTAMP_BOUND_MIN_MS: u64 = 1000;
/// Time that a record's timestamp may be after its append time unless its topic sets another bound,
/// in milliseconds: one hour.
pub const TIMESTAMP_AFTER_DEFAULT_MS: u64 = 3_600_000;

/// Maximum size of a segment file, in bytes.
pub const SEGMENT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Initial size of a partition's segment files, in bytes. Small, so that an idle partition takes
/// little disk space.
pub const SEGMENT_MIN_BYTES: u64 = 1024 * 1024;
/// Bytes that a log entry takes besides its batch.
pub const ENTRY_OVERHEAD_MAX_BYTES: usize = 4096;
/// Maximum size of a log entry on the wire and on disk, in bytes: a record batch and its entry
/// header.
pub const ENTRY_MAX_BYTES: usize = BATCH_MAX_BYTES + ENTRY_OVERHEAD_MAX_BYTES;
/// Maximum size of a log entry that programs of feature level 1 can read, in bytes.
pub const ENTRY_LEVEL_1_MAX_BYTES: usize = BATCH_LEVEL_1_MAX_BYTES + ENTRY_OVERHEAD_MAX_BYTES;
/// Maximum number of purged segment files that a node keeps for reuse.
pub const RECYCLED_SEGMENTS_MAX_COUNT: usize = 8;

/// Maximum size of the entries in one AppendEntries request, in bytes. A larger entry is sent
/// alone.
pub const APPEND_MAX_BYTES: usize = 1024 * 1024;
/// Maximum number of entries in one AppendEntries request.
pub const APPEND_ENTRIES_MAX_COUNT: u64 = 512;
/// Maximum number of unanswered AppendEntries requests per group and follower. With
/// `APPEND_MAX_BYTES` it bounds the memory that a slow follower can pin.
pub const APPEND_IN_FLIGHT_MAX_COUNT: usize = 8;

// Configuration, listeners, TLS and peer connections of a node.

/// Maximum length of a node or zone name, in bytes: the maximum length of a DNS name.
pub const NODE_NAME_MAX_BYTES: usize = 253;
/// Maximum length of the name of a Kubernetes Service or namespace, in bytes.
pub const KUBERNETES_NAME_MAX_BYTES: usize = 63;
/// Maximum number of seed addresses in a node's configuration.
pub const SEEDS_MAX_COUNT: usize = 128;
/// Maximum number of fields that a node's configuration lists to be ignored if unknown.
pub const IGNORE_IF_UNKNOWN_MAX_COUNT: usize = 256;
/// Maximum length of such a field with the sections that it is in, in bytes.
pub const IGNORE_IF_UNKNOWN_FIELD_MAX_BYTES: usize = 256;
/// Maximum number of worker threads in a node's configuration. They do all work except disk writes.
pub const WORKER_THREADS_MAX_COUNT: usize = 1024;
/// Maximum number of writer threads in a node's configuration. They write and sync segment files.
pub const WRITER_THREADS_MAX_COUNT: usize = 64;
/// Minimum size of the tail cache in a node's configuration, in bytes.
pub const TAIL_CACHE_MIN_BYTES: usize = 1024 * 1024;
/// Maximum size of a PEM file in the TLS settings of a node or a client, in bytes.
pub const TLS_FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Interval between two checks whether the TLS files have changed.
pub const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Interval at which the end of a connection's certificate is compared with the wall clock, which
/// may have been set.
pub const CERTIFICATE_EXPIRY_CHECK_INTERVAL: Duration = Duration::from_mins(1);
/// Default of the maximum age of a client's connection. Clients spread over new nodes, and what was
/// decided at the handshake is decided again. 4,096 clients cost a handshake every two seconds.
pub const CONNECTION_AGE_DEFAULT: Duration = Duration::from_hours(12);
/// Minimum of the configured maximum age of a connection.
pub const CONNECTION_AGE_MIN: Duration = Duration::from_secs(1);
/// Maximum of the configured maximum age of a connection.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_hours(30 * 24);
/// Random part of its maximum age by which a connection ends earlier: connections of one moment do
/// not end in one moment.
pub const CONNECTION_AGE_JITTER_PERCENT: u32 = 25;
/// Time that a closing connection gets for its requests before it is cut: longer than each may take
/// (`PRODUCE_TIMEOUT_MAX`).
pub const CONNECTION_DRAIN_MAX: Duration = Duration::from_secs(130);
/// Minimum part of `CONNECTION_DRAIN_MAX` that there is before the end of a certificate; else the
/// connection is only cut.
pub const CONNECTION_DRAIN_MIN: Duration = Duration::from_secs(1);
/// Time that a client gets to read the end of a closed connection while it still sends.
pub const CONNECTION_LINGER_MAX: Duration = Duration::from_secs(1);
/// How long a connection with a revoked certificate stays open, so that its client learns why its
/// calls fail.
pub const REVOKED_CONNECTION_MAX: Duration = Duration::from_secs(2);
/// Timeout of a TLS handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Maximum number of concurrent TLS handshakes per port. Further connections wait in the kernel's
/// accept backlog, until a handshake ends or is evicted.
pub const HANDSHAKES_MAX_COUNT: usize = 256;
/// Age from which a handshake without a single byte from its client is evicted for a connection
/// that waits.
pub const HANDSHAKE_SILENT_MAX: Duration = Duration::from_millis(200);
/// Age from which any handshake is evicted for a connection that waits.
pub const HANDSHAKE_STALLED_MAX: Duration = Duration::from_secs(2);
/// Time after its TLS handshake in which a client must send its HTTP/2 preface. Later, keepalive
/// pings find a client that is gone.
pub const HTTP2_PREFACE_MAX: Duration = Duration::from_secs(5);
/// Default share of the connections to the client port that one user may have, so that it cannot
/// lock out the others. Further connections are closed without a reply.
pub const CONNECTIONS_PER_USER_DEFAULT_PERCENT: u32 = 50;
/// Default share that one IPv4 address or IPv6 /64 may have of them. Above the share of a user, as
/// many users may have one address, that of a proxy for example.
pub const CONNECTIONS_PER_ADDRESS_DEFAULT_PERCENT: u32 = 75;
/// Size of the read buffer of a TLS connection, in bytes.
pub const TLS_READ_BUFFER_BYTES: usize = 64 * 1024;
/// Maximum size of the encrypted data that is buffered for a TLS connection, in bytes.
pub const TLS_WRITE_BUFFER_BYTES: usize = 256 * 1024;
/// Maximum size of the small writes that are buffered into one write of a connection, in bytes.
/// Larger writes bypass the buffer.
pub const WRITES_GATHERED_MAX_BYTES: usize = 16 * 1024;
/// Maximum number of client connections. Further connections are closed without a reply.
pub const CLIENT_CONNECTIONS_MAX_COUNT: usize = 4096;
/// Maximum number of peer connections. Further connections are closed without a reply.
pub const PEER_CONNECTIONS_MAX_COUNT: usize = 1024;
/// HTTP/2 flow control window of a stream, in bytes.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// HTTP/2 flow control window of a connection, in bytes.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Maximum size of an HTTP/2 frame, in bytes.
pub const HTTP2_FRAME_MAX_BYTES: u32 = 256 * 1024;
/// Maximum number of concurrent HTTP/2 streams per connection. A peer needs one per raft group.
pub const HTTP2_STREAMS_MAX_COUNT: u32 = 16 * 1024;
/// Maximum number of HTTP/2 streams per connection that the client has reset before the server has
/// looked at them. Calls that time out together reset their streams together, thousands at once;
/// while the server is busy it finds them all in one read, and above this number it closes the
/// connection. A client that resets on purpose (rapid reset, CVE-2023-44487) stays bounded: each of
/// these streams holds one request head, as an open one does, and they are a quarter of the
/// streams that a client may have open anyway.
pub const HTTP2_RESETS_PENDING_MAX_COUNT: usize = HTTP2_STREAMS_MAX_COUNT as usize / 4;
/// Maximum number of HTTP/2 streams that the server resets for an error of the client, over the
/// life of a client's connection. Above it, the connection is closed: a client could otherwise
/// provoke resets, each of which costs a request, without ever having many streams open
/// (CVE-2025-8671). Timeouts of calls do not count, and no correct client causes such errors.
pub const HTTP2_STREAM_ERRORS_MAX_COUNT: usize = 1024;
/// Interval between two HTTP/2 keepalive pings on an idle connection.
pub const HTTP2_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of an HTTP/2 keepalive ping; the connection is closed after it.
pub const HTTP2_KEEPALIVE_MAX: Duration = Duration::from_secs(5);
/// Timeout of connecting to a peer, TLS handshake included.
pub const PEER_CONNECT_MAX: Duration = Duration::from_secs(2);
/// Initial backoff after a failed connection to a peer. It doubles up to `PEER_BACKOFF_MAX`.
pub const PEER_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Maximum backoff after a failed connection to a peer. It bounds how late the recovery of a peer
/// is noticed, and is shorter than an election timeout.
pub const PEER_BACKOFF_MAX: Duration = Duration::from_millis(400);
/// Maximum size of one chunk of a snapshot's state, in bytes.
pub const SNAPSHOT_CHUNK_MAX_BYTES: usize = 256 * 1024;
/// Maximum size of a snapshot's state, in bytes. It holds derived tables, never records.
pub const SNAPSHOT_STATE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Maximum number of connections to the health and metrics port. For a further one the oldest
/// silent one is closed.
pub const HEALTH_CONNECTIONS_MAX_COUNT: usize = 64;
/// Maximum number of connections to the health and metrics port from one IPv4 address or IPv6 /64.
/// For a further one the oldest silent one of the same origin is closed.
pub const HEALTH_CONNECTIONS_PER_ORIGIN_MAX_COUNT: usize = 16;
/// Timeout of the head of a request to the health and metrics port.
pub const HEALTH_HEAD_MAX: Duration = Duration::from_secs(1);
/// Maximum size of the head of a request to the health and metrics port, in bytes.
pub const HEALTH_HEAD_MAX_BYTES: usize = 16 * 1024;
/// Timeout of a request to the health and metrics port, its head included.
pub const HEALTH_REQUEST_MAX: Duration = Duration::from_secs(5);
/// Maximum number of partitions with their own metric labels. The remaining partitions share one
/// label, which bounds the cardinality.
pub const METRICS_PARTITIONS_MAX_COUNT: usize = 1000;
/// Timeout of transferring all leaderships when a node stops.
pub const STOP_TRANSFER_MAX: Duration = Duration::from_secs(5);
/// Interval between two checks whether a successor has caught up when a node stops.
pub const STOP_SUCCESSOR_INTERVAL: Duration = Duration::from_millis(50);
/// Timeout of the second leadership transfer when a node stops. It covers elections that this node
/// won while its client connections were closing.
pub const STOP_TRANSFER_AGAIN_MAX: Duration = Duration::from_secs(1);
/// Time that client connections get to close by themselves when a node stops.
pub const STOP_CONNECTIONS_MAX: Duration = Duration::from_secs(3);
/// Timeout of closing a port after its remaining connections were cut.
pub const STOP_CUT_MAX: Duration = Duration::from_secs(1);
/// Timeout of stopping all replicas when a node stops.
pub const STOP_REPLICAS_MAX: Duration = Duration::from_secs(2);
/// Time that background tasks get to finish before the node's process exits.
pub const STOP_RUNTIME_MAX: Duration = Duration::from_secs(1);
/// Timeout of a node's whole shutdown: more than the sum of its steps, and well below the pod's
/// termination grace period (60 s). After it, the process exits at once.
pub const STOP_MAX: Duration = Duration::from_secs(25);
/// Delay after a failed `accept`, for example for lack of file descriptors.
pub const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Minimum interval between two log lines of a kind about refused connections, failed handshakes or
/// failed accepts, per port.
pub const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(5);

// Errors that other programs send. Encoded as a gRPC status, text and metadata at their limits
// stay below the 16 KiB of headers that HTTP/2 clients accept.

/// Maximum length of a reason, in bytes; the same bound as for `google.rpc.ErrorInfo.reason`.
pub const ERROR_REASON_MAX_BYTES: usize = 63;
/// Maximum length of the sentence for people, in bytes. A longer one is cut.
pub const ERROR_TEXT_MAX_BYTES: usize = 1024;
/// Maximum number of metadata entries. Those above it are left out.
pub const ERROR_METADATA_MAX_COUNT: usize = 32;
/// Maximum size of the metadata, keys and values together, in bytes. Entries above it are left out.
pub const ERROR_METADATA_MAX_BYTES: usize = 4096;
/// Maximum length of the key of a metadata entry, in bytes. An entry with a longer one is left out.
pub const ERROR_METADATA_KEY_MAX_BYTES: usize = 64;
/// Maximum length of the value of a metadata entry, in bytes. An entry with a longer one is left
/// out.
pub const ERROR_METADATA_VALUE_MAX_BYTES: usize = 1024;

/// Delay after which a client shall repeat a read that was refused because too many wait.
pub const TOO_MANY_READS_RETRY_DELAY: Duration = Duration::from_millis(500);
/// Delay after which a client shall repeat a batch that was refused because the disk is slow: half
/// of the time that the batch had waited for it (`UNFLUSHED_WAIT_MAX`).
pub const DISK_SLOW_RETRY_DELAY: Duration = Duration::from_millis(500);
/// Delay after which a client shall repeat a batch that was refused because the disk is full.
pub const DISK_FULL_RETRY_DELAY: Duration = Duration::from_secs(2);

// The exchange between nodes, and named checks.

/// Greatest clock reading of a peer that is used, in milliseconds since the Unix epoch: the end of
/// the year 9999.
pub const CLOCK_READING_MAX_MS: i64 = 253_402_300_799_999;
/// Maximum age of an unflushed write that is shown; a greater one is shown as this.
pub const UNFLUSHED_AGE_SHOWN_MAX: Duration = Duration::from_hours(24);
/// Interval between two readings on a leader-watch stream. Heartbeats carry one each.
pub const READING_INTERVAL: Duration = Duration::from_secs(1);
/// Age above which the reading of a peer is not used any more: the peer counts as silent.
pub const READING_MAX_AGE: Duration = Duration::from_secs(10);
/// Maximum difference between a node's clock and those of a majority of the nodes, in milliseconds.
/// Append times do not follow a clock that differs by more. Well above the skew of clocks that are
/// synchronized at all, and above the delay of a reading on an overloaded machine.
pub const CLOCK_DIFFERENCE_MAX_MS: i64 = 10_000;
/// Time after its start that a node rejects produce requests for lack of clock readings from a
/// majority of the nodes. After it, the node uses its own clock.
pub const CLOCK_FIRST_AGREEMENT_MAX: Duration = Duration::from_secs(5);
/// Maximum number of segments whose append times one check of a partition's retention reads.
pub const APPEND_TIMES_READ_MAX_COUNT: usize = 64;
/// Maximum number of raised checks of one node.
pub const CHECKS_MAX_COUNT: usize = 64;
/// Maximum length of the name of a check, or of a key of its evidence, in bytes.
pub const CHECK_NAME_MAX_BYTES: usize = 64;
/// Maximum length of a text of a check, in bytes. A longer one is cut.
pub const CHECK_TEXT_MAX_BYTES: usize = 512;
/// Maximum number of facts that a check has as its evidence.
pub const CHECK_EVIDENCE_MAX_COUNT: usize = 16;

// Discovery: gossip, seeds.

/// Maximum size of a gossip datagram, in bytes. With the headers of IPv6 and UDP it fits into the
/// minimum MTU of IPv6 (1280 bytes), so no path fragments it.
pub const GOSSIP_DATAGRAM_MAX_BYTES: usize = 1200;
/// Maximum encoded size of the facts that a node gossips about itself, in bytes. With the longest
/// sender name they fit into one datagram.
pub const GOSSIP_FACTS_MAX_BYTES: usize = 480;
/// Maximum length of the version of a node's program, in bytes.
pub const NODE_VERSION_MAX_BYTES: usize = 64;
/// Maximum number of nodes that gossip keeps. The longest unreachable one gives way to a new one.
pub const GOSSIP_NODES_MAX_COUNT: usize = NODES_MAX_COUNT;
/// Interval between two gossip rounds of a node.
pub const GOSSIP_INTERVAL: Duration = Duration::from_millis(500);
/// Number of nodes that a node gossips with in a round, and to which it passes on a change.
pub const GOSSIP_FANOUT_COUNT: usize = 2;
/// Maximum number of datagrams that a node sends between two rounds to pass on changes and to
/// continue an exchange that did not fit into one datagram.
pub const GOSSIP_EXTRA_SENDS_MAX_COUNT: usize = 64;
/// Maximum number of addresses that gossip starts from.
pub const GOSSIP_SEEDS_MAX_COUNT: usize = 256;
/// Maximum difference between the clocks of sender and receiver of a gossip datagram. It bounds
/// how late a recorded datagram can be replayed to a node that has restarted.
pub const GOSSIP_CLOCK_DIFFERENCE_MAX: Duration = Duration::from_mins(1);
/// Maximum number of sender sessions whose sequence numbers are remembered to detect replays.
pub const GOSSIP_SESSIONS_MAX_COUNT: usize = 2 * NODES_MAX_COUNT;
/// Maximum number of sources with a rate limit of their own. All others share one.
pub const GOSSIP_SOURCES_MAX_COUNT: usize = 2 * NODES_MAX_COUNT;
/// Maximum rate of datagrams of a source that sent a valid one before, per second.
pub const GOSSIP_SOURCE_RATE_MAX_COUNT: u32 = 200;
/// Maximum rate of datagrams of all unknown sources together, per second.
pub const GOSSIP_UNKNOWN_RATE_MAX_COUNT: u32 = 500;
/// Maximum rate of datagrams that a node decrypts, per second.
pub const GOSSIP_RATE_MAX_COUNT: u32 = 5000;
/// Maximum number of gossip keys: one sends, the other is still or already accepted.
pub const GOSSIP_KEYS_MAX_COUNT: usize = 2;
/// Maximum size of a gossip key file, in bytes.
pub const GOSSIP_KEY_FILE_MAX_BYTES: u64 = 4096;
/// Time without a heartbeat after which a node is forgotten by gossip.
pub const GOSSIP_FORGET_MAX: Duration = Duration::from_mins(10);
/// Time without a heartbeat after which a node is no longer passed on to others. Before
/// `GOSSIP_FORGET_MAX`, so that no node learns again of a node that the others have forgotten.
pub const GOSSIP_SILENT_MAX: Duration = Duration::from_mins(9);
/// Maximum number of sightings of one source of the membership view.
pub const SIGHTINGS_MAX_COUNT: usize = NODES_MAX_COUNT;
/// Time after which a watch of EndpointSlices is renewed: a connection that died silently is
/// noticed then.
pub const ENDPOINTS_WATCH_MAX_SECONDS: u32 = 60;
/// Timeout for a connection to the API server of Kubernetes.
pub const ENDPOINTS_CONNECT_MAX: Duration = Duration::from_secs(5);
/// Timeout for the next bytes of the API server of Kubernetes. Longer than
/// `ENDPOINTS_WATCH_MAX_SECONDS`: a watch without a change is silent for as long as that.
pub const ENDPOINTS_READ_MAX: Duration = Duration::from_secs(75);
/// Interval at which the DNS names of seeds are looked up again, if they are few.
pub const SEED_LOOKUP_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time per seed between two lookups of all: it bounds the load of the name server.
pub const SEED_LOOKUP_SPACING: Duration = Duration::from_millis(500);
/// Maximum number of seeds that are looked up at the same time. Each blocks a thread.
pub const SEED_LOOKUPS_MAX_COUNT: usize = 8;
/// Timeout of a DNS lookup.
pub const DNS_LOOKUP_MAX: Duration = Duration::from_secs(2);
/// Maximum number of addresses of one DNS name that are used.
pub const DNS_ADDRESSES_MAX_COUNT: usize = 64;
/// Head start of an attempt to connect before the next address of the same peer is tried too
/// (RFC 8305, section 8).
pub const CONNECT_ATTEMPT_DELAY: Duration = Duration::from_millis(200);

// The command line tool.

/// Maximum number of nodes of a `lograft dev` cluster.
pub const DEV_NODES_MAX_COUNT: u32 = 9;
/// Time that `lograft dev` waits for its nodes to become ready before it fails.
pub const DEV_READY_MAX: Duration = Duration::from_mins(1);
/// Time that `lograft dev` waits for its ready nodes to form a healthy cluster before it reports
/// the cluster as it is.
pub const DEV_HEALTHY_MAX: Duration = Duration::from_secs(3);
/// Interval between two health checks while a command waits for a healthy cluster.
pub const HEALTH_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time that a node of `lograft dev` gets to stop before it is killed.
pub const DEV_STOP_MAX: Duration = Duration::from_secs(10);
/// Size of a node's log file, in bytes, above which `lograft dev` rotates it when it starts the
/// node.
pub const DEV_LOG_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Initial backoff before `lograft dev` restarts a crashed node. It doubles with each crash in a
/// row.
pub const DEV_RESTART_MIN: Duration = Duration::from_millis(250);
/// Maximum backoff before `lograft dev` restarts a crashed node. A node that ran longer than this
/// resets the backoff even if it never became ready.
pub const DEV_RESTART_MAX: Duration = Duration::from_secs(10);
/// Time that a node of `lograft dev` must have been ready before a crash resets its restart
/// backoff.
pub const DEV_STABLE_MIN: Duration = Duration::from_secs(3);

// Raft.

/// Interval between two heartbeats of a group's leader: a third of the election timeout, so that
/// one lost heartbeat causes no election.
pub const RAFT_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);
/// Lower bound of the randomized election timeout.
pub const RAFT_ELECTION_TIMEOUT_MIN: Duration = Duration::from_millis(600);
/// Upper bound of the randomized election timeout.
pub const RAFT_ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(800);
/// Time that heartbeats to one node are collected for a single call after the previous call: a
/// tenth of the heartbeat interval.
pub const HEARTBEATS_GATHER_MAX: Duration = Duration::from_millis(20);
/// Maximum number of heartbeats in one call. A full call is sent at once.
pub const HEARTBEATS_MAX_COUNT: usize = 1024;
/// Time that the first answers to a heartbeat call wait for the remaining ones, so that they share
/// a reply.
pub const HEARTBEATS_ANSWERS_GATHER_MAX: Duration = Duration::from_millis(5);
/// Time after which a node stops answering a heartbeat call. The caller times out far earlier.
pub const HEARTBEATS_ANSWERS_MAX: Duration = Duration::from_secs(10);
/// Timeout of sending a snapshot to a follower and of its installation there.
pub const RAFT_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of building a snapshot at the purge boundary. It takes one step of the raft core and no
/// IO.
pub const RAFT_SNAPSHOT_BUILD_TIMEOUT: Duration = Duration::from_secs(10);
/// Initial backoff of raft requests to an unreachable peer. It doubles up to `RAFT_BACKOFF_MAX`.
pub const RAFT_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Maximum backoff of raft requests to an unreachable peer. It bounds how late a restarted follower
/// is noticed.
pub const RAFT_BACKOFF_MAX: Duration = Duration::from_millis(500);
/// Timeout of a leadership transfer.
pub const RAFT_TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum lag of the successor when a leadership transfer starts, in entries. The group accepts no
/// proposals until the successor has caught up.
pub const TRANSFER_LAG_MAX_COUNT: u64 = 1024;
/// Time that a slow follower may delay a purge. After it, the log is purged and the follower
/// receives a snapshot.
pub const PURGE_HOLD_MAX: Duration = Duration::from_secs(30);
/// Maximum number of entries that raft merges into one append to its log.
pub const RAFT_APPEND_BATCH_MAX_COUNT: u64 = 1024;
/// Maximum number of entries that are read and applied in one step.
pub const APPLY_CHUNK_MAX_COUNT: u64 = 256;
/// Maximum number of proposals queued for a group's raft core. Above it, `propose` waits.
pub const RAFT_PROPOSALS_MAX_COUNT: u64 = 1024;
/// Time that a follower may owe a reply on an append stream before the leader reopens the stream.
pub const APPEND_STALL_MAX: Duration = Duration::from_secs(10);
/// Minimum interval between two published statuses of a replica while its log grows.
pub const RAFT_STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between two status checks of an idle replica.
pub const RAFT_STATUS_IDLE_INTERVAL: Duration = Duration::from_secs(1);

// Storage.

/// Default number of writer threads of a node. A group is always written by the same thread.
pub const WRITER_THREADS_DEFAULT_COUNT: usize = 4;
/// Default size of the tail cache of a node, over all groups, in bytes.
pub const TAIL_CACHE_DEFAULT_BYTES: usize = 64 * 1024 * 1024;
/// Maximum size of the entries of a node that are in memory and not yet on disk, over all groups,
/// in bytes. Above it, produce requests and append streams of peers wait.
pub const UNFLUSHED_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Minimum of that size on a node with little memory, in bytes: a few of the largest entries.
pub const UNFLUSHED_MIN_BYTES: usize = 8 * 1024 * 1024;
/// Time that a produce request waits for its leader's disk to flush earlier entries before it is
/// refused.
pub const UNFLUSHED_WAIT_MAX: Duration = Duration::from_secs(1);
/// Age of the oldest unflushed write above which a leader gives up its leaderships. Far above the
/// latency of a busy disk, and below the time in which clients notice.
pub const FLUSH_LAG_MAX: Duration = Duration::from_secs(2);
/// Interval at which a leader checks that age.
pub const FLUSH_LAG_INTERVAL: Duration = Duration::from_millis(250);
/// Age of the oldest read that raft waits for above which a leader gives up its leaderships: its
/// followers may need what it cannot read. Reads of clients on the same disk make such a read slow;
/// this is well above that.
pub const READ_LAG_MAX: Duration = Duration::from_secs(5);
/// Time that a produce request whose entry waits for a lagging disk still gets after
/// `FLUSH_LAG_MAX`, before it is answered with TIMEOUT.
pub const FLUSH_LAG_GRACE: Duration = Duration::from_secs(1);
/// Time without any progress of a writer after which its node is not ready.
pub const FLUSH_HANG_SHOWN_MIN: Duration = Duration::from_secs(5);
/// Time without any progress of a writer after which its disk counts as hung and the node ends.
pub const FLUSH_HANG_MAX: Duration = Duration::from_secs(10);
/// Interval at which the watchdog checks the writers.
pub const WATCHDOG_INTERVAL: Duration = Duration::from_millis(250);
/// Time that a node with a hung disk gets to close its connections before the watchdog ends the
/// process.
pub const WATCHDOG_END_MAX: Duration = Duration::from_secs(5);
/// Default free disk space, in bytes, below which a node rejects produce requests. A full disk
/// would make writes fail, and a failed write ends the node.
pub const DISK_RESERVE_DEFAULT_BYTES: u64 = 512 * 1024 * 1024;
/// Part of the reserve, 1/n, below which the free space of a disk counts as full: the node takes no
/// more records at all.
pub const DISK_FULL_PARTS_COUNT: u64 = 4;
/// Free inodes below which a disk counts as low. A quarter of them counts as full.
pub const INODES_RESERVE_COUNT: u64 = 2048;
/// Part of the inodes of a file system, 1/n, that the reserve of inodes takes at most.
pub const INODES_RESERVE_PARTS_COUNT: u64 = 64;
/// Part of the reserve, 1/n, that is preallocated and given up when other users of the disk have
/// filled it: room for the meta group, votes and snapshots. Far below the part that counts as full,
/// so that giving it up does not make the disk look roomy.
pub const PREALLOCATED_PARTS_COUNT: u64 = 16;
/// Interval between two measurements of the free space. At the highest write rates, a fraction of
/// the space between the two marks is written in between.
pub const DISK_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between two checks for a quota, which the free space does not show.
pub const DISK_PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Time before records are sent again to a follower that has refused them for lack of room.
pub const FOLLOWER_FULL_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Distance between two entries of a segment's sparse index, in bytes.
pub const INDEX_INTERVAL_BYTES: u64 = 64 * 1024;
/// Maximum size of a payload that is copied when it enters the tail cache, in bytes. A slice of a
/// receive buffer would keep the whole buffer in memory.
pub const CACHE_COPY_MAX_BYTES: usize = 16 * 1024;
/// Maximum size of a write that zeroes the blocks after it in advance, in bytes. For larger writes
/// the extra bytes cost more than they save.
pub const ZERO_AHEAD_WRITE_MAX_BYTES: u64 = 16 * 1024;
/// Minimum fill level of a segment, in bytes, before blocks are zeroed in advance.
pub const ZERO_AHEAD_FROM_BYTES: u64 = 16 * 1024;
/// Maximum size of the blocks that one write zeroes in advance, in bytes.
pub const ZERO_AHEAD_MAX_BYTES: u64 = 256 * 1024;
/// Delay before a writer that found no free file descriptor tries again.
pub const DESCRIPTOR_RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum number of sealed segments per node whose file and index stay open.
pub const OPEN_SEGMENTS_MAX_COUNT: usize = 128;
/// Time that a write without a waiting caller may stay in memory.
pub const LAZY_WRITE_MAX: Duration = Duration::from_millis(200);
/// Maximum number of corrupt copies of a group, which are kept until the replica is repaired. The
/// oldest are deleted first.
pub const CORRUPT_COPIES_MAX_COUNT: usize = 3;
/// Maximum size of the corrupt copies of all groups of a node. Above it, those of groups that have
/// evicted the replica are emptied, the oldest first.
pub const CORRUPT_COPIES_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;

// The client.

/// Maximum number of bootstrap endpoints in a client's configuration.
pub const CLIENT_ENDPOINTS_MAX_COUNT: usize = 64;
/// Timeout of a client's connection to a node, TLS handshake included.
pub const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a client's call, retries included.
pub const CLIENT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Age after which a client refreshes its metadata (partitions and leaders).
pub const CLIENT_METADATA_MAX_AGE: Duration = Duration::from_mins(1);
/// Minimum interval between two metadata refreshes of a client.
pub const CLIENT_METADATA_MIN_AGE: Duration = Duration::from_millis(20);
/// Initial backoff of a client's retries. It doubles up to `CLIENT_BACKOFF_MAX`.
pub const CLIENT_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Maximum backoff of a client's retries. It bounds how late a new leader is noticed.
pub const CLIENT_BACKOFF_MAX: Duration = Duration::from_millis(250);
/// Maximum delay of a retry that a client takes from a node's error.
pub const CLIENT_RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// Maximum number of further nodes that a client asks in one refresh while it knows no leader of a
/// partition.
pub const CLIENT_LEADER_ASKS_MAX_COUNT: usize = 4;
/// Timeout of a metadata request to one node.
pub const CLIENT_METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without a reply after which a client asks the other nodes whether one of them leads now.
/// The kernel of a node that hangs still acknowledges what it receives: only the missing reply and
/// the other nodes tell. Well below the duration of an election, which a move has to await.
pub const CLIENT_SILENCE_MAX: Duration = Duration::from_millis(500);
/// Interval at which they are asked while the node stays silent.
pub const CLIENT_SILENCE_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Time without records after which a consumer's stream counts as idle.
pub const CONSUMER_IDLE_MIN: Duration = Duration::from_secs(30);
/// Interval at which the consumer of an idle stream asks whether another node leads now.
pub const CONSUMER_IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Default size at which a producer closes a batch, in bytes. With small records it gives a tenth
/// more throughput than a third of the size.
pub const PRODUCER_BATCH_BYTES: usize = 768 * 1024;
/// Minimum of a producer's batch size setting, in bytes.
pub const PRODUCER_BATCH_MIN_BYTES: usize = 1024;
/// Maximum of a producer's batch size setting, in bytes. One more record of the default size still
/// fits into `BATCH_DEFAULT_BYTES`.
pub const PRODUCER_BATCH_MAX_BYTES: usize = BATCH_DEFAULT_BYTES / 2 - 4096;
/// Maximum size of a producer's unacknowledged batches per leader, in bytes. More adds latency and
/// no throughput.
pub const PRODUCER_IN_FLIGHT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of a producer's unacknowledged batches per partition. It stays below
/// `PRODUCER_BATCHES_MAX_COUNT`, so that the leader recognizes every retry.
pub const PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT: usize = 16;
/// Maximum number of partly filled batches in flight per leader. Small batches cost the most per
/// record.
pub const PRODUCER_PARTIAL_BATCHES_MAX_COUNT: usize = 4;
/// Maximum number of batches in flight per partition at which a partly filled batch may still be
/// sent.
pub const PRODUCER_PARTITION_PARTIAL_BATCHES_MAX_COUNT: usize = 2;
/// Maximum size of the records buffered in a producer, in bytes. Above it, `send` waits.
pub const PRODUCER_BUFFER_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Time that a producer retries a batch before it reports a failure.
pub const PRODUCER_DELIVERY_TIMEOUT: Duration = Duration::from_mins(2);
/// Time after which a leader answers a producer's batch with TIMEOUT.
pub const PRODUCER_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a consumer retries before it reports a failure.
pub const CONSUMER_RETRY_TIMEOUT: Duration = Duration::from_mins(2);
/// Minimum age at which a broken stream of a consumer counts as progress and resets the retry
/// timeout.
pub const CONSUMER_STREAM_HEALTHY_MIN: Duration = Duration::from_secs(5);
/// Time that a client avoids a node whose read stream has failed. It doubles with each failure up
/// to `CONSUMER_REPLICA_AVOID_MAX`, until the node replies again.
pub const CONSUMER_REPLICA_AVOID_MIN: Duration = Duration::from_secs(5);
/// Maximum time that a client avoids such a node.
pub const CONSUMER_REPLICA_AVOID_MAX: Duration = Duration::from_mins(2);
/// Interval at which a consumer of the nearest replica checks whether another one is better now.
pub const CONSUMER_REPLICA_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Timeout of opening a stream to a replica that does not lead, and of a probe of one that is
/// silent. Above `FOLLOWER_WAIT_MAX`, which the node may take.
pub const CONSUMER_REPLICA_OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without a reply after which a consumer probes a replica that does not lead.
pub const CONSUMER_REPLICA_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Number of times in a row that a consumer refetches a batch with a wrong checksum.
pub const CONSUMER_CORRUPT_MAX_COUNT: u32 = 3;
/// Default size of one reply to a consumer, in bytes.
pub const CONSUMER_REPLY_BYTES: u32 = 1024 * 1024;
/// Default session timeout of a group consumer.
pub const GROUP_CONSUMER_SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// Default time that a group consumer may take to give up partitions.
pub const GROUP_CONSUMER_REBALANCE_TIMEOUT: Duration = Duration::from_mins(1);
/// Default time after which a group consumer leaves its group if the application takes nothing.
pub const GROUP_CONSUMER_POLL_INTERVAL: Duration = Duration::from_mins(5);
/// Minimum of a group consumer's poll interval.
pub const GROUP_CONSUMER_POLL_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Default interval between two automatic commits of a group consumer.
pub const GROUP_CONSUMER_COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum interval between two automatic commits of a group consumer.
pub const GROUP_CONSUMER_COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Maximum time that a heartbeat of a group consumer waits for a change. A third of the session
/// bounds it too, so that a lost call leaves time for two more.
pub const GROUP_CONSUMER_HEARTBEAT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Time that a coordinator has to reply to a member, beyond the wait of a heartbeat. A third of the
/// session bounds that of heartbeats too.
pub const GROUP_CONSUMER_CALL_SLACK_MAX: Duration = Duration::from_secs(3);
/// Maximum time that a group consumer takes to commit and to leave when it is closed.
pub const GROUP_CONSUMER_CLOSE_MAX: Duration = Duration::from_secs(10);
/// Maximum number of commits that wait for a group consumer's commit in flight.
pub const GROUP_CONSUMER_COMMITS_WAITING_MAX_COUNT: usize = 64;
/// Delay before a group consumer reads a partition again that it is assigned and that the nodes do
/// not know: its topic was deleted, and the coordinator will take it away.
pub const GROUP_CONSUMER_REOPEN_DELAY: Duration = Duration::from_millis(500);

// Cluster metadata.

/// Maximum number of nodes in a cluster. Decommissioned nodes do not count.
pub const NODES_MAX_COUNT: usize = 1000;
/// Maximum length of a node's address, in bytes.
pub const NODE_ADDRESS_MAX_BYTES: usize = 512;
/// Maximum number of producer ids allocated by one command.
pub const PRODUCERS_ALLOCATE_MAX_COUNT: u32 = 10_000;

// Control loops of a node.

/// Interval of the control loop when no event wakes it earlier.
pub const CONTROL_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum interval between two iterations of the control loop.
pub const CONTROL_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Timeout of a command of the meta group, retries and an election included.
pub const META_PROPOSE_MAX: Duration = Duration::from_secs(10);
/// Maximum size of a command of the meta group, in bytes. Programs of every feature level can read
/// it.
pub const META_COMMAND_MAX_BYTES: usize = BATCH_LEVEL_1_MAX_BYTES;
/// Timeout of one attempt of a command of the meta group.
pub const META_ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// Initial backoff between attempts of a command of the meta group. It doubles up to
/// `META_BACKOFF_MAX`.
pub const META_BACKOFF_MIN: Duration = Duration::from_millis(25);
/// Maximum backoff between attempts of a command of the meta group.
pub const META_BACKOFF_MAX: Duration = Duration::from_millis(400);
/// Maximum size of a segment of the meta group's log, in bytes. The log is purged in whole
/// segments, so that small segments keep it short.
pub const META_SEGMENT_MAX_BYTES: u64 = 1024 * 1024;
/// Timeout of a request for another node's status.
pub const DESCRIBE_MAX: Duration = Duration::from_secs(2);
/// Interval between two attempts of an empty node to join through its seeds.
pub const JOIN_INTERVAL: Duration = Duration::from_millis(500);
/// Time that the meta group's leader may need to remove a node with a damaged log from the group.
pub const META_EVICTION_MAX: Duration = Duration::from_secs(10);
/// Delay between two steps of such a removal.
pub const META_EVICTION_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Timeout of a join request to a seed: longer than `META_PROPOSE_MAX`, the time that the seed may
/// need.
pub const JOIN_MAX: Duration = Duration::from_secs(12);
/// Timeout of the first command of a new cluster.
pub const BOOTSTRAP_MAX: Duration = Duration::from_secs(15);
/// Time without a known leader of the meta group after which a member asks its seeds for the
/// current addresses.
pub const META_LEADER_UNKNOWN_MAX: Duration = Duration::from_secs(3);
/// Delay before a broken leader watch stream is reopened.
pub const LEADER_WATCH_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Interval at which a node raises its incarnation while it votes or acknowledges entries, and
/// stores what it has seen of the others. A copy of a disk that is older than about twice this is
/// found.
pub const INCARNATION_INTERVAL: Duration = Duration::from_secs(2);
/// Time that the other nodes get at a start to say which incarnation of the node they have seen,
/// before its groups campaign. Below the lower bound of the election timeout, which they wait for
/// anyway; a group with one voter waits for this.
pub const INCARNATION_ANSWERS_MAX: Duration = Duration::from_millis(500);
/// Interval at which their answers are looked for.
pub const INCARNATION_ANSWERS_INTERVAL: Duration = Duration::from_millis(20);
/// Interval at which a node asks its seeds for their cluster, until one confirms its own.
pub const FOREIGN_DISK_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of checks of fenced groups.
pub const DISK_FENCE_INTERVAL: Duration = Duration::from_millis(500);
/// Interval at which a replica that joins its group asks for the entry that added it: the leader
/// may not have committed that yet.
pub const JOINING_INTERVAL: Duration = Duration::from_millis(50);
/// Minimum duration of a fence: longer than an election, and than it takes the other nodes to tell
/// each other's incarnations (`READING_INTERVAL`).
pub const DISK_FENCE_MIN: Duration = Duration::from_secs(3);
/// Timeout of a fenced replica's question for the end of its leader's log.
pub const CATCH_UP_TARGET_MAX: Duration = Duration::from_secs(2);
/// Maximum number of groups that ask concurrently.
pub const CATCH_UP_TARGETS_MAX_COUNT: usize = 16;
/// Timeout of a request to another node to accept its older disk.
pub const ACCEPT_OLDER_DISK_MAX: Duration = Duration::from_secs(5);
/// Time without a new entry after which a fenced replica asks again.
pub const FENCED_PROGRESS_MAX: Duration = Duration::from_secs(5);
/// Delay before replicas are reconciled again after an iteration that changed something.
pub const RECONCILE_RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Time without a leader of the meta group after which a node that joins it campaigns although it
/// does not know whether it has all memberships.
pub const META_JOIN_SILENCE_MAX: Duration = Duration::from_mins(1);
/// Maximum number of replicas that are opened concurrently.
pub const REPLICAS_OPENING_MAX_COUNT: usize = 8;
/// Time that each replica of a new partition, in order, gets to initialize the raft group before
/// the next one may try.
pub const PARTITION_START_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum lag of a learner that is promoted to voter, in entries.
pub const REASSIGNMENT_LAG_MAX_COUNT: u64 = 64;
/// Delay after a leadership transfer timed out during a reassignment. Each attempt makes the
/// partition unavailable for writes for a few seconds.
pub const HANDOVER_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of concurrent partition reassignments per leading node.
pub const REASSIGNMENTS_MAX_COUNT: usize = 4;
/// Time without progress after which a reassignment gives its place to the next one that waits. It
/// has another turn later.
pub const REASSIGNMENT_STALLED_MAX: Duration = Duration::from_secs(10);
/// Maximum number of partitions of a cluster that get another number of replicas at once, and of
/// topics that are raised at once.
pub const FACTOR_CHANGES_MAX_COUNT: usize = 16;
/// Maximum number of partitions of a cluster whose replicas on lost nodes are replaced at once.
/// Each one copies a whole log to the new replica, next to the work of clients.
pub const LOST_REPLACEMENTS_MAX_COUNT: usize = 16;
/// Minimum number of active nodes without a lost one, whatever the topics. A partition keeps its
/// majority without a node only if it has three replicas. Part of the format: every node must
/// decide a `MarkLost` alike.
pub const LOST_ACTIVE_MIN_COUNT: usize = 3;
/// Default silence after which a node counts as lost for good.
pub const DEAD_NODE_AFTER_DEFAULT: Duration = Duration::from_mins(10);
/// Minimum configured silence. Tests use it; a sensible one is longer than a restart of a node.
pub const DEAD_NODE_AFTER_MIN: Duration = Duration::from_secs(1);
/// Maximum configured silence.
pub const DEAD_NODE_AFTER_MAX: Duration = Duration::from_hours(24 * 365);
/// Maximum time between two checks of the nodes' silence. After a longer one this process was
/// paused itself, and the silence of the others counts from then on.
pub const SILENCE_CHECK_GAP_MAX: Duration = Duration::from_secs(15);
/// Maximum number of commands that one iteration of a drain proposes.
pub const DRAIN_COMMANDS_MAX_COUNT: usize = 64;
/// Maximum number of replicas that a decommission moves at once. All of them leave one node, whose
/// disk and network serve clients as well: with as many as the leaders can run, the p99 of produce
/// requests rose elevenfold.
pub const DRAIN_MOVES_MAX_COUNT: usize = 4;
/// Maximum number of replicas that balancing moves at once in a cluster. The nodes that lead the
/// partitions run up to `REASSIGNMENTS_MAX_COUNT` each; what is beyond that would only wait, and
/// could not be paused.
pub const REBALANCE_MOVES_MAX_COUNT: usize = 32;
/// Maximum number of replicas that balancing moves to or from a node at once, so that its disk and
/// network are left to clients for the most part.
pub const REBALANCE_MOVES_PER_NODE_MAX_COUNT: usize = 2;
/// Minimum part of its disk that is free on a node that receives replicas by balancing, in percent.
/// Well above the mark at which produce requests are refused: partitions grow while they are moved.
pub const REBALANCE_DISK_FREE_MIN_PERCENT: u64 = 5;
/// Interval at which a plan of which no step could be started is made again, unless the metadata
/// change: a step can wait for a node that is away for long.
pub const REBALANCE_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Rest after a plan, in percent of the time that it took: a plan for 100,000 partitions takes
/// about half a second, and each move that ends asks for a new one.
pub const REBALANCE_PLAN_REST_PERCENT: u32 = 800;
/// Maximum number of steps of a plan that a reply lists. It has the number of all of them.
pub const REBALANCE_STEPS_SHOWN_MAX_COUNT: usize = 1000;
/// Time that a removed node stays a learner of the meta group, so that it learns of its own
/// removal.
pub const REMOVED_NODE_LEARNER_MAX: Duration = Duration::from_secs(3);
/// Maximum lag of a preferred leader that leadership is transferred to, in entries.
pub const PREFERRED_LAG_MAX_COUNT: u64 = 256;
/// Time that a preferred leader must have been reachable and caught up before leadership is
/// transferred to it.
pub const PREFERRED_STABLE_MIN: Duration = Duration::from_secs(4);
/// Maximum extra delay of that transfer, different for each group, so that not all groups change
/// their leader at the same moment.
pub const PREFERRED_JITTER_MAX: Duration = Duration::from_secs(2);
/// Time that leader balancing excludes a node that is about to stop.
pub const STOP_REST_MAX: Duration = Duration::from_mins(2);
/// Remaining exclusion time below which another PrepareStop renews it.
pub const STOP_REST_RENEW_MAX: Duration = Duration::from_mins(1);
/// Timeout of transferring a node's leaderships in PrepareStop.
pub const PREPARE_STOP_TRANSFER_MAX: Duration = Duration::from_secs(10);
/// Interval between two checks whether those transfers have finished.
pub const PREPARE_STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of concurrent leadership transfers in PrepareStop.
pub const PREPARE_STOP_TRANSFERS_MAX_COUNT: usize = 16;
/// Maximum lag of a replica that counts as in sync, in entries.
pub const IN_SYNC_LAG_MAX_COUNT: u64 = 1024;
/// Number of times that a topic is assigned to nodes again because a chosen node was decommissioned
/// in the meantime.
pub const TOPIC_ASSIGNMENT_ATTEMPTS_MAX_COUNT: u32 = 3;
/// Default time that the creation of a topic waits for leaders.
pub const TOPIC_READY_DEFAULT: Duration = Duration::from_secs(10);
/// Maximum time that a request may ask the creation of a topic to wait for leaders.
pub const TOPIC_READY_MAX: Duration = Duration::from_mins(1);

// The log service.

/// Default timeout of a produce request.
pub const PRODUCE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Maximum timeout that a produce request may ask for.
pub const PRODUCE_TIMEOUT_MAX: Duration = Duration::from_mins(2);
/// Time that a read waits until a majority confirms that this node still leads. One round of
/// heartbeats; the rest is for nodes without enough CPU.
pub const READ_CONFIRM_MAX: Duration = Duration::from_secs(5);
/// Time that a request waits for its partition to have a leader: longer than an election.
pub const LEADER_WAIT_MAX: Duration = Duration::from_millis(2500);
/// Maximum age of a replica's applied state for which it answers reads without leading, or two
/// election timeouts if those are more. Longer than an election, during which all replicas keep
/// their state.
pub const FOLLOWER_AGE_MAX: Duration = Duration::from_secs(3);
/// Time that a read of a replica waits for it to have what the client has seen: entries on the way
/// arrive within milliseconds. Then the leader answers.
pub const FOLLOWER_WAIT_MAX: Duration = Duration::from_millis(500);
/// Interval at which such a read checks the replica again if nothing is applied.
pub const FOLLOWER_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Interval at which a read that waits for new records of a replica checks that it is still
/// current.
pub const FOLLOWER_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time without an answer of another node after which a forwarded request is given up if that node
/// does not lead any more.
pub const FORWARD_SILENCE_MAX: Duration = Duration::from_millis(500);
/// Interval at which it is checked again whether that node still leads.
pub const FORWARD_SILENCE_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Time without an answer after which a forwarded request, a stream without new records for
/// example, counts as idle.
pub const FORWARD_IDLE_MIN: Duration = Duration::from_secs(30);
/// Interval at which it is checked then.
pub const FORWARD_IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Delay before a request checks again for a leader that its node is not notified of. Forwarding
/// doubles it up to eight times this value.
pub const LEADER_POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Time that a request for an unknown topic waits for this node's metadata to catch up.
pub const METADATA_LAG_MAX: Duration = Duration::from_millis(300);
/// Maximum age of the metadata that a node returns to clients: the time since its last contact with
/// the meta group. Longer than an election, so that clients do not notice one.
pub const METADATA_AGE_MAX: Duration = Duration::from_secs(5);
/// Maximum size of the unanswered batches of one ProduceStream, in bytes. Above it, the stream is
/// not read.
pub const PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of unanswered batches of one ProduceStream. Above it, the stream is not read.
pub const PRODUCE_STREAM_IN_FLIGHT_MAX_COUNT: usize = 1024;
/// Maximum size of the unanswered batches of all clients of a node, in bytes. Above it, requests
/// wait.
pub const PRODUCE_NODE_IN_FLIGHT_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Minimum of that size on a node with little memory, in bytes: a few of the largest batches.
pub const PRODUCE_NODE_IN_FLIGHT_MIN_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of requests queued on a stream to the leader they are forwarded to.
pub const FORWARD_WAITING_MAX_COUNT: usize = 8;
/// Maximum number of entries in flight per partition that unary produce requests are coalesced
/// into. Requests that arrive in the meantime share the next entry.
pub const PRODUCE_COALESCED_IN_FLIGHT_MAX_COUNT: usize = 2;
/// Maximum size of the requests that are coalesced into one entry, in bytes.
pub const PRODUCE_COALESCED_MAX_BYTES: usize = 256 * 1024;
/// Decompressed size, in bytes, above which a compressed batch is checked on a blocking thread
/// instead of inline.
pub const CHECK_INLINE_MAX_BYTES: usize = 256 * 1024;
/// Default size of the batches in one reply to a consumer, in bytes.
pub const FETCH_REPLY_DEFAULT_BYTES: usize = 512 * 1024;
/// Maximum size that a client may ask for, in bytes, and so of one read of the log for a reply,
/// unless its first batch or record alone is larger.
pub const FETCH_READ_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Maximum size of a reply with batches or records, in bytes, all of its framing included: the size
/// of message that every gRPC client accepts by default. The largest batch and the largest record
/// fit into one.
pub const FETCH_REPLY_MAX_BYTES: usize = CLIENT_MESSAGE_DEFAULT_BYTES;
/// Maximum size of such a reply besides its batches or records, in bytes: the head of the gRPC
/// message and ten numbers.
pub const FETCH_REPLY_HEAD_MAX_BYTES: usize = 128;
/// Maximum size of the batches or records in such a reply, in bytes. A record counts as what it
/// takes when it is decoded, which is more than its encoding takes.
pub const FETCH_REPLY_CONTENT_MAX_BYTES: usize = FETCH_REPLY_MAX_BYTES - FETCH_REPLY_HEAD_MAX_BYTES;
/// Maximum size of a batch in such a reply besides its bytes, in bytes.
pub const FETCHED_BATCH_HEAD_MAX_BYTES: usize = 64;
/// Maximum size of the batches of a node that are being decompressed, in bytes, all clients and
/// reads and writes together. Above it, the next ones wait. Batches up to `CHECK_INLINE_MAX_BYTES`
/// do not count.
pub const DECOMPRESSION_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Minimum of that size on a node with little memory, in bytes: two of the largest batches.
pub const DECOMPRESSION_MIN_BYTES: usize = 2 * BATCH_UNCOMPRESSED_MAX_BYTES;
/// Maximum size of the replies of a node that its clients have not taken yet, in bytes. Above it,
/// reads wait. One user may have a half of it at most, for requests that it sent to this node and
/// those that came over other nodes each.
pub const REPLIES_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Minimum of that size on a node with little memory, in bytes. A read of single records may take
/// `READ_RECORDS_MAX_BYTES` of a half of it.
pub const REPLIES_MIN_BYTES: usize = 2 * READ_RECORDS_MAX_BYTES;
/// Maximum memory of a read of single records, in bytes: the stored batches, the largest of them
/// decompressed, and the records.
pub const READ_RECORDS_MAX_BYTES: usize =
    BATCH_MAX_BYTES + BATCH_UNCOMPRESSED_MAX_BYTES + FETCH_READ_MAX_BYTES;
/// Maximum number of a user's reads that wait for that memory. Further ones fail at once.
pub const REPLIES_WAITING_MAX_COUNT: usize = 1024;
/// HTTP/2 flow control window of a read that is forwarded to a leader, in bytes. This much of a
/// stream that its client does not take is in this node's memory.
pub const FORWARDED_READ_WINDOW_BYTES: u32 = 64 * 1024;
/// HTTP/2 flow control window of the connection of such reads, in bytes: as large as it can be.
/// With a smaller one, a few clients that do not read would stop the replies to all others.
pub const FORWARDED_READS_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// Maximum size of a reply to a user who has taken so few of the former ones that it has half of
/// the memory that it may have, in bytes. A larger batch is returned as a whole.
pub const SCARCE_REPLY_BYTES: usize = 64 * 1024;
/// Maximum time that a fetch waits for new records at the end of the log.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(30);
/// Number of producer ids that a node allocates from the meta group at once.
pub const PRODUCER_IDS_BLOCK_COUNT: u32 = 64;

// HTTP and JSON.

/// Maximum number of origins whose pages may read answers.
pub const HTTP_ORIGINS_MAX_COUNT: usize = 64;
/// Maximum length of such an origin, in bytes.
pub const HTTP_ORIGIN_MAX_BYTES: usize = 512;
/// Time that the head of an HTTP/1.1 request may take, and that a connection may be idle before it.
pub const HTTP_HEAD_MAX: Duration = Duration::from_secs(30);
/// Maximum size of the head of a request, in bytes.
pub const HTTP_HEAD_MAX_BYTES: usize = 64 * 1024;
/// Maximum number of headers of a request.
pub const HTTP_HEADERS_MAX_COUNT: usize = 256;
/// HTTP/2 flow control window of a request's body, in bytes.
pub const HTTP_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// HTTP/2 flow control window of a connection, in bytes.
pub const HTTP_CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Maximum number of concurrent HTTP/2 requests of a connection.
pub const HTTP_STREAMS_MAX_COUNT: u32 = 256;
/// Maximum number of those that the client has reset before the server has looked at them: all of
/// them may time out together.
pub const HTTP_RESETS_PENDING_MAX_COUNT: usize = HTTP_STREAMS_MAX_COUNT as usize;
/// Time that a client may take nothing of an HTTP/1.1 answer before its connection is closed.
pub const HTTP_WRITE_STALL_MAX: Duration = Duration::from_mins(1);
/// Bytes that a record in JSON may take besides its key, value and headers in base64: names of
/// fields, and the escapes of header names.
pub const HTTP_JSON_OVERHEAD_BYTES: usize = 64 * 1024;
/// Maximum size of a body that is read as a whole, in bytes, as it is sent and decompressed: a
/// JSON request of the largest batch, in base64, rounded up.
pub const HTTP_BODY_MAX_BYTES: usize =
    (base64_bytes(BATCH_MAX_BYTES) + HTTP_JSON_OVERHEAD_BYTES).next_multiple_of(1024 * 1024);
/// Time that such a body may take.
pub const HTTP_BODY_MAX: Duration = Duration::from_secs(30);
/// Time that a stream of records may send nothing.
pub const HTTP_BODY_IDLE_MAX: Duration = Duration::from_secs(30);
/// Maximum size of the bodies that a node holds while they arrive, in bytes. Above it, requests
/// are refused.
pub const HTTP_BODIES_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Maximum length of a line of an NDJSON stream, in bytes: a record of the largest size in base64,
/// rounded up.
pub const HTTP_LINE_MAX_BYTES: usize =
    (base64_bytes(RECORD_MAX_BYTES) + HTTP_JSON_OVERHEAD_BYTES).next_multiple_of(1024 * 1024);
/// Size of the batches that an NDJSON stream is cut into, in bytes of their records.
pub const HTTP_STREAM_BATCH_BYTES: usize = 512 * 1024;
/// Maximum number of records of such a batch.
pub const HTTP_STREAM_BATCH_MAX_COUNT: usize = 10_000;
/// Maximum size of the records of an NDJSON stream that wait until their batches are full, in
/// bytes. Above it all batches are sent: a topic may have many partitions.
pub const HTTP_STREAM_WAITING_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of records in one answer to a fetch.
pub const HTTP_FETCH_RECORDS_MAX_COUNT: u32 = 100_000;
/// Maximum number of partitions of a topic that is read as a whole.
pub const HTTP_TAIL_PARTITIONS_MAX_COUNT: usize = 64;
/// Interval between the comments that keep a silent stream of server-sent events alive: shorter
/// than the idle timeouts of usual proxies.
pub const HTTP_EVENT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Time after which a client of server-sent events connects again, milliseconds.
pub const HTTP_EVENT_RETRY_MS: u64 = 1000;
/// Answers below this size are not compressed, in bytes.
pub const HTTP_COMPRESS_MIN_BYTES: usize = 1024;

// Consumer groups.

/// Maximum length of the name of a consumer group, in bytes; that of a topic.
pub const GROUP_NAME_MAX_BYTES: usize = TOPIC_NAME_MAX_BYTES;
/// Maximum length of a member id or an instance id, in bytes.
pub const GROUP_MEMBER_ID_MAX_BYTES: usize = 64;
/// Maximum length of the name of a member's program, in bytes.
pub const GROUP_CLIENT_ID_MAX_BYTES: usize = 64;
/// Maximum length of the pattern of a subscription, in bytes.
pub const GROUP_PATTERN_MAX_BYTES: usize = 256;
/// Maximum number of topics that a subscription names.
pub const GROUP_SUBSCRIBED_TOPICS_MAX_COUNT: usize = 1000;
/// Maximum number of topics that the members of a group read.
pub const GROUP_TOPICS_MAX_COUNT: usize = 1000;
/// Maximum number of partitions that the members of a group read: those of the largest topic.
/// Topics that match a pattern above it are not read.
pub const GROUP_PARTITIONS_MAX_COUNT: usize = TOPIC_PARTITIONS_MAX_COUNT as usize;
/// Maximum number of members of a group.
pub const GROUP_MEMBERS_MAX_COUNT: usize = 1000;
/// Maximum size of what the members of a group say of themselves, in bytes. With the topics and
/// partitions of the group at their limits, a membership still fits into a log entry.
pub const GROUP_MEMBERS_MAX_BYTES: usize = 512 * 1024;
/// Minimum of a session timeout and a rebalance timeout, in milliseconds.
pub const GROUP_TIMEOUT_MIN_MS: u32 = 1000;
/// Maximum of a session timeout and a rebalance timeout, in milliseconds.
pub const GROUP_TIMEOUT_MAX_MS: u32 = 1_800_000;
/// Session timeout of a member that sets none, in milliseconds.
pub const GROUP_SESSION_DEFAULT_MS: u32 = 30_000;
/// Rebalance timeout of a member that sets none, in milliseconds.
pub const GROUP_REBALANCE_DEFAULT_MS: u32 = 60_000;
/// Time after which a member whose call was cut off has left: long enough for one retry.
pub const GROUP_CUT_CALL_MAX: Duration = Duration::from_millis(1500);
/// Time after which a member that should be removed and is still in its group is due again.
pub const GROUP_DUE_AGAIN_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum work that dividing partitions among members with different subscriptions takes, in
/// visits of a member. Above it the division is complete, but may be less even.
pub const GROUP_DIVISION_VISITS_MAX_COUNT: usize = 4_000_000;
/// Maximum number of committed offsets of a group: twice the partitions that it may read, so that
/// it can change its topics.
pub const GROUP_OFFSETS_MAX_COUNT: usize = 2 * GROUP_PARTITIONS_MAX_COUNT;
/// Maximum length of the metadata of a committed offset, in bytes.
pub const OFFSET_METADATA_MAX_BYTES: usize = 4096;
/// Maximum number of offsets in one commit.
pub const COMMIT_OFFSETS_MAX_COUNT: usize = 1000;
/// Maximum size of a request of the group service, in bytes: as many offsets as one commit may
/// have, with the longest names and texts.
pub const GROUP_REQUEST_MAX_BYTES: usize =
    COMMIT_OFFSETS_MAX_COUNT * (OFFSET_METADATA_MAX_BYTES + TOPIC_NAME_MAX_BYTES + 64);
/// Time that a request of the group service waits for its part of the memory for requests: short,
/// so that a member may ask another node within its session.
pub const GROUP_MEMORY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Maximum number of groups on one page of a list.
pub const GROUPS_PAGE_MAX_COUNT: usize = 1000;
/// Maximum number of offsets and members on one page of a group.
pub const GROUP_PAGE_MAX_COUNT: usize = 10_000;
/// Size above which a page of a group's offsets and members ends, in bytes. A single member may be
/// larger.
pub const GROUP_PAGE_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Memory that the compiled pattern of a subscription may take, in bytes.
pub const GROUP_PATTERN_MEMORY_MAX_BYTES: usize = 64 * 1024;
/// Maximum time that a heartbeat waits for a change.
pub const HEARTBEAT_WAIT_MAX: Duration = Duration::from_secs(30);
/// Time that a heartbeat or a poll over HTTP waits if its client does not say.
pub const HTTP_GROUP_WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// Maximum number of records in the answer to a poll whose client does not say.
pub const POLL_RECORDS_DEFAULT_COUNT: usize = 500;
/// Maximum number of partitions that a poll reads at the same time.
pub const POLL_PARTITIONS_MAX_COUNT: usize = 64;
/// Minimum size of the records that a poll asks a partition for, in bytes.
pub const POLL_PARTITION_MIN_BYTES: u32 = 16 * 1024;
/// Time that a poll with records waits for those of other partitions. Short: it holds memory for
/// replies meanwhile, and others who do so may wait for it.
pub const POLL_GATHER_MAX: Duration = Duration::from_millis(10);
/// Time that a poll waits for records of some partitions of a member that has more of them than
/// are read at the same time.
pub const POLL_TURN_MAX: Duration = Duration::from_millis(500);
/// Time that a poll waits for records while a partition cannot be read.
pub const POLL_FAILED_WAIT_MAX: Duration = Duration::from_secs(1);
/// Maximum number of changes of a group's members that wait for the change before them.
pub const GROUP_EVENTS_MAX_COUNT: usize = 2 * GROUP_MEMBERS_MAX_COUNT;
/// Number of times that the next membership of a group is computed and proposed, while a former
/// leader's proposals change it in between.
pub const GROUP_WRITE_ATTEMPTS_MAX_COUNT: usize = 5;
/// Maximum size of the committed offsets that share a log entry, and of those of one call, in
/// bytes. As many offsets as a call may have fit into it, unless their metadata are long.
pub const COMMITS_ENTRY_MAX_BYTES: usize = 512 * 1024;
/// Maximum size of a log entry of a coordinator, in bytes: that of a batch, which every log takes.
pub const COORDINATOR_ENTRY_MAX_BYTES: usize = BATCH_LEVEL_1_MAX_BYTES;
/// Time after which a group without members and offsets is forgotten.
pub const GROUP_UNUSED_RETENTION: Duration = Duration::from_mins(10);
/// Maximum size of the offsets of a coordinator that wait for their log entry, in bytes.
pub const COMMITS_WAITING_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Interval at which the node that leads a coordinator looks after its groups: a fraction of
/// `GROUP_CUT_CALL_MAX`.
pub const COORDINATOR_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The same while the node leads no coordinator.
pub const COORDINATOR_IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a call waits for coordinators that were just created to start.
pub const COORDINATOR_START_MAX: Duration = Duration::from_secs(10);
/// Time after which the committed offsets of a group without members and commits are forgotten.
pub const GROUP_OFFSETS_RETENTION: Duration = Duration::from_hours(7 * 24);
/// Interval at which they are looked for.
pub const GROUP_EXPIRY_CHECK_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum memory of a group, in bytes. A fraction of `COORDINATOR_STATE_MAX_BYTES`: the groups of
/// a coordinator share it.
pub const GROUP_STATE_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of groups of a coordinator.
pub const COORDINATOR_GROUPS_MAX_COUNT: usize = 10_000;
/// Maximum memory of the groups of a coordinator, in bytes. It is counted so that the encoded state
/// is smaller, and fits into a snapshot.
pub const COORDINATOR_STATE_MAX_BYTES: usize = 48 * 1024 * 1024;
/// Memory beyond that for groups without new members, in bytes: partitions must be able to move
/// even where commits have filled the state.
pub const COORDINATOR_STATE_RESERVED_BYTES: usize = 16 * 1024 * 1024;
/// Maximum number of groups that expire in one step.
pub const GROUPS_EXPIRE_MAX_COUNT: usize = 100;

// Authorization.

/// Maximum length of a name in an identity: a user, a namespace or a node. That of a Kubernetes
/// object.
pub const PRINCIPAL_NAME_MAX_BYTES: usize = 253;
/// Maximum number of authorization rules in a cluster. Each node keeps them in memory twice, as
/// they are and compiled: some 10 MB of the longest.
pub const ACL_RULES_MAX_COUNT: usize = 10_000;
/// Maximum number of changes of rules in one command.
pub const ACL_CHANGES_MAX_COUNT: usize = 1000;
/// Maximum number of rules in one reply, and of topics or partitions in one to a caller that asks
/// for pages.
pub const PAGE_MAX_COUNT: u32 = 1000;
/// Maximum number of super users in a node's configuration.
pub const SUPER_USERS_MAX_COUNT: usize = 100;
/// Default maximum age of the rules that a node decides by: the time since its last contact with
/// the meta group. A node that is cut off for longer refuses users, since their rights may have
/// been revoked.
pub const ACL_AGE_DEFAULT: Duration = Duration::from_mins(1);
/// Minimum of that age that a configuration may set: longer than an election.
pub const ACL_AGE_MIN: Duration = Duration::from_secs(10);
/// Maximum of that age.
pub const ACL_AGE_MAX: Duration = Duration::from_hours(24);
/// Time for which a stream relies on its last decision while neither rules nor settings change:
/// the age of the rules is checked again after it.
pub const ACL_GRANT_MAX: Duration = Duration::from_secs(1);
/// Maximum number of revoked serial numbers in a cluster, until their certificates expire.
pub const REVOKED_SERIALS_MAX_COUNT: usize = 10_000;
/// Maximum number of principals in a cluster whose older certificates are revoked.
pub const REVOKED_PRINCIPALS_MAX_COUNT: usize = 10_000;
/// Time for which the revocation of a serial number is kept after the end of its certificate,
/// milliseconds: more than clocks of nodes may differ.
pub const REVOKED_SERIAL_KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// Maximum length of a certificate's serial number (RFC 5280), in bytes.
pub const SERIAL_MAX_BYTES: usize = 20;

// Bounds inside single components: concurrency, retries, output.

/// Number of times in a row that a producer follows a redirect to another leader without backoff.
pub const PRODUCER_LEADER_REDIRECTS_MAX_COUNT: u32 = 3;
/// Maximum number of names that one problem description lists.
pub const PROBLEM_NAMES_MAX_COUNT: usize = 5;
/// Maximum encoded size of the plain records of one request, in bytes. It leaves room for the batch
/// header.
pub const PLAIN_BATCH_MAX_BYTES: usize = BATCH_MAX_BYTES - PLAIN_RESERVED_BYTES;
/// Part of a batch that plain records leave free by their estimate, in bytes.
pub const PLAIN_RESERVED_BYTES: usize = 64;
/// Maximum number of buffers in one `pwritev` (the kernel's `IOV_MAX`).
pub const WRITE_PARTS_MAX_COUNT: usize = 1024;
/// Maximum size of a single read from the log, in bytes.
pub const LOG_READ_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of threads that read the log for clients. A read that hangs blocks one.
pub const CLIENT_READ_THREADS_MAX_COUNT: usize = 32;
/// Maximum number of reads for clients that wait for such a thread. Above it, they are refused.
pub const CLIENT_READS_WAITING_MAX_COUNT: usize = 1024;
/// Maximum number of threads that read the log for replication and for the state machines. Their
/// own, so that the reads of clients cannot delay replication.
pub const RAFT_READ_THREADS_MAX_COUNT: usize = 8;
/// Maximum number of reads for replication and for the state machines that wait for such a thread.
/// Above it, they are retried later.
pub const RAFT_READS_WAITING_MAX_COUNT: usize = 4096;
/// Delay before such a read is retried.
pub const RAFT_READ_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Time without a read after which a thread that reads ends.
pub const READ_THREAD_IDLE_MAX: Duration = Duration::from_secs(10);
/// Timeout of a client's read of the log from disk.
pub const CLIENT_READ_MAX: Duration = Duration::from_secs(10);
/// Delay before raft repeats a read of its log for which the host had no resources, and before it
/// reads again from a log that is damaged.
pub const LOG_READ_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of attempts of a read during which the log is truncated or purged each time.
pub const LOG_READ_ATTEMPTS_MAX_COUNT: usize = 8;
/// Minimum size that one round of eviction frees from a group's tail cache, in bytes.
pub const TAIL_CACHE_EVICT_MIN_BYTES: usize = 64 * 1024;

/// Delay from the reply about a recovery of the metadata until the node ends its process.
pub const META_RECOVERY_RESTART_DELAY: Duration = Duration::from_millis(300);
/// Timeout of the call to a node that the metadata are recovered from.
pub const RECOVER_METADATA_MAX: Duration = Duration::from_secs(10);
/// Maximum number of groups that one request recovers.
pub const RECOVER_GROUPS_MAX_COUNT: usize = 256;
/// Maximum time that such a request waits until the survivors lead.
pub const RECOVER_WAIT_MAX: Duration = Duration::from_secs(8);
/// Time after a recovery of the metadata during which a live node that does not answer is taken to
/// restart.
pub const RECOVER_FOLLOW_MAX: Duration = Duration::from_mins(2);
/// Interval at which it looks for that.
pub const RECOVER_INTERVAL: Duration = Duration::from_millis(50);
/// Number of ids of each kind that are not used after a recovery of the metadata: more than lost
/// voters can have allocated beyond the metadata of the survivor.
pub const RECOVERY_IDS_SKIPPED_COUNT: u64 = 1 << 20;

/// Length of so many bytes in base64, with padding.
pub const fn base64_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}
