//! The state machines that this node's raft groups drive: the core's pure ones, made visible to
//! the rest of the node.

mod meta;
mod meta_view;
mod partition;
mod shared_state;

pub use meta::MetaMachine;
pub use meta_view::MetaView;
pub use partition::PartitionMachine;
pub use shared_state::{SharedState, Watermarks};
