//! The state of a partition: [`PartitionState`] is made of its committed entries and the same on
//! every replica; [`LeaderState`] admits batches into the log and belongs to the leader of one
//! term.

mod leader;
mod state;

#[cfg(test)]
mod tests;

pub use leader::{Admission, LeaderState, Rejection};
pub use state::{Applied, PartitionState, PartitionStateError};
