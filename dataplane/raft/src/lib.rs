//! Raft groups on Lograft's storage.
//!
//! A [`RaftGroup`] is one replica of one group: it orders proposals, replicates them through a
//! [`PeerTransport`], and applies committed entries to a [`StateMachine`]. The log itself is a
//! [`lograft_storage::GroupLog`]: the segment files are both the raft log and the data.
//!
//! Architecture Invariant: this is the only crate that names openraft, and its public API contains
//! no type of openraft.

mod config;
#[cfg(test)]
mod conformance;
mod convert;
mod error;
mod fence;
mod flush;
mod group;
mod log_store;
mod membership;
mod network;
mod read;
mod snapshot;
mod state_machine;
mod state_machine_adapter;
mod status;
mod survivor;
mod transport;
mod types;
mod vote_fence;
pub mod wire;

#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
#[path = "../../core/tests/support/fixtures.rs"]
mod fixtures;

pub use config::{ElectionTurn, GroupConfig, GroupStart, RaftTiming};
pub use error::{BoxError, ProposeError, RaftError};
pub use fence::Fence;
pub use group::{Committed, ProposeHandle, RaftGroup};
pub use membership::{MembershipCodecError, decode_membership, encode_membership};
pub use read::read_log;
pub use state_machine::{Response, StateMachine};
pub use status::{FollowerStatus, GroupFatal, GroupStatus, PurgeStatus, Role};
pub use survivor::make_only_voter;
pub use transport::{AppendReplies, PeerTransport, TransportError};
pub use vote_fence::FenceStage;
