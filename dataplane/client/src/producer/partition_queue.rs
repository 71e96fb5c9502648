//! The batches of one partition as a state machine: records, replies and the time go in, batches to
//! send and settled batches come out. It does no IO, so its tests need no network.
//!
//! A batch passes through four states, in order:
//!
//! ```text
//! open (accepts records) -> waiting (closed) -> in flight (sent) -> settled
//!                              ^                   |
//!                              +---- send again ---+
//! ```
//!
//! # Exactly once and in order
//!
//! An idempotent producer numbers the records of each partition with sequences. A batch gets its
//! stamp (epoch and first sequence) when it is first sent, and keeps it for every retry. Leaders
//! accept sequences without gaps only and recognize a batch that they have already, so a retry
//! neither duplicates nor reorders records.
//!
//! - After a retryable failure the queue drains: nothing more is sent until every batch in flight
//!   is answered. The failed batches then return to the head of the waiting ones, under the same
//!   stamps. If a later batch overtook a failed one on a new stream, it would meet a sequence gap.
//! - A batch that is given up leaves a gap. The batches behind it continue under the next epoch,
//!   from sequence 0, but only once it is certain that they are not in the log under the old one.
//! - A new epoch fences the old one at the leader. It is used only after every batch in flight of
//!   the old epoch is answered, because those would be rejected as fenced.

pub(crate) mod batch;
pub(crate) mod config;
mod expiry;
pub(crate) mod outgoing;
mod replies;
mod route;
mod routing;
mod take;

use std::collections::VecDeque;
use std::sync::Arc;

use lograft_core::limits::{PRODUCER_BATCHES_MAX_COUNT, PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT};
use lograft_core::record_batch::BatchError;
use lograft_core::{ProducerEpoch, Sequence};
use tokio::time::Instant;

use self::batch::{InFlightBatch, OpenBatch, WaitingBatch};
use self::config::{QueueConfig, TopicLimits};
use self::route::Route;
use super::outcome::Outcome;
use super::record::RecordParts;
use crate::error::ClientError;

// Leaders remember the last batches of a producer to recognize retries. With more batches in flight
// than they remember, a retry of the oldest would be rejected although it is in the log.
const _: () = assert!(PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT < PRODUCER_BATCHES_MAX_COUNT);

/// The batches of one partition, oldest first: in flight, waiting, open. `S` is a handle of the
/// stream to the partition's leader.
#[derive(Debug)]
pub(crate) struct PartitionQueue<S> {
    config: QueueConfig,
    open: Option<OpenBatch>,
    waiting: VecDeque<WaitingBatch>,
    in_flight: VecDeque<InFlightBatch>,
    route: Route<S>,
    /// Whether a linger timer is set.
    linger_timer: bool,
    epoch: ProducerEpoch,
    next_sequence: Sequence,
    /// Failures since the last stored batch.
    failures: u32,
    last_error: Option<ClientError>,
    /// Size of the last batch, bytes. The next one is allocated with it, so that it need not grow.
    expected_bytes: usize,
}

/// The result of appending a record to the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    /// Index of the record in the youngest batch.
    pub(crate) index: u32,
    /// Growth of the producer's buffer, bytes.
    pub(crate) bytes: usize,
    /// The record opened a batch.
    pub(crate) opened: bool,
    /// A batch was closed: that of the record, or the one before.
    pub(crate) closed: bool,
}

impl<S> PartitionQueue<S> {
    pub(crate) const fn new(config: QueueConfig) -> Self {
        Self {
            config,
            open: None,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            route: Route::Idle,
            linger_timer: false,
            epoch: ProducerEpoch(0),
            next_sequence: Sequence(0),
            failures: 0,
            last_error: None,
            expected_bytes: 0,
        }
    }

