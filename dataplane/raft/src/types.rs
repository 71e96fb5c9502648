//! openraft's types, as this crate fills them in.

use std::fmt;

use lograft_core::{NodeId, Offset, Proposal};
use openraft::impls::leader_id_std;
use tokio::sync::oneshot;

use crate::fence::Fence;
use crate::state_machine::Response;
use crate::state_machine_adapter::StateMachineAdapter;

/// What stands in a raft entry: a proposal, and its base offset once the log has assigned it.
#[derive(Clone)]
pub(crate) struct AppData {
    pub(crate) proposal: Proposal,
    /// Meaningless before the entry has been appended; zero then.
    pub(crate) base_offset: Offset,
    /// On a leader, on the way into its log: where it must come to stand.
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
pub(crate) type Raft = openraft::Raft<Types, StateMachineAdapter>;
pub(crate) type RaftEntry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type RaftLogId = openraft::type_config::alias::LogIdOf<Types>;
pub(crate) type RaftVote = openraft::type_config::alias::VoteOf<Types>;
pub(crate) type RaftMembership = openraft::Membership<NodeId, ()>;
pub(crate) type RaftStoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;

/// Answers a proposer through a oneshot; a proposer that went away is no news.
pub(crate) struct OneshotResponder<T> {
    pub(crate) tx: oneshot::Sender<T>,
}

impl<T: Send + 'static> openraft::raft::responder::Responder<Types, T> for OneshotResponder<T> {
    fn on_complete(self, result: T) {
        self.tx.send(result).ok();
    }
}
