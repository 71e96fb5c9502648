//! Every limit of the operator's side: sizes, counts, waits. The unit is the last word of the
//! name. The schema, the CEL rules and the operator's own checks all take their bounds from here;
//! a test compares the texts that cannot (rules and patterns are literals).

/// Longest name of a LogCluster, bytes. Pods are `<name>-<ordinal>`, and Services, whose names end
/// at 63, carry a suffix.
pub const CLUSTER_NAME_MAX_BYTES: usize = 40;
/// Most nodes of a cluster.
pub const REPLICAS_MAX_COUNT: i32 = 99;
/// Nodes of a cluster that says nothing.
pub const REPLICAS_DEFAULT_COUNT: i32 = 3;
/// Most replicas of a partition; the data plane's bound.
pub const REPLICATION_FACTOR_MAX_COUNT: i32 = 7;
/// Replicas of a partition when neither the topic nor the cluster says, and there are nodes enough.
pub const REPLICATION_FACTOR_DEFAULT_COUNT: i32 = 3;
/// Most partitions of a topic; the data plane's bound.
pub const PARTITIONS_MAX_COUNT: i32 = 10_000;
/// Partitions of a topic that says nothing.
pub const PARTITIONS_DEFAULT_COUNT: i32 = 3;
/// Pods that a new pod asks for a cluster: the lowest ordinals, which a scale-down takes last. So
/// many may vote on metadata, and a longer list would touch every pod at each change of size.
pub const SEEDS_MAX_COUNT: i32 = 5;

/// Smallest disk of a node, bytes: below it the data plane's reserve leaves no room.
pub const DISK_MIN_BYTES: u64 = 1024 * 1024 * 1024;
/// Smallest segment file, bytes; the data plane's bound.
pub const SEGMENT_MIN_BYTES: u64 = 1024 * 1024;
/// Largest segment file, bytes; the data plane's bound.
pub const SEGMENT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Largest record batch, bytes; the data plane's bound.
pub const BATCH_MAX_BYTES: u64 = 2 * 1024 * 1024;
/// Longest text of a size or a time, bytes.
pub const QUANTITY_TEXT_MAX_BYTES: usize = 16;

/// Share of a disk in use at which it grows, percent: smallest that may be asked for.
pub const GROW_THRESHOLD_MIN_PERCENT: i32 = 50;
/// Largest such share.
pub const GROW_THRESHOLD_MAX_PERCENT: i32 = 95;
/// Such a share when nothing is said.
pub const GROW_THRESHOLD_DEFAULT_PERCENT: i32 = 80;

/// Most labels, or annotations, that a user adds to pods or a Service.
pub const USER_LABELS_MAX_COUNT: usize = 64;
/// Most environment variables that a user adds to pods.
pub const USER_ENV_MAX_COUNT: usize = 64;
/// Most tolerations of a cluster's pods.
pub const TOLERATIONS_MAX_COUNT: usize = 32;
/// Most entries of a list of peers in a network policy.
pub const POLICY_PEERS_MAX_COUNT: usize = 64;
/// Most superusers.
pub const SUPER_USERS_MAX_COUNT: usize = 64;
/// Longest text that a user gives for a name, an address or an image, bytes.
pub const TEXT_MAX_BYTES: usize = 512;
/// Longest `blockedOn`, bytes: a sentence.
pub const BLOCKED_ON_MAX_BYTES: usize = 1024;

/// Time that a stopping pod has to hand over what it leads and to close its files.
pub const POD_GRACE_MAX_SECONDS: i64 = 60;
/// How often kubelet asks a starting or running pod whether it is well.
pub const PROBE_PERIOD_SECONDS: i32 = 5;
/// Longest wait for a probe's answer.
pub const PROBE_TIMEOUT_MAX_SECONDS: i32 = 3;
/// Unanswered probes after which a starting pod is killed: with [`PROBE_PERIOD_SECONDS`] ten
/// minutes, in which even a full disk is scanned.
pub const STARTUP_FAILURES_MAX_COUNT: i32 = 120;
/// Unanswered probes after which a running pod is killed.
pub const LIVENESS_FAILURES_MAX_COUNT: i32 = 6;
/// Unanswered probes after which a pod counts as not ready.
pub const READINESS_FAILURES_MAX_COUNT: i32 = 2;
/// Old revisions of a StatefulSet that are kept.
pub const REVISIONS_MAX_COUNT: i32 = 5;

