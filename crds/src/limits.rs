//! All limits of the operator: sizes, counts, waits. The last word of a name is its unit. The
//! schema and the operator's checks use these constants; a test compares them with the literals in
//! CEL rules and patterns.

/// Maximum length of a LogCluster's name, bytes. Pods are `<name>-<ordinal>`, and Services, whose
/// names are limited to 63 bytes, have a suffix.
pub const CLUSTER_NAME_MAX_BYTES: usize = 40;
/// Maximum number of nodes of a cluster.
pub const REPLICAS_MAX_COUNT: i32 = 99;
/// Default number of nodes of a cluster.
pub const REPLICAS_DEFAULT_COUNT: i32 = 3;
/// Maximum number of replicas of a partition; the bound of the data plane.
pub const REPLICATION_FACTOR_MAX_COUNT: i32 = 7;
/// Default number of replicas of a partition, if there are enough nodes.
pub const REPLICATION_FACTOR_DEFAULT_COUNT: i32 = 3;
/// Maximum number of partitions of a topic; the bound of the data plane.
pub const PARTITIONS_MAX_COUNT: i32 = 10_000;
/// Default number of partitions of a topic.
pub const PARTITIONS_DEFAULT_COUNT: i32 = 3;
/// Maximum length of a topic's name, bytes; the bound of the data plane.
pub const TOPIC_NAME_MAX_BYTES: usize = 249;
/// Maximum length of a namespace's name, bytes; the bound of Kubernetes.
pub const NAMESPACE_MAX_BYTES: usize = 63;
/// Maximum number of settings of a topic that a status names.
pub const TOPIC_SETTINGS_MAX_COUNT: usize = 16;
/// Maximum number of namespaces, or labels of namespaces, that a LogCluster allows.
pub const ALLOWED_NAMESPACES_MAX_COUNT: usize = 64;
/// Interval between reconciles of a LogTopic.
pub const TOPIC_REQUEUE_SECONDS: u64 = 30;
/// Interval between reconciles of a LogTopic that waits for something that ends by itself.
pub const TOPIC_WAITING_SECONDS: u64 = 5;
/// Age up to which a list of a cluster's topics counts: all LogTopics of the cluster share it.
pub const TOPICS_FRESH_SECONDS: u64 = 20;
/// The same while no node answers, and for a LogCluster that does not exist.
pub const TOPICS_RETRY_SECONDS: u64 = 4;
/// Time for which a reconcile waits for such a list that another one has requested, before it takes
/// the last one.
pub const TOPICS_WAIT_MAX_SECONDS: u64 = 1;
/// Time without a use after which a cluster's list of topics is dropped.
pub const TOPICS_UNUSED_SECONDS: u64 = 600;
/// Nodes that are asked for the topics of a cluster before it counts as unreachable.
pub const TOPIC_NODES_ASKED_MAX_COUNT: usize = 3;
/// Time that a node waits for leaders of a new topic before it answers, milliseconds: less than the
/// timeout of the call.
pub const TOPIC_LEADERS_WAIT_MS: u32 = 1500;
/// Number of topics in one page of a list.
pub const TOPICS_PAGE_MAX_COUNT: u32 = 1000;
/// Number of partitions of a cluster up to which all of them are asked for their bytes: the reply
/// stays below the maximum size of a message. Above it only unhealthy partitions are described.
pub const TOPIC_BYTES_PARTITIONS_MAX_COUNT: u64 = 15_000;
/// Number of bits of a topic's bytes in status: otherwise each record would change the status.
pub const TOPIC_BYTES_BITS_COUNT: u32 = 3;
/// Minimum size of a topic in status, bytes; less is 0.
pub const TOPIC_BYTES_MIN_BYTES: u64 = 1024 * 1024;
/// Initial pause after the cluster has refused a request for a topic; it doubles.
pub const TOPIC_REFUSED_MIN_SECONDS: i64 = 10;
/// Maximum pause after such refusals.
pub const TOPIC_REFUSED_MAX_SECONDS: i64 = 600;
/// Maximum number of LogTopics whose refusals the operator remembers.
pub const TOPIC_REFUSALS_MAX_COUNT: usize = 10_000;
/// Time for which the operator remembers the labels of a namespace.
pub const NAMESPACE_LABELS_MAX_SECONDS: u64 = 30;
/// Namespaces whose labels the operator remembers.
pub const NAMESPACE_LABELS_MAX_COUNT: usize = 10_000;
/// Number of LogTopics that are reconciled at the same time.
pub const TOPIC_RECONCILES_MAX_COUNT: u16 = 8;
/// Maximum memory of an operator with a thousand LogTopics; measured by an e2e case.
pub const OPERATOR_TOPICS_MEMORY_MAX_BYTES: u64 = 120 * 1024 * 1024;
/// Maximum number of seeds in a node's configuration: the lowest ordinals, which a scale-down
/// removes last. It equals the maximum number of meta voters; a longer list would change every pod
/// at each scaling.
pub const SEEDS_MAX_COUNT: i32 = 5;

