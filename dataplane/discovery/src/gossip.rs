//! Gossip: encrypted datagrams by which the nodes tell each other where they are and how they are.
//!
//! The protocol is our own and pure; `udp` connects it with a socket. The library chitchat does
//! not fit its bounds, see `dataplane/docs/adr`.

mod detector;
mod drops;
mod exchange;
mod guard;
mod message;
mod node;
mod seal;
mod table;
mod udp;
mod view;

#[cfg(test)]
mod simulation_tests;

pub use drops::{DropReason, GossipCounters};
pub use exchange::Now;
pub use node::{Datagram, GossipNode, GossipSeed};
pub use seal::{GOSSIP_KEY_BYTES, GossipKeyError, GossipKeys, key_file_text};
pub use udp::{Gossip, GossipInputs, GossipLoop, GossipReport, OwnState};
