//! The state machines that this node's raft groups drive: the core's pure ones, made visible to
//! the rest of the node.

mod meta;
mod partition;

pub use meta::MetaMachine;
pub use partition::PartitionMachine;
