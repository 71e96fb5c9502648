//! A partition as its raft group sees it: what committed entries make of it
//! ([`PartitionState`], the same on every replica), and what its leader lets in
//! ([`LeaderState`], for one term).

mod leader;
mod state;

#[cfg(test)]
mod tests;

pub use leader::{Admission, LeaderState, Rejection};
pub use state::{Applied, PartitionState, PartitionStateError};
