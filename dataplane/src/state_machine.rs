//! The state machines of this node's raft groups: the pure ones of `lograft-core`, whose applied
//! state the rest of the node shares.

mod coordinator;
mod meta;
mod meta_view;
mod partition;
mod shared_state;

pub(crate) use coordinator::{CoordinatorMachine, SharedGroups};
pub(crate) use meta::MetaMachine;
pub(crate) use meta_view::MetaView;
pub(crate) use partition::PartitionMachine;
pub(crate) use shared_state::{SharedState, Watermarks};
