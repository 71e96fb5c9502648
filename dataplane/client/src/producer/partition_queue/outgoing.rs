//! The batches that a partition queue hands out.

use lograft_core::record_batch::EncodedBatch;

use super::batch::Stamp;

/// A batch to send.
#[derive(Debug)]
pub(crate) struct OutgoingBatch {
    pub(crate) encoded: EncodedBatch,
    pub(crate) stamp: Option<Stamp>,
    /// The batch was closed before it was full.
    pub(crate) partial: bool,
    /// The batch was sent before.
    pub(crate) resent: bool,
}

/// The answer of a queue that is asked for its next batch.
#[derive(Debug)]
pub(crate) enum Take {
    /// A batch, and whether another one can be sent at once.
    Send { batch: OutgoingBatch, more: bool },
    /// The next batch is partial, and the stream has too many of those in flight. Ask again.
    Throttled,
    /// Nothing to send.
    Nothing,
}