/// Begin of a certificate's validity before its issue: clocks differ.
pub const CERTIFICATE_BACKDATE_SECONDS: i64 = 3600;
/// Time in which a new root reaches every node: kubelet's next look at the Secret, then the node's.
pub const ROOT_SETTLE_MAX_SECONDS: i64 = 600;
/// Most roots in a bundle; the oldest go first.
pub const ROOTS_MAX_COUNT: usize = 4;
/// Growth of a disk that fills up, percent of its size.
pub const GROW_STEP_PERCENT: u64 = 50;
/// Share of a claim that its file system has at least, percent.
pub const SIZED_PERCENT: u64 = 80;
/// Share of a disk, one in so many, to which the free bytes in status are rounded down: a status
/// that follows every record would be written without end.
pub const FREE_BYTES_STEPS_COUNT: u64 = 20;
/// Entries below which status says that a node lacks none.
pub const LAG_MIN_COUNT: u64 = 4096;

/// Pause between two looks at a cluster where nothing is to be done.
pub const REQUEUE_QUIET_SECONDS: u64 = 60;
/// Pause between two looks at a cluster at rest whose disks may grow: as long as that writes may be
/// refused before one does.
pub const REQUEUE_FILLING_SECONDS: u64 = 15;
/// Pause between two looks at a cluster that waits for something.
pub const REQUEUE_WAITING_SECONDS: u64 = 3;
/// First pause after a reconcile that failed; it doubles.
pub const RETRY_MIN_SECONDS: u64 = 2;
/// Longest pause after reconciles that failed.
pub const RETRY_MAX_SECONDS: u64 = 60;
/// Clusters that are reconciled at the same time.
pub const RECONCILES_MAX_COUNT: u16 = 8;
/// Nodes of a cluster that are asked at the same time.
pub const NODES_ASKED_MAX_COUNT: usize = 16;
/// Longest wait for a connection to a node.
pub const NODE_CONNECT_MAX_SECONDS: u64 = 2;
/// Longest wait for a node's answer, the connection included.
pub const NODE_ANSWER_MAX_SECONDS: u64 = 5;
/// Longest wait for a node to be made ready for its stop: longer than the data plane hands over.
pub const NODE_PREPARE_MAX_SECONDS: u64 = 15;
/// Largest answer of a node, bytes: the description of a cluster with the most partitions.
pub const NODE_ANSWER_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Longest text of a cause that is told in an event or in status, bytes.
pub const CAUSE_TEXT_MAX_BYTES: usize = 256;

/// Most characters of the API server's reason why a disk may not grow that are told.
pub const GROWTH_REFUSAL_MAX_COUNT: usize = 200;

/// How long a leader stays one without renewing.
pub const LEASE_MAX_SECONDS: i32 = 15;
/// Pause between two renewals, or two looks at somebody else's lease.
pub const LEASE_RENEW_SECONDS: u64 = 4;
/// Time without a renewal after which a leader ends itself, before another may begin.
pub const LEASE_RENEW_MAX_SECONDS: u64 = 10;
/// Longest wait for reconciles and the lease's release at the end.
pub const SHUTDOWN_MAX_SECONDS: u64 = 20;
/// Longest request to the health port, bytes of its head.
pub const HTTP_HEAD_MAX_BYTES: usize = 16 * 1024;
/// Connections to the health port at a time.
pub const HEALTH_CONNECTIONS_MAX_COUNT: usize = 64;
/// Longest life of a connection to the health port.
pub const HEALTH_CONNECTION_MAX_SECONDS: u64 = 10;
/// Longest reconcile.
pub const RECONCILE_MAX_SECONDS: u64 = 120;
/// The most memory that an operator of a hundred clusters may hold; a case of e2e measures it.
pub const OPERATOR_MEMORY_MAX_BYTES: u64 = 150 * 1024 * 1024;
