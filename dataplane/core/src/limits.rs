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
/// zstd's level for record batches: above 1 the CPU costs more than the bytes saved.
pub const ZSTD_LEVEL: i32 = 1;
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

// A node's edge: configuration, listening, TLS, peers.

/// Longest node or zone name, bytes.
pub const NODE_NAME_MAX_BYTES: usize = 253;
/// Most seed addresses in a configuration.
pub const SEEDS_MAX_COUNT: usize = 128;
/// Most threads for all work but disk writes.
pub const WORKER_THREADS_MAX_COUNT: usize = 1024;
/// Most threads that write and sync.
pub const WRITER_THREADS_MAX_COUNT: usize = 64;
/// Smallest tail cache, bytes.
pub const TAIL_CACHE_MIN_BYTES: usize = 1024 * 1024;
/// Largest PEM file of a node's TLS settings, bytes.
pub const TLS_FILE_MAX_BYTES: u64 = 1024 * 1024;
/// How often the TLS files are looked at for changes.
pub const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Longest wait for a TLS handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// TLS handshakes under way at once, per port; more wait in the system's backlog.
pub const HANDSHAKES_MAX_COUNT: usize = 256;
/// What is read from a connection's socket at once, bytes.
pub const TLS_READ_BUFFER_BYTES: usize = 64 * 1024;
/// Encrypted bytes that may wait for a connection's socket.
pub const TLS_WRITE_BUFFER_BYTES: usize = 256 * 1024;
/// Small writes to a connection that may wait for each other, bytes; larger ones go at once.
pub const WRITES_GATHERED_MAX_BYTES: usize = 16 * 1024;
/// Client connections at once; more are closed unanswered.
pub const CLIENT_CONNECTIONS_MAX_COUNT: usize = 4096;
/// Peer connections at once; more are closed unanswered.
pub const PEER_CONNECTIONS_MAX_COUNT: usize = 1024;
/// HTTP/2 flow control window of a stream, bytes.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// HTTP/2 flow control window of a connection, bytes.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Largest HTTP/2 frame, bytes.
pub const HTTP2_FRAME_MAX_BYTES: u32 = 256 * 1024;
/// HTTP/2 streams at once on a connection: peers need one per group.
pub const HTTP2_STREAMS_MAX_COUNT: u32 = 16 * 1024;
/// How often a silent connection is asked whether it lives.
pub const HTTP2_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long the answer may take before the connection is closed.
pub const HTTP2_KEEPALIVE_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a connection to a peer, handshake included.
pub const PEER_CONNECT_MAX: Duration = Duration::from_secs(2);
/// Shortest pause after a failed connection to a peer; doubles up to the longest.
pub const PEER_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest such pause: how late a peer that came back may be noticed.
pub const PEER_BACKOFF_MAX: Duration = Duration::from_millis(400);
/// Bytes of a snapshot's state in one chunk.
pub const SNAPSHOT_CHUNK_MAX_BYTES: usize = 256 * 1024;
/// Largest state in a snapshot, bytes: derived tables, never payload.
pub const SNAPSHOT_STATE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Health and metrics connections at once; more are closed unanswered.
pub const HEALTH_CONNECTIONS_MAX_COUNT: usize = 64;
/// Longest time that one of them may take for a request.
pub const HEALTH_REQUEST_MAX: Duration = Duration::from_secs(5);
/// Partitions with metrics of their own; those beyond share one label.
pub const METRICS_PARTITIONS_MAX_COUNT: usize = 1000;
/// Longest wait for leaderships to move elsewhere when a node stops.
pub const STOP_TRANSFER_MAX: Duration = Duration::from_secs(5);
/// How soon a stopping node looks again for a successor that was not caught up.
pub const STOP_SUCCESSOR_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for those leaderships that came back while a node's connections ended.
pub const STOP_TRANSFER_AGAIN_MAX: Duration = Duration::from_secs(1);
/// Longest wait for connections to end when a node stops.
pub const STOP_CONNECTIONS_MAX: Duration = Duration::from_secs(3);
/// Longest wait for a port to close once its connections are cut.
pub const STOP_CUT_MAX: Duration = Duration::from_secs(1);
/// Longest wait for all replicas to end when a node stops.
pub const STOP_REPLICAS_MAX: Duration = Duration::from_secs(2);
/// How long background work may hold up the end of a node's process.
pub const STOP_RUNTIME_MAX: Duration = Duration::from_secs(1);
/// The longest stop of a node: more than its parts together, and well below the grace period of a
/// pod (60 s). A stop that takes longer is broken, and the process ends without its end.
pub const STOP_MAX: Duration = Duration::from_secs(25);
/// The pause after the system refused to accept a connection.
pub const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// One log line about refused connections, per port, in so much time.
pub const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(5);

