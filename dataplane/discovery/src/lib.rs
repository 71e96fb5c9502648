//! How the nodes of a cluster find each other, and what they know of each other's health.
//!
//! Nothing in this crate decides who votes: raft's membership does. An address found here is
//! where to dial; who answers there is checked by the certificate.

pub mod endpoints;
pub mod facts;
pub mod gossip;
pub mod gossip_member;
pub mod membership;
pub mod merge;
pub mod net;
pub mod seeds;
pub mod source;

#[cfg(test)]
mod conformance_tests;

pub use facts::{NodeFacts, NodeName};
pub use gossip_member::{GossipMember, PHI_UNREACHABLE_MILLI};
pub use membership::{MemberView, Membership, MembershipView, SeenBy};
pub use merge::{DiscoveryReader, MembershipLoop, MembershipReader};
pub use source::{Sighting, Sightings, Source, SourceKind};

#[cfg(test)]
#[path = "../../core/tests/support/fuzz.rs"]
mod fuzz;