/// Minimum size of a node's disk, bytes: below it the data plane's reserve leaves no space.
pub const DISK_MIN_BYTES: u64 = 1024 * 1024 * 1024;
/// Minimum size of a segment file, bytes; the bound of the data plane.
pub const SEGMENT_MIN_BYTES: u64 = 1024 * 1024;
/// Maximum size of a segment file, bytes; the bound of the data plane.
pub const SEGMENT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Minimum of the maximum size of a record batch, bytes; the bound of the data plane.
pub const BATCH_MIN_BYTES: u64 = 1024;
/// Maximum size of a record batch, bytes; the bound of the data plane.
pub const BATCH_MAX_BYTES: u64 = RECORD_MAX_BYTES + BATCH_OVERHEAD_MAX_BYTES;
/// Maximum size of a record batch that nodes of feature level 1 accept in their configuration,
/// bytes.
pub const BATCH_LEVEL_1_MAX_BYTES: u64 = 2 * 1024 * 1024;
/// Minimum of the maximum size of a record, bytes; the bound of the data plane.
pub const RECORD_MIN_BYTES: u64 = 1024;
/// Maximum size of a record, bytes; the bound of the data plane.
pub const RECORD_MAX_BYTES: u64 = 3 * 1024 * 1024;
/// Bytes by which the maximum size of a record batch is at least above that of a record; the bound
/// of the data plane.
pub const BATCH_OVERHEAD_MAX_BYTES: u64 = 4096;
/// Maximum length of the text of a size or duration, bytes.
pub const QUANTITY_TEXT_MAX_BYTES: usize = 16;

/// Minimum of `thresholdPercent`, the disk usage at which a disk grows.
pub const GROW_THRESHOLD_MIN_PERCENT: i32 = 50;
/// Maximum of `thresholdPercent`.
pub const GROW_THRESHOLD_MAX_PERCENT: i32 = 95;
/// Default of `thresholdPercent`.
pub const GROW_THRESHOLD_DEFAULT_PERCENT: i32 = 80;

