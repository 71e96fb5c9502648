//! What decides in Lograft, as pure functions and state machines: no clock, no IO, no async
//! runtime and no global randomness in here. Time and random numbers come in as arguments.

pub mod entry;
pub mod ids;
pub mod limits;
pub mod offset;
pub mod reason;

pub use entry::{Entry, EntryKind, LogId, Membership, ProducerStamp, Proposal, Vote};
pub use ids::{ClusterId, GroupId, NodeId, PartitionId, ProducerEpoch, ProducerId, Sequence};
pub use offset::{LogIndex, Offset, Term};
pub use reason::{Reason, StatusCode};
