//! Writing to the partitions that this node leads: from a request to its place in the log.
//!
//! A batch is checked (`batch`), let in by the partition's [`Door`], which decides about
//! duplicates and puts it before raft in order, and acknowledged once it is applied. Plain records
//! of unary calls that come while others are on their way share an entry (`packing`).

pub(crate) mod batch;
mod door;
pub(crate) mod packing;
pub mod session;

#[cfg(test)]
mod tests;

pub use door::Door;
pub(crate) use door::{Acked, let_in, too_late, unknown};
