//! The batches of a partition queue, and what is known about whether they are in the log.

use std::sync::Arc;

use lograft_core::record_batch::{BatchBuilder, BatchError, EncodedBatch};
use lograft_core::{ProducerEpoch, Sequence};
use tokio::time::Instant;

use super::config::QueueConfig;
use crate::error::ClientError;
use crate::producer::outcome::{Ack, Outcome};
use crate::producer::record::RecordParts;

/// Epoch and first sequence of a batch, by which leaders recognize it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) epoch: ProducerEpoch,
    pub(crate) base_sequence: Sequence,
}

/// A batch that accepts records.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) builder: BatchBuilder,
    pub(super) outcome: Arc<Outcome>,
    pub(super) opened_at: Instant,
    /// Send the batch without waiting for more records.
    pub(super) flush_requested: bool,
}

/// A closed batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) encoded: EncodedBatch,
    pub(super) outcome: Arc<Outcome>,
    pub(super) opened_at: Instant,
    /// Share of the producer's buffer, bytes.
    pub(super) buffered_bytes: usize,
    pub(super) attempts: u32,
    pub(super) last_error: Option<ClientError>,
}

/// A closed batch that waits to be sent.
#[derive(Debug)]
pub(super) struct WaitingBatch {
    pub(super) batch: Batch,
    /// Its earlier sends. None if it was never sent, or if its stamp was withdrawn: it is certainly
    /// not in the log and gets a new stamp when it is sent.
    pub(super) sent: Option<Sent>,
}

/// A batch that was sent. It stays in flight after a failed reply until the others are answered.
#[derive(Debug)]
pub(super) struct InFlightBatch {
    pub(super) batch: Batch,
    pub(super) sent: Sent,
    pub(super) reply: Reply,
}

/// The reply to the current send of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Awaited { request_id: u64 },
    Failed,
}

/// The stamp under which a batch was sent, and what its replies say about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// None if the producer is not idempotent.
    pub(super) stamp: Option<Stamp>,
    pub(super) fate: Fate,
}

/// Whether the answered sends of a batch under its stamp may have appended it to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// No answered send has appended the batch.
    NotAppended(Predecessors),
    /// An answered send may have appended the batch.
    ///
    /// Such a batch must be sent again under the same stamp, and before all its successors: only
    /// the leader knows whether the batch is in the log, and it recognizes the batch by its stamp.
    /// Under a new stamp the records could be stored twice.
    InDoubt(Predecessors),
    /// A predecessor of the same epoch is certainly not in the log. Leaders accept sequences
    /// without gaps only, so no send under this stamp has appended the batch or ever will.
    NeverAppended,
}

/// Whether the batches before a batch in its epoch can still be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predecessors {
    /// All of them are in the log or still being delivered.
    Delivering,
    /// One was given up while it was unknown whether it is in the log. If it is not, the sequence
    /// of this batch follows a gap and is never accepted.
    GivenUp,
}

impl Fate {
    /// The fate at the first send under a stamp.
    pub(super) const FIRST_SEND: Self = Self::NotAppended(Predecessors::Delivering);

    /// A send failed; with `maybe_appended` the leader may have appended the batch nevertheless.
    pub(super) const fn after_failure(self, maybe_appended: bool) -> Self {
        match self {
            Self::NotAppended(predecessors) if maybe_appended => Self::InDoubt(predecessors),
            Self::NotAppended(_) | Self::InDoubt(_) | Self::NeverAppended => self,
        }
    }

    /// The leader answered that a predecessor is missing: its log ends before the sequence of this
    /// batch. So neither this send nor an earlier one has appended the batch.
    pub(super) const fn after_gap(self) -> Self {
        match self {
            Self::NotAppended(predecessors) | Self::InDoubt(predecessors) => {
                Self::NotAppended(predecessors)
            }
            Self::NeverAppended => self,
        }
    }

