//! How a group's operations fail.

use lograft_core::{GroupId, LogIndex, NodeId};

/// Any error, as a cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation of a group failed.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// The timing is not usable.
    #[error("timing of group {group}")]
    Timing {
        /// The group.
        group: GroupId,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The replica's raft core did not start.
    #[error("starting the replica of group {group}")]
    Start {
        /// The group.
        group: GroupId,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The group has been initialized already.
    #[error("group {group} has been initialized already")]
    AlreadyInitialized {
        /// The group.
        group: GroupId,
    },
    /// The initial voters do not include this node.
    #[error("the initial voters do not include this node")]
    NotAmongVoters,
    /// Another node leads, or nobody.
    #[error("this replica does not lead its group")]
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// This replica leads and has not heard of a quorum lately.
    #[error("no quorum answers")]
    NoQuorum,
    /// Another change of the membership is under way.
    #[error("a change of the membership is under way")]
    ChangeInProgress,
    /// The change is not possible: no voters would stay, or one is no learner yet.
    #[error("changing the membership")]
    ChangeRefused {
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The node is not a voter of the group: it cannot lead.
    #[error("node {node} is no voter")]
    NotVoter {
        /// The node.
        node: NodeId,
    },
    /// The node lacks too much of the log to lead now.
    #[error("node {node} has not caught up")]
    NotCaughtUp {
        /// The node.
        node: NodeId,
    },
    /// It did not come true in time. It may still.
    #[error("waiting for {what}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
    },
    /// A peer's entry is damaged: its payload's CRC-32C does not fit.
    #[error("the payload of entry {index} from a peer is damaged")]
    EntryCorrupt {
        /// The entry.
        index: LogIndex,
    },
    /// A peer's request does not decode.
    #[error("entry {index} from a peer does not decode")]
    EntryMalformed {
        /// The entry.
        index: LogIndex,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The replica is stopped, by a shutdown or by a fault ([`crate::GroupStatus::fatal`]).
    #[error("the replica is stopped")]
    Stopped,
}

impl RaftError {
    /// Whether the same call may succeed later without anyone changing anything.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NotLeader { .. }
                | Self::NoQuorum
                | Self::ChangeInProgress
                | Self::NotCaughtUp { .. }
                | Self::Timeout { .. }
        )
    }
}

/// Why a proposal was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead the term that the proposal was meant for. The proposal is in no
    /// log.
    #[error("this replica does not lead the expected term")]
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// Leadership was lost with the proposal in the log: it may or may not be committed.
    #[error("leadership was lost, the proposal may or may not be committed")]
    Discarded {
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// The replica stopped: the proposal may or may not be committed.
    #[error("the replica stopped, the proposal may or may not be committed")]
    Stopped,
}

impl ProposeError {
    /// Whether the proposal may be in the log nevertheless: proposing it again may write it twice.
    pub const fn is_outcome_unknown(&self) -> bool {
        !matches!(self, Self::NotLeader { .. })
    }

    /// Who leads, as far as is known.
    pub const fn leader(&self) -> Option<NodeId> {
        match self {
            Self::NotLeader { leader } | Self::Discarded { leader } => *leader,
            Self::Stopped => None,
        }
    }
}