/// Maximum number of labels, or annotations, that a user adds to pods or a Service.
pub const USER_LABELS_MAX_COUNT: usize = 64;
/// Maximum number of environment variables that a user adds to pods.
pub const USER_ENV_MAX_COUNT: usize = 64;
/// Maximum number of tolerations of a cluster's pods.
pub const TOLERATIONS_MAX_COUNT: usize = 32;
/// Maximum number of client peers in the NetworkPolicy.
pub const POLICY_PEERS_MAX_COUNT: usize = 64;
/// Maximum number of origins whose pages may read answers; the bound of the data plane.
pub const HTTP_ORIGINS_MAX_COUNT: usize = 64;
/// Maximum length of such an origin, bytes; the bound of the data plane.
pub const HTTP_ORIGIN_MAX_BYTES: usize = 512;
/// Maximum number of superusers.
pub const SUPER_USERS_MAX_COUNT: usize = 64;
/// Maximum length of the name of a user or of its namespace, bytes; the bound of the data plane.
pub const USER_NAME_MAX_BYTES: usize = 253;
/// Maximum length of the name of a Secret, bytes; the bound of Kubernetes.
pub const SECRET_NAME_MAX_BYTES: usize = 253;
/// Maximum number of rules of a LogUser.
pub const USER_RULES_MAX_COUNT: usize = 64;
/// Maximum number of operations of a rule: all that there are.
pub const USER_RULE_OPERATIONS_MAX_COUNT: usize = 6;
/// Maximum length of the resource of a rule, bytes: a kind, a name and `*`.
pub const USER_RESOURCE_MAX_BYTES: usize = 6 + TOPIC_NAME_MAX_BYTES + 1;
/// Maximum number of changes of rules in one request; the bound of the data plane.
pub const USER_CHANGES_MAX_COUNT: usize = 1000;
/// Rules in one page of the list; the bound of the data plane.
pub const USER_RULES_PAGE_COUNT: u32 = 1000;
/// Maximum number of pages of rules that are read: more than the data plane can have.
pub const USER_RULES_PAGES_MAX_COUNT: usize = 20;
/// Maximum number of namespaces in `spec.userGrants` of a LogCluster.
pub const USER_GRANTS_MAX_COUNT: usize = 64;
/// Maximum number of prefixes of a namespace in `spec.userGrants`.
pub const USER_GRANT_PREFIXES_MAX_COUNT: usize = 16;
/// Minimum lifetime of a LogUser's certificate.
pub const USER_VALIDITY_MIN_SECONDS: i64 = 3600;
/// Interval between reconciles of a LogUser.
pub const USER_REQUEUE_SECONDS: u64 = 60;
/// Number of LogUsers that are reconciled at the same time.
pub const USER_RECONCILES_MAX_COUNT: u16 = 4;
/// Maximum length of a user as text, `user/<namespace>/<name>`, bytes.
pub const USER_TEXT_MAX_BYTES: usize = 5 + 2 * USER_NAME_MAX_BYTES + 1;
/// Maximum length of a name, address or image given by a user, bytes.
pub const TEXT_MAX_BYTES: usize = 512;

/// Time for which the operator remembers the zone of a host, and that it may not read hosts, in
/// seconds.
pub const HOST_ZONES_MAX_SECONDS: u64 = 600;

/// Hosts whose zone the operator remembers.
pub const HOST_ZONES_MAX_COUNT: usize = 10_000;

/// Nodes of Kubernetes that are read for one name of a host. Two have the same name while a host
/// that was registered again still has its former one.
pub const NODES_OF_HOST_MAX_COUNT: u32 = 8;

/// Nodes that are taken from what one node has discovered.
pub const MEMBERS_SEEN_MAX_COUNT: usize = 2 * REPLICAS_MAX_COUNT as usize;

/// Sources of discovery that status names for a node.
pub const SOURCES_MAX_COUNT: usize = 8;
/// Maximum length of `blockedOn`, bytes: one sentence.
pub const BLOCKED_ON_MAX_BYTES: usize = 1024;
/// Maximum length of a message in `status.blocked`, bytes: `blockedOn` without its time.
pub const BLOCKED_MESSAGE_MAX_BYTES: usize = BLOCKED_ON_MAX_BYTES - 64;
/// Maximum number of entries in `status.blocked`.
pub const BLOCKED_MAX_COUNT: usize = 16;
/// Maximum number of entries in `status.notes`.
pub const NOTES_MAX_COUNT: usize = 16;
/// Maximum length of a reason in `status.blocked`, bytes.
pub const BLOCKED_REASON_MAX_BYTES: usize = 64;
/// Maximum length of a subject in `status.blocked`, bytes: a kind and a name.
pub const BLOCKED_SUBJECT_MAX_BYTES: usize = 320;

/// Default of `finalizeAfterSeconds`: the time that a new version runs before the way back is given
/// up.
pub const FINALIZE_AFTER_DEFAULT_SECONDS: i64 = 600;
/// Minimum of `spec.recovery.deadNodeAfter`: no shorter than a restart of a node may take.
pub const DEAD_NODE_AFTER_MIN_SECONDS: i64 = 60;
/// Maximum of `spec.recovery.deadNodeAfter`: a year.
pub const DEAD_NODE_AFTER_MAX_SECONDS: i64 = 31_536_000;
/// Maximum of `finalizeAfterSeconds`: seven days.
pub const FINALIZE_AFTER_MAX_SECONDS: i64 = 604_800;