    /// A predecessor was given up; with `not_appended` it is certainly not in the log.
    pub(super) const fn after_predecessor_given_up(self, not_appended: bool) -> Self {
        match self {
            _ if not_appended => Self::NeverAppended,
            Self::NotAppended(_) => Self::NotAppended(Predecessors::GivenUp),
            Self::InDoubt(_) => Self::InDoubt(Predecessors::GivenUp),
            Self::NeverAppended => Self::NeverAppended,
        }
    }

    pub(super) const fn is_in_doubt(self) -> bool {
        matches!(self, Self::InDoubt(_))
    }

    /// Whether the sequence of the batch may follow a gap that is never filled.
    pub(super) const fn may_follow_gap(self) -> bool {
        matches!(
            self,
            Self::NotAppended(Predecessors::GivenUp)
                | Self::InDoubt(Predecessors::GivenUp)
                | Self::NeverAppended
        )
    }
}

/// A batch whose delivery has ended. It is announced outside of the queue's lock.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) result: Result<Ack, ClientError>,
    pub(crate) record_count: u32,
    pub(crate) encoded_bytes: usize,
    pub(crate) buffered_bytes: usize,
}

impl OpenBatch {
    pub(super) fn new(config: &QueueConfig, expected_bytes: usize, now: Instant) -> Self {
        Self {
            builder: BatchBuilder::with_capacity(config.compression, expected_bytes),
            outcome: Outcome::new(Arc::clone(&config.topic), config.partition),
            opened_at: now,
            flush_requested: false,
        }
    }

    /// Whether the record certainly fits into a batch of at most `max_bytes`.
    pub(super) fn has_room(&self, record: &RecordParts<'_>, max_bytes: usize) -> bool {
        /// Upper bound of the varints of a record, and of each header.
        const OVERHEAD_BYTES: usize = 40;
        let headers: usize = record
            .headers
            .iter()
            .map(|h| h.key.len() + h.value.len() + OVERHEAD_BYTES)
            .sum();
        let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        self.builder.encoded_len() + size + headers + OVERHEAD_BYTES <= max_bytes
    }

    /// Compresses and checksums the records.
    pub(super) fn close(self) -> Result<WaitingBatch, BatchError> {
        let buffered_bytes = self.builder.encoded_len();
        Ok(WaitingBatch {
            batch: Batch {
                encoded: self.builder.finish()?,
                outcome: self.outcome,
                opened_at: self.opened_at,
                buffered_bytes,
                attempts: 0,
                last_error: None,
            },
            sent: None,
        })
    }
}

impl Batch {
    pub(super) fn settle(self, result: Result<Ack, ClientError>) -> Settled {
        Settled {
            outcome: self.outcome,
            result,
            record_count: self.encoded.record_count,
            encoded_bytes: self.encoded.bytes.len(),
            buffered_bytes: self.buffered_bytes,
        }
    }

    /// Settles the batch with `error`, and says so if it may be in the log nevertheless.
    pub(super) fn fail(self, config: &QueueConfig, error: ClientError, in_doubt: bool) -> Settled {
        let error = if in_doubt {
            ClientError::InDoubt {
                topic: Arc::clone(&config.topic),
                partition: config.partition,
                last: Box::new(error),
            }
        } else {
            error
        };
        self.settle(Err(error))
    }
}

impl WaitingBatch {
    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.sent.and_then(|sent| sent.stamp)
    }

    /// Whether the batch may be in the log.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.sent.is_some_and(|sent| sent.fate.is_in_doubt())
    }
}

impl InFlightBatch {
    pub(super) fn awaits(&self, id: u64) -> bool {
        self.reply == Reply::Awaited { request_id: id }
    }

    /// Whether the batch may be in the log. A send without a reply leaves it in doubt, unless its
    /// sequence cannot be accepted.
    pub(super) fn is_in_doubt(&self) -> bool {
        match self.reply {
            Reply::Awaited { .. } => self.sent.fate != Fate::NeverAppended,
            Reply::Failed => self.sent.fate.is_in_doubt(),
        }
    }

    pub(super) fn into_waiting(self) -> WaitingBatch {
        WaitingBatch {
            batch: self.batch,
            sent: Some(self.sent),
        }
    }
}
