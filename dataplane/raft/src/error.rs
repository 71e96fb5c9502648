//! Errors of a group's operations.

use lograft_core::{GroupId, LogIndex, NodeId};
use lograft_storage::StorageError;

/// The cause of an error, of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The failure of an operation on a group.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// The timing is invalid.
    #[error("cannot use the raft timing of group {group}")]
    Timing {
        /// The group.
        group: GroupId,
        /// The violated bound.
        #[source]
        source: BoxError,
    },
    /// The replica's log, a checkpoint or openraft's core task failed to start.
    #[error("cannot start the replica of group {group}")]
    Start {
        /// The group.
        group: GroupId,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// A checkpoint cannot be read now. The caller may retry.
    #[error("cannot read the log of group {group}")]
    Read {
        /// The group.
        group: GroupId,
        /// The cause.
        #[source]
        source: StorageError,
    },
    /// The replica has a log or a vote, so its group was initialized before.
    #[error("group {group} is already initialized")]
    AlreadyInitialized {
        /// The group.
        group: GroupId,
    },
    /// The initial voters do not include this node.
    #[error("initial voters must include this node")]
    NotAmongVoters,
    /// This replica is not the leader of its group.
    #[error("this replica is not the leader of its group")]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// This replica is the leader and got no replies from a quorum.
    #[error("cannot reach a quorum of the group")]
    NoQuorum,
    /// Another membership change is in progress.
    #[error("another membership change is in progress")]
    ChangeInProgress,
    /// The change is not allowed: no voter would remain, or a new voter is not a learner yet.
    #[error("cannot change the membership")]
    ChangeRefused {
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The node is not a voter of the group, so it cannot become its leader.
    #[error("node {node} is not a voter of the group")]
    NotVoter {
        /// The node.
        node: NodeId,
    },
    /// The node's log is too far behind for a leadership transfer.
    #[error("node {node} has not caught up with the leader")]
    NotCaughtUp {
        /// The node.
        node: NodeId,
    },
    /// The awaited event did not happen in time. It may still happen.
    #[error("timed out waiting for {what}")]
    Timeout {
        /// The awaited event.
        what: &'static str,
    },
    /// The disk of this replica has no room for records. The leader retries later.
    #[error("the disk has no room for more records")]
    NoRoom,
    /// The CRC-32C of the payload of a peer's entry is wrong.
    #[error("payload checksum of entry {index} from a peer does not match")]
    EntryCorrupt {
        /// The entry's index.
        index: LogIndex,
    },
    /// The membership in a peer's entry or snapshot does not decode.
    #[error("cannot decode entry {index} from a peer")]
    EntryMalformed {
        /// The entry's index.
        index: LogIndex,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The disk of this replica is older than its promises: it neither votes nor leads, and takes
    /// entries only from a leader that is confirmed without it.
    #[error("the disk of this replica is older than its votes, so it is fenced")]
    Fenced,
    /// The node is not a member of the group by its committed membership.
    #[error("node {node} is not a member of the group")]
    NotMember {
        /// The node.
        node: NodeId,
    },
    /// The log cannot be changed so that its replica is the only voter.
    #[error("cannot make the replica of group {group} the only voter")]
    Survivor {
        /// The group.
        group: GroupId,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The replica was shut down or has failed (see [`crate::GroupStatus::fatal`]).
    #[error("the replica is stopped")]
    Stopped,
}

impl RaftError {
    /// Whether the host lacked resources to read the log: the same call may succeed later.
    pub fn is_out_of_resources(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_retryable(),
            Self::Start { source, .. } => source
                .downcast_ref::<StorageError>()
                .is_some_and(StorageError::is_retryable),
            _ => false,
        }
    }
}

/// The failure of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica is not the leader of the expected term. The proposal is in no log, and a retry
    /// on the leader is safe.
    #[error("this replica is not the leader of the expected term")]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// This replica lost its leadership while the proposal was in its log. The proposal may or may
    /// not be committed.
    #[error("leadership was lost; the proposal may or may not be committed")]
    Discarded {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// The replica stopped. The proposal may or may not be committed.
    #[error("the replica stopped; the proposal may or may not be committed")]
    Stopped,
}

impl ProposeError {
    /// Whether the proposal may be in the log. A retry may then append it twice.
    pub const fn is_outcome_unknown(&self) -> bool {
        !matches!(self, Self::NotLeader { .. })
    }

    /// The leader, if known.
    pub const fn leader(&self) -> Option<NodeId> {
        match self {
            Self::NotLeader { leader } | Self::Discarded { leader } => *leader,
            Self::Stopped => None,
        }
    }
}