/// Minimum and maximum of the annotation `lograft.io/rollout-wave`.
pub const ROLLOUT_WAVE_MAX_COUNT: i32 = 999;
/// Default number of rollouts at the same time.
pub const ROLLOUTS_DEFAULT_COUNT: u16 = 2;
/// Maximum number of rollouts at the same time.
pub const ROLLOUTS_MAX_COUNT: u16 = 1000;
/// Default time for which the first cluster with a change of the operator has to stay healthy
/// before others get it.
pub const CANARY_SOAK_DEFAULT_SECONDS: u32 = 300;
/// Maximum of that time: seven days.
pub const CANARY_SOAK_MAX_SECONDS: u32 = 604_800;
/// Time after the operator's start for which a rollout waits until all other clusters have been
/// looked at. One that cannot be read by then does not hold up the others.
pub const FLEET_SURVEY_MAX_SECONDS: i64 = 120;
/// Age above which it is checked that a cluster that others wait for exists: each is reconciled
/// more often than that.
pub const FLEET_MEMBER_FRESH_SECONDS: i64 = 90;
/// Interval between reconciles of a cluster whose rollout waits for its turn.
pub const REQUEUE_HELD_SECONDS: i64 = 20;
/// Maximum size of a kept pod template, bytes: the API server limits all annotations of an object
/// to 256 KiB.
pub const KEPT_TEMPLATE_MAX_BYTES: usize = 128 * 1024;
/// Maximum number of maintenance windows of a cluster.
pub const WINDOWS_MAX_COUNT: usize = 16;
/// Minimum duration of a maintenance window: a pod has to be replaced within it.
pub const WINDOW_MIN_SECONDS: i64 = 300;
/// Maximum duration of a maintenance window.
pub const WINDOW_MAX_SECONDS: i64 = 86_400;

/// Termination grace period of a pod: time to transfer its leaderships and close its files.
pub const POD_GRACE_MAX_SECONDS: i64 = 60;
/// Interval of kubelet's probes.
pub const PROBE_PERIOD_SECONDS: i32 = 5;
/// Timeout of a probe.
pub const PROBE_TIMEOUT_MAX_SECONDS: i32 = 3;
/// Failed probes after which a starting pod is killed: with [`PROBE_PERIOD_SECONDS`] ten minutes,
/// enough for recovery to scan a full disk.
pub const STARTUP_FAILURES_MAX_COUNT: i32 = 120;
/// Failed probes after which a running pod is killed.
pub const LIVENESS_FAILURES_MAX_COUNT: i32 = 6;
/// Failed probes after which a pod is not ready.
pub const READINESS_FAILURES_MAX_COUNT: i32 = 2;
/// Revision history limit of the StatefulSet.
pub const REVISIONS_MAX_COUNT: i32 = 5;

/// Time by which a certificate's validity starts before its issue, because clocks differ.
pub const CERTIFICATE_BACKDATE_SECONDS: i64 = 3600;
/// Time until every node and client has a new root: kubelet's next sync of the Secret, then a
/// reload.
pub const ROOT_SETTLE_MAX_SECONDS: i64 = 600;
/// Maximum number of gossip keys in the Secret; the bound of the data plane.
pub const GOSSIP_KEYS_MAX_COUNT: usize = 2;
/// Minimum time between two replacements of the gossip key.
pub const GOSSIP_KEY_VALIDITY_MIN_SECONDS: i64 = 3600;
/// Time between two steps of a replacement of the gossip key, beside that every node has reported
/// the last step: kubelet's next sync of the Secret. A node that does not answer has the file then.
pub const GOSSIP_KEY_SETTLE_SECONDS: i64 = 120;
/// Lifetime of the token with which a node watches EndpointSlices; kubelet renews it in time.
pub const TOKEN_SECONDS: i64 = 3600;
/// Maximum number of roots in a bundle; the oldest are removed first.
pub const ROOTS_MAX_COUNT: usize = 4;
/// Step by which a full disk grows, percent of its size.
pub const GROW_STEP_PERCENT: u64 = 50;
/// Minimum size of a file system relative to its claim, percent.
pub const SIZED_PERCENT: u64 = 80;
/// Free bytes in status are rounded down to 1/20 of the disk: otherwise each record would change
/// the status.
pub const FREE_BYTES_STEPS_COUNT: u64 = 20;
/// Lag, in entries, below which status reports none.
pub const LAG_MIN_COUNT: u64 = 4096;