// The command line.

/// Most nodes of a `lograft dev` cluster.
pub const DEV_NODES_MAX_COUNT: u32 = 9;
/// How long `lograft dev` waits for its nodes to be ready before it gives up.
pub const DEV_READY_MAX: Duration = Duration::from_mins(1);
/// How long it then waits for the cluster to be healthy before it says so.
pub const DEV_HEALTHY_MAX: Duration = Duration::from_secs(3);
/// How often it looks.
pub const HEALTH_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a node of `lograft dev` may take to stop before it is killed.
pub const DEV_STOP_MAX: Duration = Duration::from_secs(10);
/// A node's log that is longer is set aside when `lograft dev` starts the node, bytes.
pub const DEV_LOG_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// First wait before `lograft dev` starts a crashed node again; it doubles from crash to crash as
/// long as they follow each other quickly.
pub const DEV_RESTART_MIN: Duration = Duration::from_millis(250);
/// Longest such wait. A node that ran longer without being ready begins with the first one again.
pub const DEV_RESTART_MAX: Duration = Duration::from_secs(10);
/// A node that was ready for so long before it crashed begins with the first wait again.
pub const DEV_STABLE_MIN: Duration = Duration::from_secs(3);

// Raft.

/// Between two heartbeats of a group's leader.
pub const RAFT_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);
/// The shortest silence of a leader after which a follower stands for election.
pub const RAFT_ELECTION_TIMEOUT_MIN: Duration = Duration::from_millis(600);
/// The longest.
pub const RAFT_ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(800);
/// How long heartbeats to a node are gathered for one call after another has just gone there.
pub const HEARTBEATS_GATHER_MAX: Duration = Duration::from_millis(20);
/// Heartbeats in one call; when so many are gathered they go at once.
pub const HEARTBEATS_MAX_COUNT: usize = 1024;
/// How long the first answers to a call wait for the others, so that they travel together.
pub const HEARTBEATS_ANSWERS_GATHER_MAX: Duration = Duration::from_millis(5);
/// How long a node works on the answers to one call; the caller gives up far sooner.
pub const HEARTBEATS_ANSWERS_MAX: Duration = Duration::from_secs(10);
/// Time for a follower to take and install a snapshot.
pub const RAFT_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a transfer of leadership may take before it is reported as failed.
pub const RAFT_TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);
/// How many entries the successor of a leader may lack when the transfer begins.
pub const TRANSFER_LAG_MAX_COUNT: u64 = 1024;
/// How long a slow follower may hold back a purge; after that it gets a snapshot instead.
pub const PURGE_HOLD_MAX: Duration = Duration::from_secs(30);
/// Entries that the leader may wait for in a single disk write.
pub const RAFT_APPEND_BATCH_MAX_COUNT: u64 = 1024;
/// Entries read at once to apply them.
pub const APPLY_CHUNK_MAX_COUNT: u64 = 256;
/// Proposals that wait for a group's raft core; beyond that `propose` waits.
pub const RAFT_PROPOSALS_MAX_COUNT: u64 = 1024;
/// How long a follower may owe a reply on an append stream before the stream is opened anew.
pub const APPEND_STALL_MAX: Duration = Duration::from_secs(10);
/// How often a replica's status is published while its log moves.
pub const RAFT_STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is looked at while nothing seems to move.
pub const RAFT_STATUS_IDLE_INTERVAL: Duration = Duration::from_secs(1);

// Storage.

