//! openraft's type configuration for this crate, and short names of the types that follow from it.

use std::fmt;

use lograft_core::{NodeId, Offset, Proposal};
use openraft::impls::leader_id_std;
use tokio::sync::oneshot;

use crate::fence::Fence;
use crate::state_machine::Response;

/// The application data of a raft entry: a proposal, and its base offset once the log has assigned
/// it.
#[derive(Clone)]
pub(crate) struct AppData {
    pub(crate) proposal: Proposal,
    /// Zero, and without meaning, until the entry has been appended.
    pub(crate) base_offset: Offset,
    /// The position that a leader's own proposal was built for. It is neither stored nor sent to
    /// peers.
    pub(crate) fence: Option<Fence>,
}

impl fmt::Debug for AppData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AppData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} at {} of {} records, {} bytes",
            self.proposal.kind,
            self.base_offset,
            self.proposal.record_count,
            self.proposal.payload.len()
        )
    }
}

/// openraft's type configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = AppData;
    type R = Response;
    type NodeId = NodeId;
    type Node = ();
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, NodeId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<AppData, NodeId, ()>;
    type Entry = openraft::impls::Entry<CommittedLeaderId, Self::Payload>;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = OneshotResponder<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type CommittedLeaderId =
    <leader_id_std::LeaderId<u64, NodeId> as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type RaftEntry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type RaftLogId = openraft::type_config::alias::LogIdOf<Types>;
pub(crate) type RaftVote = openraft::type_config::alias::VoteOf<Types>;
pub(crate) type RaftMembership = openraft::Membership<NodeId, ()>;
pub(crate) type RaftStoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;

/// Sends the result of a proposal to its proposer. A proposer that stopped waiting is not an error.
pub(crate) struct OneshotResponder<T> {
    pub(crate) tx: oneshot::Sender<T>,
}

impl<T: Send + 'static> openraft::raft::responder::Responder<Types, T> for OneshotResponder<T> {
    fn on_complete(self, result: T) {
        self.tx.send(result).ok();
    }
}