/// Interval between reconciles of a cluster at rest.
pub const REQUEUE_QUIET_SECONDS: u64 = 60;
/// Interval between reconciles of a cluster at rest whose disks can grow: the maximum time that
/// writes are refused before a disk grows.
pub const REQUEUE_FILLING_SECONDS: u64 = 15;
/// Interval between reconciles of a cluster that waits for something.
pub const REQUEUE_WAITING_SECONDS: u64 = 3;
/// Initial back-off after a failed reconcile; it doubles.
pub const RETRY_MIN_SECONDS: u64 = 2;
/// Maximum back-off after failed reconciles.
pub const RETRY_MAX_SECONDS: u64 = 60;
/// Maximum number of clusters reconciled at the same time.
pub const RECONCILES_MAX_COUNT: u16 = 8;
/// Maximum number of nodes of a cluster called at the same time.
pub const NODES_ASKED_MAX_COUNT: usize = 16;
/// Timeout of a connection to a node.
pub const NODE_CONNECT_MAX_SECONDS: u64 = 2;
/// Timeout of a call to a node, including the connection.
pub const NODE_ANSWER_MAX_SECONDS: u64 = 5;
/// Timeout of PrepareStop: longer than the data plane needs for leadership transfers.
pub const NODE_PREPARE_MAX_SECONDS: u64 = 15;
/// Maximum size of a node's reply, bytes: the description of a cluster with the maximum number of
/// partitions.
pub const NODE_ANSWER_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Maximum length of the message of an event, bytes; the bound of the API server.
pub const EVENT_TEXT_MAX_BYTES: usize = 1024;
/// Maximum length of the part of an event's name that is the object's name, bytes.
pub const EVENT_NAME_START_MAX_BYTES: usize = 200;
/// Maximum length of an error text in an event or in status, bytes.
pub const CAUSE_TEXT_MAX_BYTES: usize = 256;

/// Maximum number of fields that an event about a reverted edit names.
pub const EDITED_FIELDS_MAX_COUNT: usize = 4;
/// Maximum number of objects of a cluster that are looked up by name at the same time.
pub const LOOKUPS_MAX_COUNT: usize = 8;
/// Maximum length of what Kubernetes says about a container in status, bytes.
pub const TROUBLE_TEXT_MAX_BYTES: usize = 240;
/// Restarts of a container after which it crashes again and again, also while it runs for a moment.
pub const CRASHES_MIN_COUNT: i32 = 2;
/// Time that such a container has to run until its crashes are over. Kubelet forgets them after the
/// same time.
pub const CRASHES_OVER_AFTER_SECONDS: i64 = 600;
/// Age of a pod or claim below which what keeps it waiting is not reported: it may be on its way.
pub const OBSTACLE_MIN_AGE_SECONDS: i64 = 10;
/// Age at which the cluster of such an object is looked at again.
pub const OBSTACLE_LOOK_AFTER_SECONDS: i64 = OBSTACLE_MIN_AGE_SECONDS + 5;
/// Age above which a warning event about an object no longer explains its state. The StatefulSet
/// controller repeats a refused creation at intervals of up to 17 minutes.
pub const OBSTACLE_EVENT_MAX_AGE_SECONDS: i64 = 1200;
/// Maximum number of objects of one kind whose warning events are read in a reconcile.
pub const OBSTACLE_OBJECTS_MAX_COUNT: usize = 3;
/// Maximum number of events that are read of an object.
pub const OBSTACLE_EVENTS_MAX_COUNT: u32 = 50;
/// Maximum length of the message of such an event in status, bytes.
pub const OBSTACLE_TEXT_MAX_BYTES: usize = 400;
/// Time for which a pod that has been replaced does not count as lost: its node starts and joins.
pub const REPLACEMENT_MAX_SECONDS: i64 = 120;
/// Time after the end of its grace period for which a pod that is being deleted does not count as
/// lost.
pub const DELETION_SLACK_SECONDS: i64 = 30;
/// Time for which a ready pod may stay unreachable for its peers, which look at intervals.
pub const REACHED_AFTER_SECONDS: i64 = 10;
/// Time without a leader after which a group counts as having lost its majority. A new topic and an
/// election need less.
pub const LEADERLESS_MAX_SECONDS: i64 = 10;
/// Time for which an ended wait is remembered: if it starts again, it is the same one.
pub const WAIT_REMEMBERED_SECONDS: i64 = 120;
/// Age of a wait that needs a person at which a Warning event is published.
pub const WARNING_AFTER_SECONDS: i64 = 10;
/// Age at which a wait that should end by itself needs a person.
pub const WARNING_LATE_SECONDS: i64 = 1800;
/// The same for a wait in which data is moved or a file system grows.
pub const WARNING_MOVING_SECONDS: i64 = 21_600;
/// Interval at which the event is repeated while the wait lasts.
pub const WARNING_REPEAT_SECONDS: i64 = 600;
/// Maximum number of waits of all clusters for which the operator knows when it has warned.
pub const WARNINGS_KNOWN_MAX_COUNT: usize = 10_000;
/// Time after a pod's start within which kubelet reports it as not ready for the first time. A pod
/// that becomes not ready later was ready in between.
pub const UNREADY_AT_START_MAX_SECONDS: i64 = 2;
/// Maximum length of the API server's refusal to grow a disk in status, bytes.
pub const GROWTH_REFUSAL_MAX_BYTES: usize = 200;