/// Writer threads of a node; a group always stays on the same one.
pub const WRITER_THREADS_DEFAULT_COUNT: usize = 4;
/// Budget of the tail caches of all groups of a node together, bytes.
pub const TAIL_CACHE_DEFAULT_BYTES: usize = 64 * 1024 * 1024;
/// What must stay free on the disk; below it the node refuses produces, bytes.
pub const DISK_RESERVE_DEFAULT_BYTES: u64 = 512 * 1024 * 1024;
/// One point of a segment's sparse index stands for about so many bytes.
pub const INDEX_INTERVAL_BYTES: u64 = 64 * 1024;
/// Payloads up to this size are copied at append, so that they do not pin the larger buffer that
/// they arrived in, bytes.
pub const CACHE_COPY_MAX_BYTES: usize = 16 * 1024;
/// Writes up to this size zero blocks ahead of them, bytes: for larger ones it would cost too much.
pub const ZERO_AHEAD_WRITE_MAX_BYTES: u64 = 16 * 1024;
/// How full a segment is before that is worth its bytes.
pub const ZERO_AHEAD_FROM_BYTES: u64 = 16 * 1024;
/// The most that is zeroed ahead at once, bytes.
pub const ZERO_AHEAD_MAX_BYTES: u64 = 256 * 1024;
/// Sealed segments whose file and index are kept open, per node.
pub const OPEN_SEGMENTS_MAX_COUNT: usize = 128;
/// How long a write that nobody waits for may lie in memory.
pub const LAZY_WRITE_MAX: Duration = Duration::from_millis(200);
/// Damaged copies of a group that are kept aside; the oldest go first.
pub const CORRUPT_COPIES_MAX_COUNT: usize = 3;

// The client.

/// Most endpoints that a client is given to start from.
pub const CLIENT_ENDPOINTS_MAX_COUNT: usize = 64;
/// How long a client waits for a connection to a node, TLS included.
pub const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client's call may take, its retries included.
pub const CLIENT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Age after which a client fetches the map of partitions and leaders again.
pub const CLIENT_METADATA_MAX_AGE: Duration = Duration::from_mins(1);
/// Shortest time between two fetches of that map.
pub const CLIENT_METADATA_MIN_AGE: Duration = Duration::from_millis(20);
/// A client's first wait before it tries again; doubles up to the longest.
pub const CLIENT_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest such wait: how late a new leader may be noticed.
pub const CLIENT_BACKOFF_MAX: Duration = Duration::from_millis(250);
/// How long one node may take to tell what it knows of the cluster.
pub const CLIENT_METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// At which size a producer closes a batch, bytes, unless told otherwise: a stream of small records
/// is a tenth faster than with a third of it.
pub const PRODUCER_BATCH_BYTES: usize = 768 * 1024;
/// Smallest such size, bytes.
pub const PRODUCER_BATCH_MIN_BYTES: usize = 1024;
/// Largest such size, bytes: with one more record on top a batch is still within its limit.
pub const PRODUCER_BATCH_MAX_BYTES: usize = BATCH_MAX_BYTES / 2 - 4096;
/// Unacknowledged batches at one leader, bytes: more gains no speed and costs time.
pub const PRODUCER_IN_FLIGHT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Unacknowledged batches of one partition; below what leaders remember of a producer.
pub const PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT: usize = 16;
/// Batches in flight to one leader that went before they were full: small ones cost most.
pub const PRODUCER_PARTIAL_BATCHES_MAX_COUNT: usize = 4;
/// Batches of one partition in flight, beyond which none goes before it is full.
pub const PRODUCER_PARTITION_PARTIAL_BATCHES_MAX_COUNT: usize = 2;
/// Records buffered in a producer, bytes: sending waits beyond it.
pub const PRODUCER_BUFFER_MAX_BYTES: usize = 32 * 1024 * 1024;
/// How long a producer tries to deliver a batch.
pub const PRODUCER_DELIVERY_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a leader may take over one batch before it answers TIMEOUT.
pub const PRODUCER_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a consumer tries to go on before it fails.
pub const CONSUMER_RETRY_TIMEOUT: Duration = Duration::from_mins(2);
/// After which time a consumer's stream that breaks counts as having worked.
pub const CONSUMER_STREAM_HEALTHY_MIN: Duration = Duration::from_secs(5);
/// How often in a row a consumer fetches a batch again that arrives damaged.
pub const CONSUMER_CORRUPT_MAX_COUNT: u32 = 3;
/// How much a leader sends a consumer in one reply, bytes, unless told otherwise.
pub const CONSUMER_REPLY_BYTES: u32 = 1024 * 1024;

