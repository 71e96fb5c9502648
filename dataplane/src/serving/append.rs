//! Appends to partitions: from a request to an acknowledged batch.
//!
//! A batch is checked (`check`), admitted by the partition's [`PartitionAppender`], which detects
//! duplicates and proposes batches to raft in order (`admission`), and acknowledged once it is
//! committed and applied. Plain records of concurrent unary calls share an entry (`coalesce`).

mod admission;
mod check;
mod coalesce;
mod held_proposal;
mod leader_streams;
mod pipeline;
mod unary;

use std::time::Duration;

use crate::error::ApiError;

pub(crate) use admission::PartitionAppender;
pub(crate) use check::BatchRules;
pub(crate) use coalesce::Coalescer;
pub(crate) use pipeline::{AppendPipeline, PendingReply};
pub(crate) use unary::append;

use lograft_core::limits::{PRODUCE_TIMEOUT_DEFAULT, PRODUCE_TIMEOUT_MAX};
use lograft_core::{Reason, Term};

use super::request::{Appended, Content};

/// The time limit of an append whose client asks for `timeout_ms`; 0 asks for the default.
pub(crate) fn append_timeout(timeout_ms: u32) -> Duration {
    match timeout_ms {
        0 => PRODUCE_TIMEOUT_DEFAULT,
        ms => Duration::from_millis(u64::from(ms)).min(PRODUCE_TIMEOUT_MAX),
    }
}

/// The bytes of a batch, or about how many plain records take as one.
pub(crate) fn content_bytes(content: &Content) -> usize {
    check::content_bytes(content)
}

/// About how many bytes of memory an append holds until it is acknowledged.
pub(crate) fn memory_bytes(content: &Content) -> usize {
    check::memory_bytes(content)
}

/// The outcome of a batch at another node. One before 0.3.0 answers with an error if the batch is
/// in the log already, and it has forgotten where.
fn or_stored_before(
    outcome: Result<Appended, ApiError>,
    record_count: usize,
) -> Result<Appended, ApiError> {
    match outcome {
        Err(error) if error.reason() == Some(Reason::DuplicateSequence) => Ok(Appended {
            base_offset: None,
            record_count: u32::try_from(record_count).unwrap_or(u32::MAX),
            term: Term(0),
            append_time_ms: 0,
            is_duplicate: true,
        }),
        outcome => outcome,
    }
}

/// The error of an append that was not acknowledged in time.
pub(crate) fn too_late(after: Duration) -> ApiError {
    ApiError::outcome_unknown(format_args!(
        "not acknowledged within {} ms",
        after.as_millis()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_that_an_older_node_has_forgotten_is_stored() {
        let error = |reason| Err(ApiError::new(reason, "injected"));
        let stored = or_stored_before(error(Reason::DuplicateSequence), 5).unwrap();
        assert!(stored.is_duplicate && stored.base_offset.is_none());
        assert_eq!(stored.record_count, 5);
        let other = or_stored_before(error(Reason::OutOfOrderSequence), 5).unwrap_err();
        assert_eq!(other.reason(), Some(Reason::OutOfOrderSequence));
    }

    #[test]
    fn a_timeout_is_bounded_and_has_a_default() {
        assert_eq!(append_timeout(0).as_secs(), 10);
        assert_eq!(append_timeout(7).as_millis(), 7);
        assert_eq!(append_timeout(u32::MAX).as_secs(), 120);
    }
}