/// Duration of the Lease: a leader that does not renew it for this long may be replaced.
pub const LEASE_MAX_SECONDS: i32 = 15;
/// Interval between renewals of the own Lease, or reads of another leader's.
pub const LEASE_RENEW_SECONDS: u64 = 4;
/// Time without a renewal after which a leader exits: shorter than the Lease, so that it stops
/// before another leader starts.
pub const LEASE_RENEW_MAX_SECONDS: u64 = 10;
/// Duration of the Lease of a namespace: longer than a reconcile that started just before the next
/// renewal was due, so that two operators never act on one LogCluster.
pub const SCOPE_LEASE_MAX_SECONDS: i32 = 180;
/// Age of the last renewal of a namespace's Lease from which a reconcile renews it first.
pub const SCOPE_RENEW_SECONDS: u64 = 15;
/// Interval between looks at a namespace that another operator manages.
pub const SCOPE_CONCEDED_SECONDS: u64 = 30;
/// Number of writes of a field that somebody undoes before the operator says so and writes seldom.
pub const CONTEST_ROUNDS_COUNT: u32 = 3;
/// Time after a write within which a change of the same field belongs to the same contest.
pub const CONTEST_WINDOW_SECONDS: i64 = 60;
/// Initial pause between writes of a contested field; it doubles with each round.
pub const CONTEST_PAUSE_MIN_SECONDS: i64 = 30;
/// Maximum pause between writes of a contested field.
pub const CONTEST_PAUSE_MAX_SECONDS: i64 = 600;
/// Timeout of the shutdown: running reconciles and the release of the Lease.
pub const SHUTDOWN_MAX_SECONDS: u64 = 20;
/// Maximum number of checks that are read from a node's description of the cluster.
pub const CHECKS_MAX_COUNT: usize = 64;
/// Maximum length of a text of such a check, bytes. A longer one is cut.
pub const CHECK_TEXT_MAX_BYTES: usize = 1024;
/// Maximum size of the head of a request to the health port, bytes.
pub const HTTP_HEAD_MAX_BYTES: usize = 16 * 1024;
/// Maximum number of open connections to the health port. For a further one the oldest silent one
/// is closed.
pub const HEALTH_CONNECTIONS_MAX_COUNT: usize = 64;
/// Maximum number of open connections to the health port from one IPv4 address or IPv6 /64. For a
/// further one the oldest silent one of the same origin is closed.
pub const HEALTH_CONNECTIONS_PER_ORIGIN_MAX_COUNT: usize = 16;
/// Timeout of the head of a request to the health port.
pub const HEALTH_HEAD_MAX_SECONDS: u64 = 1;
/// Pause after a failure to accept a connection, for example because of too many open files.
pub const ACCEPT_RETRY_MS: u64 = 50;
/// Maximum lifetime of a connection to the health port.
pub const HEALTH_CONNECTION_MAX_SECONDS: u64 = 10;
/// Timeout of a reconcile.
pub const RECONCILE_MAX_SECONDS: u64 = 120;
/// Maximum memory of an operator with a hundred clusters; measured by an e2e case.
pub const OPERATOR_MEMORY_MAX_BYTES: u64 = 150 * 1024 * 1024;