// Metadata.

/// Most nodes in a cluster, those decommissioned not counted.
pub const NODES_MAX_COUNT: usize = 1000;
/// Longest address of a node, bytes.
pub const NODE_ADDRESS_MAX_BYTES: usize = 512;
/// Most producer ids given out by one command.
pub const PRODUCERS_ALLOCATE_MAX_COUNT: u32 = 10_000;

// Control: what keeps a node and the cluster in shape.

/// How often control looks at everything, if nothing wakes it before.
pub const CONTROL_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two such looks.
pub const CONTROL_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Longest time for a command of the meta group, a new election included.
pub const META_PROPOSE_MAX: Duration = Duration::from_secs(10);
/// Longest time for one attempt at it.
pub const META_ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// First wait between attempts; doubles up to the longest.
pub const META_BACKOFF_MIN: Duration = Duration::from_millis(25);
/// Longest such wait.
pub const META_BACKOFF_MAX: Duration = Duration::from_millis(400);
/// Largest segment of the meta group's log, bytes: it is purged segment by segment.
pub const META_SEGMENT_MAX_BYTES: u64 = 1024 * 1024;
/// Longest wait for a node that is asked how it is.
pub const DESCRIBE_MAX: Duration = Duration::from_secs(2);
/// How often an empty node asks its seeds for a place.
pub const JOIN_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for a seed's answer.
pub const JOIN_MAX: Duration = Duration::from_secs(12);
/// Longest wait for a new cluster's first command.
pub const BOOTSTRAP_MAX: Duration = Duration::from_secs(15);
/// How long a member knows no leader of the meta group before it asks its seeds who they are.
pub const META_LEADER_UNKNOWN_MAX: Duration = Duration::from_secs(3);
/// How often a broken stream of leader hints is opened again.
pub const LEADER_WATCH_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How soon a plan for the replicas is made again after there was something to do.
pub const RECONCILE_RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Replicas opened at once.
pub const REPLICAS_OPENING_MAX_COUNT: usize = 8;
/// How long a new partition's first replica has to begin its group before the next one may.
pub const PARTITION_START_TIMEOUT: Duration = Duration::from_secs(3);
/// How far a learner may be behind to become a voter, entries.
pub const REASSIGNMENT_LAG_MAX_COUNT: u64 = 64;
/// How long a leader that is moved away goes on after its heir did not take over, before it hands
/// over again: each such try keeps its partition from being written for a few seconds.
pub const HANDOVER_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Partitions moved at once by one leading node.
pub const REASSIGNMENTS_MAX_COUNT: usize = 4;
/// Commands of a drain proposed in one look.
pub const DRAIN_COMMANDS_MAX_COUNT: usize = 64;
/// How long a removed node still gets the meta group's log, so that it hears of its removal.
pub const REMOVED_NODE_LEARNER_MAX: Duration = Duration::from_secs(3);
/// How far a preferred leader may be behind to be handed the leadership, entries.
pub const PREFERRED_LAG_MAX_COUNT: u64 = 256;
/// How long a preferred leader must have been reachable and caught up before it is.
pub const PREFERRED_STABLE_MIN: Duration = Duration::from_secs(4);
/// By how much more, at most, so that not all groups change at the same moment.
pub const PREFERRED_JITTER_MAX: Duration = Duration::from_secs(2);
/// How long the balance of leaders leaves a node alone that is about to stop.
pub const STOP_REST_MAX: Duration = Duration::from_mins(2);
/// When less than this is left of it, being asked again makes it last anew.
pub const STOP_REST_RENEW_MAX: Duration = Duration::from_mins(1);
/// Longest time for handing a node's leaderships over before it is stopped.
pub const PREPARE_STOP_TRANSFER_MAX: Duration = Duration::from_secs(10);
/// How soon it is looked at again whether they are.
pub const PREPARE_STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Leaderships handed over at once then.
pub const PREPARE_STOP_TRANSFERS_MAX_COUNT: usize = 16;
/// How far a replica may be behind and still counts as in sync, entries.
pub const IN_SYNC_LAG_MAX_COUNT: u64 = 1024;
/// How often a topic is placed anew because a node went away meanwhile.
pub const TOPIC_ASSIGNMENT_ATTEMPTS_MAX_COUNT: u32 = 3;
/// How long a topic's creation waits for leaders, unless told otherwise.
pub const TOPIC_READY_DEFAULT: Duration = Duration::from_secs(10);
/// The longest that it may be told to wait.
pub const TOPIC_READY_MAX: Duration = Duration::from_mins(1);

