//! Writing to the partitions that this node leads: from a request to its place in the log.
//!
//! A batch is checked (`check`), let in by the partition's [`Door`], which decides about
//! duplicates and puts it before raft in order, and acknowledged once it is applied. Plain records
//! of unary calls that come while others are on their way share an entry (`coalesce`).

mod admission;
pub(crate) mod check;
pub(crate) mod coalesce;

pub use admission::Door;
pub(crate) use admission::{Acked, let_in, too_late, unknown};
