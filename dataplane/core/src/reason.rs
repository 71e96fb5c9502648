//! The one table of errors that clients see: reason, gRPC status, whether to try again.

use std::fmt;

/// gRPC's status codes, as far as the table uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[expect(missing_docs, reason = "the names are gRPC's own")]
pub enum StatusCode {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident, $retry:literal;)*) => {
        /// Why a call failed. On the wire: `google.rpc.ErrorInfo.reason`, domain `lograft.io`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason as it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The gRPC status that goes with it.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$code,)* }
            }

            /// Whether the same call may succeed later without anyone changing anything.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }

            /// The reason with this text.
            pub fn from_wire(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

// A reason's text is part of the API: its meaning never changes, and the text of a removed reason is
// not used again. Removed, never sent by a server: OVERLOADED.
reasons! {
    /// A field is missing or outside its bounds; metadata: `field`, `bound`.
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument, false;
    /// The topic's name breaks the rules; metadata: `field`, `bound`.
    InvalidTopicName = "INVALID_TOPIC_NAME", InvalidArgument, false;
    /// More replicas than nodes, or none; metadata: `field`, `bound`.
    InvalidReplicationFactor = "INVALID_REPLICATION_FACTOR", InvalidArgument, false;
    /// Too many partitions, none, or fewer than there are; metadata: `field`, `bound`.
    InvalidPartitionCount = "INVALID_PARTITION_COUNT", InvalidArgument, false;
    /// A batch or record above its limit; metadata: `field`, `bound`.
    BatchTooLarge = "BATCH_TOO_LARGE", InvalidArgument, false;
    /// The batch's CRC-32C is not that of its bytes: it was damaged on the way.
    BatchCorrupt = "BATCH_CORRUPT", InvalidArgument, true;
    /// The batch's bytes do not decode.
    BatchMalformed = "BATCH_MALFORMED", InvalidArgument, false;
    /// No such topic.
    UnknownTopic = "UNKNOWN_TOPIC", NotFound, false;
    /// The topic has no such partition; metadata: `bound`.
    UnknownPartition = "UNKNOWN_PARTITION", NotFound, false;
    /// No such node.
    UnknownNode = "UNKNOWN_NODE", NotFound, false;
    /// The topic is there already.
    TopicExists = "TOPIC_EXISTS", AlreadyExists, false;
    /// A limit of the cluster is reached; metadata: `field`, `bound`.
    LimitExceeded = "LIMIT_EXCEEDED", ResourceExhausted, false;
    /// The offset is not in the log; metadata: `log_start_offset`, `high_watermark`.
    OffsetOutOfRange = "OFFSET_OUT_OF_RANGE", OutOfRange, false;
    /// A batch of this producer is missing before this one; metadata: `expected_sequence`.
    OutOfOrderSequence = "OUT_OF_ORDER_SEQUENCE", FailedPrecondition, false;
    /// The batch is in the log already, further back than offsets are remembered.
    DuplicateSequence = "DUPLICATE_SEQUENCE", FailedPrecondition, false;
    /// A newer epoch of this producer is at work.
    ProducerFenced = "PRODUCER_FENCED", FailedPrecondition, false;
    /// Another node leads; metadata: `leader_node`, `leader_address`, `leader_epoch`.
    NotLeader = "NOT_LEADER", Unavailable, true;
    /// Nobody leads the partition at the moment.
    NoLeader = "NO_LEADER", Unavailable, true;
    /// The node is starting, or stopping.
    NotReady = "NOT_READY", Unavailable, true;
    /// Not acknowledged within the time given: it may or may not be in the log.
    Timeout = "TIMEOUT", DeadlineExceeded, true;
    /// The disk's reserve is reached: writes wait for space, reads go on.
    DiskFull = "DISK_FULL", ResourceExhausted, true;
    /// This replica's files are damaged; it serves nothing until it is fetched again.
    ReplicaCorrupt = "REPLICA_CORRUPT", DataLoss, true;
    /// No client certificate, or one that this cluster's CA did not issue.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated, false;
    /// The certificate's identity may not do this.
    PermissionDenied = "PERMISSION_DENIED", PermissionDenied, false;
    /// The node belongs to another cluster.
    ClusterMismatch = "CLUSTER_MISMATCH", FailedPrecondition, false;
    /// The node belongs to no cluster yet.
    NotBootstrapped = "NOT_BOOTSTRAPPED", FailedPrecondition, true;
    /// The node belongs to a cluster already.
    AlreadyBootstrapped = "ALREADY_BOOTSTRAPPED", FailedPrecondition, false;
    /// Too few nodes would stay to hold the replicas; metadata: `bound`.
    TooFewNodes = "TOO_FEW_NODES", FailedPrecondition, false;
    /// The node has been decommissioned.
    NodeDecommissioned = "NODE_DECOMMISSIONED", FailedPrecondition, false;
    /// The node still holds replicas: it cannot be removed yet.
    NodeNotDrained = "NODE_NOT_DRAINED", FailedPrecondition, true;
    /// The node failed in a way that is its own fault; its log says more.
    Internal = "INTERNAL", Internal, false;
}

impl Reason {
    /// `domain` of the ErrorInfo that carries the reason.
    pub const DOMAIN: &str = "lograft.io";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