    /// Appends a record to the open batch.
    pub(crate) fn push(
        &mut self,
        record: &RecordParts<'_>,
        now: impl FnOnce() -> Instant,
    ) -> Result<Pushed, BatchError> {
        // A record above the known limit of the topic is a batch of its own: the leader decides, as
        // the topic may have a greater limit by now. Its refusal must not fail other records.
        let is_alone = record.payload_len() > self.config.record_max_bytes();
        // The record opens the next batch if it does not fit into the open one.
        let overflows = self
            .open
            .as_ref()
            .is_some_and(|open| is_alone || !open.has_room(record, self.config.hard_max_bytes()));
        if overflows {
            self.close()?;
        }
        let opened = self.open.is_none();
        let (config, expected_bytes) = (&self.config, self.expected_bytes);
        let open = self
            .open
            .get_or_insert_with(|| OpenBatch::new(config, expected_bytes, now()));
        let before = if opened {
            0
        } else {
            open.builder.encoded_len()
        };
        let headers = record
            .headers
            .iter()
            .map(|h| (h.key.as_str(), h.value.as_ref()));
        // The caller has set the time: this state machine has no clock.
        let timestamp_ms = record.timestamp_ms.unwrap_or_default();
        let pushed = open
            .builder
            .push_parts(timestamp_ms, record.key, record.value, headers);
        if let Err(error) = pushed {
            if open.builder.is_empty() {
                self.open = None;
            }
            return Err(error);
        }
        let max_bytes = config.batch_max_bytes.min(config.hard_max_bytes());
        let full = is_alone || open.builder.is_full(max_bytes);
        let pushed = Pushed {
            index: open.builder.record_count() - 1,
            bytes: open.builder.encoded_len() - before,
            opened,
            closed: full || overflows,
        };
        if full {
            self.close()?;
        }
        Ok(pushed)
    }

    /// Sets the limits of the topic. Batches that are closed already keep their size.
    pub(crate) const fn set_topic_limits(&mut self, limits: TopicLimits) {
        self.config.topic_limits = limits;
    }

    /// The outcome of the batch that received the last record.
    pub(crate) fn youngest(&self) -> Option<&Arc<Outcome>> {
        let open = self.open.as_ref().map(|open| &open.outcome);
        open.or_else(|| self.waiting.back().map(|waiting| &waiting.batch.outcome))
    }

    /// Closes the open batch, if there is one.
    fn close(&mut self) -> Result<(), BatchError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        self.expected_bytes = open.builder.encoded_len();
        self.waiting.push_back(open.close()?);
        Ok(())
    }

    /// The time at which the open batch has to be sent, if it lingers.
    fn linger_until(&self) -> Option<Instant> {
        if self.config.linger.is_zero() {
            return None;
        }
        let open = self.open.as_ref()?;
        Some(open.opened_at + self.config.linger)
    }

    /// Sets the linger timer of the open batch. Returns its time, or none if no timer is needed or
    /// one is set.
    pub(crate) fn claim_linger_timer(&mut self) -> Option<Instant> {
        if self.linger_timer {
            return None;
        }
        let until = self.linger_until()?;
        self.linger_timer = true;
        Some(until)
    }

    /// The linger timer has fired. Returns the time of the next one, if the batch that is open now
    /// was opened later and has to linger on.
    pub(crate) fn on_linger_timer(&mut self, now: Instant) -> Option<Instant> {
        let next = self.linger_until().filter(|until| *until > now);
        self.linger_timer = next.is_some();
        next
    }

    /// Requests that the open batch is sent without waiting for more records. Returns the outcomes
    /// of all batches.
    pub(crate) fn flush(&mut self) -> Vec<Arc<Outcome>> {
        if let Some(open) = &mut self.open {
            open.flush_requested = true;
        }
        let sent = self.in_flight.iter().map(|sent| &sent.batch.outcome);
        let closed = self.waiting.iter().map(|waiting| &waiting.batch.outcome);
        let open = self.open.as_ref().map(|open| &open.outcome);
        sent.chain(closed).chain(open).map(Arc::clone).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_none() && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) const fn last_error(&self) -> Option<&ClientError> {
        self.last_error.as_ref()
    }
}

#[cfg(test)]
mod tests;
