//! The table of all errors that clients see: reason, gRPC status, and whether a retry may help.

mod received;

use std::fmt;
use std::time::Duration;

use crate::limits::{DISK_FULL_RETRY_DELAY, DISK_SLOW_RETRY_DELAY, TOO_MANY_READS_RETRY_DELAY};

pub use received::{NewerReason, ReceivedDetails, ReceivedReason, cut_text, is_retryable_code};

/// The gRPC status codes that the table uses.
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
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident, $retry:literal;)*) => {
        /// The reason of a failed call. On the wire it is `google.rpc.ErrorInfo.reason` in the
        /// domain `lograft.io`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All reasons, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason's text on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The gRPC status code of the reason.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$code,)* }
            }

            /// Whether a retry of the same call may succeed.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }

            /// The reason with this text on the wire, if it is known.
            pub fn from_wire(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

// The text of a reason is part of the API: its meaning does not change, and the text of a removed
// reason is not used again. Removed: OVERLOADED, which no release has sent.
reasons! {
    /// A field is missing or out of bounds. Metadata: `field`, `bound`.
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument, false;
    /// The topic name is invalid. Metadata: `field`, `bound`.
    InvalidTopicName = "INVALID_TOPIC_NAME", InvalidArgument, false;
    /// The replication factor is 0 or above the number of nodes. Metadata: `field`, `bound`.
    InvalidReplicationFactor = "INVALID_REPLICATION_FACTOR", InvalidArgument, false;
    /// The number of partitions is 0, too large, or smaller than it is now. Metadata: `field`,
    /// `bound`.
    InvalidPartitionCount = "INVALID_PARTITION_COUNT", InvalidArgument, false;
    /// A batch or record is above its limit. Metadata: `field`, `bound`.
    BatchTooLarge = "BATCH_TOO_LARGE", InvalidArgument, false;
    /// The topic was deleted, and one of the same name was created: the client means the former.
    /// Metadata: `topic_id`, the id of the topic that has the name now.
    TopicRecreated = "TOPIC_RECREATED", FailedPrecondition, false;
    /// A record's timestamp is too far from its append time. Metadata: `field`, `bound`.
    InvalidTimestamp = "INVALID_TIMESTAMP", InvalidArgument, false;
    /// The CRC-32C of the batch is wrong: it was corrupted in transit.
    BatchCorrupt = "BATCH_CORRUPT", InvalidArgument, true;
    /// The batch cannot be decoded.
    BatchMalformed = "BATCH_MALFORMED", InvalidArgument, false;
    /// A gRPC message is above its limit. `field` says which one: `request bytes`, or `reply bytes`
    /// if the call has to ask for less. Metadata: `field`, `bound`.
    MessageTooLarge = "MESSAGE_TOO_LARGE", InvalidArgument, false;
    /// The request is not a call of gRPC, or its message cannot be decoded.
    RequestMalformed = "REQUEST_MALFORMED", InvalidArgument, false;
    /// The node does not have the call: its path is wrong, or the node runs an older version.
    UnknownCall = "UNKNOWN_CALL", Unimplemented, false;
    /// The request is compressed: only the records in a batch may be. Metadata: `field`, `bound`.
    UnsupportedCompression = "UNSUPPORTED_COMPRESSION", Unimplemented, false;
    /// The health or reflection service was asked for a name that this port does not have.
    UnknownService = "UNKNOWN_SERVICE", NotFound, false;
    /// The topic does not exist.
    UnknownTopic = "UNKNOWN_TOPIC", NotFound, false;
    /// The partition does not exist. Metadata: `bound`.
    UnknownPartition = "UNKNOWN_PARTITION", NotFound, false;
    /// The node does not exist.
    UnknownNode = "UNKNOWN_NODE", NotFound, false;
    /// The member is not in the group, or is another caller's: its session has ended, or it was
    /// removed for not giving up partitions in time. It drops what it has not committed, and joins
    /// again.
    UnknownMember = "UNKNOWN_MEMBER", NotFound, false;
    /// Another member has joined with the same instance id and has replaced this one, which stops.
    MemberReplaced = "MEMBER_REPLACED", FailedPrecondition, false;
    /// The member does not have the partition (any more): it drops what it has not committed of it.
    NotAssigned = "NOT_ASSIGNED", FailedPrecondition, false;
    /// The member has committed the partition with a greater sequence since. Metadata: `sequence`.
    CommitSuperseded = "COMMIT_SUPERSEDED", FailedPrecondition, false;
    /// The consumer group does not exist.
    UnknownGroup = "UNKNOWN_GROUP", NotFound, false;
    /// The raft group was recovered in another epoch since. Metadata: `epoch`.
    OtherRecoveryEpoch = "OTHER_RECOVERY_EPOCH", FailedPrecondition, false;
    /// A majority of the replicas answers: the group must not be recovered from one of them.
    MajorityIntact = "MAJORITY_INTACT", FailedPrecondition, false;
    /// The consumer group has members: stop them first.
    GroupNotEmpty = "GROUP_NOT_EMPTY", FailedPrecondition, false;
    /// The topic already exists.
    TopicExists = "TOPIC_EXISTS", AlreadyExists, false;
    /// A limit of the cluster would be exceeded. Metadata: `field`, `bound`.
    LimitExceeded = "LIMIT_EXCEEDED", ResourceExhausted, false;
    /// The offset is not in the log. Metadata: `log_start_offset`, `high_watermark`.
    OffsetOutOfRange = "OFFSET_OUT_OF_RANGE", OutOfRange, false;
    /// A batch of the producer before this one is missing. Metadata: `expected_sequence`.
    OutOfOrderSequence = "OUT_OF_ORDER_SEQUENCE", FailedPrecondition, false;
    /// The batch is in the log already, but too far back for its offset to be known: it counts as
    /// acknowledged. Only nodes before 0.3.0 say so; later ones acknowledge it.
    DuplicateSequence = "DUPLICATE_SEQUENCE", FailedPrecondition, false;
    /// A newer epoch of the producer has written to the partition.
    ProducerFenced = "PRODUCER_FENCED", FailedPrecondition, false;
    /// Another node is the leader. Metadata: `leader_node`, `leader_address`, `leader_epoch`.
    NotLeader = "NOT_LEADER", Unavailable, true;
    /// The replica may not answer the read: it has less than the client has seen, has not heard
    /// from its leader lately, or leaves the partition. Read from another replica. Metadata:
    /// `leader_node`, `leader_address`, `leader_epoch`.
    ReplicaNotCurrent = "REPLICA_NOT_CURRENT", Unavailable, true;
    /// The partition has no leader at the moment.
    NoLeader = "NO_LEADER", Unavailable, true;
    /// The node is starting or stopping.
    NotReady = "NOT_READY", Unavailable, true;
    /// The connection is closing, because of its age for example. Requests without a reply were not
    /// carried out: send them on another connection.
    ConnectionClosing = "CONNECTION_CLOSING", Unavailable, true;
    /// The request was not acknowledged in time. It may or may not be in the log.
    Timeout = "TIMEOUT", DeadlineExceeded, true;
    /// The free disk space is below the reserve. Writes are rejected, reads still work.
    DiskFull = "DISK_FULL", ResourceExhausted, true;
    /// The leader's disk flushes more slowly than batches arrive. The batch was not appended.
    DiskSlow = "DISK_SLOW", Unavailable, true;
    /// Too many reads wait for the disk of this node, or the user's clients have not taken the
    /// replies to earlier ones.
    TooManyReads = "TOO_MANY_READS", ResourceExhausted, true;
    /// The files of this replica are corrupt. It serves no requests until it is repaired.
    ReplicaCorrupt = "REPLICA_CORRUPT", DataLoss, true;
    /// There is no client certificate, or the cluster's CA did not issue it.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated, false;
    /// The certificate is revoked, or its user is suspended. A retry succeeds only with a newer
    /// certificate, or once an administrator has restored the user.
    CertificateRevoked = "CERTIFICATE_REVOKED", Unauthenticated, false;
    /// The identity in the certificate is not allowed to do this.
    PermissionDenied = "PERMISSION_DENIED", PermissionDenied, false;
    /// The node belongs to another cluster.
    ClusterMismatch = "CLUSTER_MISMATCH", FailedPrecondition, false;
    /// The node does not belong to a cluster yet.
    NotBootstrapped = "NOT_BOOTSTRAPPED", FailedPrecondition, true;
    /// The node already belongs to a cluster.
    AlreadyBootstrapped = "ALREADY_BOOTSTRAPPED", FailedPrecondition, false;
    /// Too few nodes would remain for the replicas. Metadata: `bound`.
    TooFewNodes = "TOO_FEW_NODES", FailedPrecondition, false;
    /// The node is decommissioned.
    NodeDecommissioned = "NODE_DECOMMISSIONED", FailedPrecondition, false;
    /// The node still has replicas, so it cannot be removed yet.
    NodeNotDrained = "NODE_NOT_DRAINED", FailedPrecondition, true;
    /// A command or setting of a newer version is used before its feature level is finalized.
    /// Metadata: `field`, `bound`.
    FeatureNotFinalized = "FEATURE_NOT_FINALIZED", FailedPrecondition, false;
    /// A node's version is too old. Metadata: `node`; `bound` of the feature level, or the `call`
    /// that the node does not know.
    VersionTooOld = "VERSION_TOO_OLD", FailedPrecondition, false;
    /// An internal error of the node. Its log has the details.
    Internal = "INTERNAL", Internal, false;
}

impl Reason {
    /// The delay after which a retry makes sense, for reasons of overload. After the others a
    /// client retries as soon as it likes, and later each time.
    pub const fn retry_delay(self) -> Option<Duration> {
        match self {
            Self::TooManyReads => Some(TOO_MANY_READS_RETRY_DELAY),
            Self::DiskSlow => Some(DISK_SLOW_RETRY_DELAY),
            Self::DiskFull => Some(DISK_FULL_RETRY_DELAY),
            _ => None,
        }
    }

    /// The `domain` of the ErrorInfo that contains the reason.
    pub const DOMAIN: &str = "lograft.io";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