// The log service.

/// How long a produce may take when it does not say.
pub const PRODUCE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest that a produce may ask for.
pub const PRODUCE_TIMEOUT_MAX: Duration = Duration::from_mins(2);
/// How long a request waits for its partition to have a leader: a little more than an election.
pub const LEADER_WAIT_MAX: Duration = Duration::from_millis(2500);
/// The pause before a request looks again for a leader that its node cannot hear of by itself.
pub const LEADER_POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How long a request for a topic that the node does not know waits for the metadata to come.
pub const METADATA_LAG_MAX: Duration = Duration::from_millis(300);
/// Unanswered batches of one ProduceStream, bytes: beyond it the stream is not read.
pub const PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Unanswered batches of one ProduceStream.
pub const PRODUCE_STREAM_IN_FLIGHT_MAX_COUNT: usize = 1024;
/// Unanswered batches of all clients of a node, bytes: beyond it requests wait.
pub const PRODUCE_NODE_IN_FLIGHT_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Requests that wait on a stream to the leader that they are passed on to.
pub const FORWARD_WAITING_MAX_COUNT: usize = 8;
/// Entries in flight per partition that unary produces are packed into; those that come meanwhile
/// share the next one.
pub const PRODUCE_COALESCED_IN_FLIGHT_MAX_COUNT: usize = 2;
/// How much of what waits is packed into one entry, bytes.
pub const PRODUCE_COALESCED_MAX_BYTES: usize = 256 * 1024;
/// A compressed batch that is larger than this once decompressed is checked on another thread,
/// bytes.
pub const CHECK_INLINE_MAX_BYTES: usize = 256 * 1024;
/// Batch bytes in one reply to a consumer, unless it asks otherwise.
pub const FETCH_REPLY_DEFAULT_BYTES: usize = 512 * 1024;
/// The most batch bytes in one reply; every gRPC client takes twice that.
pub const FETCH_REPLY_MAX_BYTES: usize = 2 * 1024 * 1024;
/// The longest that a fetch waits at the end of the log.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a node that is written to looks at its disk's free space, milliseconds.
pub const DISK_CHECK_INTERVAL_MS: i64 = 50;
/// Producer ids that a node asks the meta group for at once.
pub const PRODUCER_IDS_BLOCK_COUNT: u32 = 64;

// Bounds inside one part: of its work at once, its retries, what it shows.

/// How often in a row a lane follows a leader's hint to another leader without a wait.
pub const PRODUCER_LEADER_REDIRECTS_MAX_COUNT: u32 = 3;
/// How many of a kind are named in one sentence.
pub const PROBLEM_NAMES_MAX_COUNT: usize = 5;
/// Plain records of one request, encoded, bytes: the batch's own header is left room for.
pub const PLAIN_BATCH_MAX_BYTES: usize = BATCH_MAX_BYTES - 64;
/// Most parts that one `pwritev` takes (the kernel's `IOV_MAX`).
pub const WRITE_PARTS_MAX_COUNT: usize = 1024;
/// Largest single read, bytes.
pub const LOG_READ_MAX_BYTES: usize = 8 * 1024 * 1024;
/// How often a read starts anew because the segment it was in went away.
pub const LOG_READ_ATTEMPTS_MAX_COUNT: usize = 8;
/// The least that one round of eviction takes from a group, bytes.
pub const TAIL_CACHE_EVICT_MIN_BYTES: usize = 64 * 1024;
