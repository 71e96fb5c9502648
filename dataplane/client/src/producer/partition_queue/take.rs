//! Choosing the next batch to send, and assigning its sequence.

use lograft_core::limits::{
    PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT, PRODUCER_PARTITION_PARTIAL_BATCHES_MAX_COUNT,
};
use tokio::time::Instant;

use super::PartitionQueue;
use super::batch::{Fate, InFlightBatch, Reply, Sent, Stamp, WaitingBatch};
use super::outgoing::{OutgoingBatch, Take};

impl<S> PartitionQueue<S> {
    /// Whether [`PartitionQueue::take`] would return a batch.
    pub(crate) fn has_sendable(&self, now: Instant) -> bool {
        self.route.is_flowing()
            && self.in_flight.len() < self.in_flight_max()
            && match self.waiting.front() {
                Some(waiting) => self.may_follow(waiting.stamp()),
                None => self.partial_is_due(now) && self.may_follow(None),
            }
    }

    /// Without sequences only sending one batch at a time keeps the order: with more, a failed
    /// batch would be stored behind its successors.
    const fn in_flight_max(&self) -> usize {
        if self.config.idempotent {
            PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT
        } else {
            1
        }
    }

    /// Whether a batch with this stamp (none for a new batch) may be sent behind those in flight.
    ///
    /// - A batch of another epoch must wait: a new epoch fences the batches of the old one.
    /// - A new batch must wait while an earlier one is in doubt. Leaders remember a limited number
    ///   of batches per producer; new batches could push the one in doubt out of that memory, and
    ///   then its retry would be rejected although it is in the log.
    fn may_follow(&self, stamp: Option<Stamp>) -> bool {
        self.in_flight.iter().all(|earlier| match stamp {
            Some(stamp) => earlier.sent.stamp.is_none_or(|e| e.epoch == stamp.epoch),
            None => {
                !earlier.sent.fate.is_in_doubt()
                    && earlier.sent.stamp.is_none_or(|e| e.epoch == self.epoch)
            }
        })
    }

    /// Whether the open batch can be sent before it is full.
    ///
    /// Partial batches cost as much per request as full ones, so only a few may be in flight per
    /// partition. With one more on its way than is being answered, a record waits for half a round
    /// trip on average.
    fn partial_is_due(&self, now: Instant) -> bool {
        self.in_flight.len() < PRODUCER_PARTITION_PARTIAL_BATCHES_MAX_COUNT
            && self.open.as_ref().is_some_and(|open| {
                open.flush_requested
                    || now.saturating_duration_since(open.opened_at) >= self.config.linger
            })
    }

    /// Removes the next batch to send as `request_id`, and keeps it in flight. `may_send_partial`
    /// if the stream accepts a batch that is not full.
    pub(crate) fn take(&mut self, request_id: u64, may_send_partial: bool, now: Instant) -> Take {
        let partial = self.waiting.is_empty();
        if partial && !may_send_partial && self.has_sendable(now) {
            return Take::Throttled;
        }
        let Some(waiting) = self.next_waiting(now) else {
            self.route.set_queued(false);
            return Take::Nothing;
        };
        let mut batch = waiting.batch;
        let sent = match waiting.sent {
            Some(sent) => sent,
            None => Sent {
                stamp: self.assign_stamp(batch.encoded.record_count),
                fate: Fate::FIRST_SEND,
            },
        };
        batch.attempts += 1;
        let outgoing = OutgoingBatch {
            encoded: batch.encoded.clone(),
            stamp: sent.stamp,
            partial,
            resent: batch.attempts > 1,
        };
        self.in_flight.push_back(InFlightBatch {
            batch,
            sent,
            reply: Reply::Awaited { request_id },
        });
        let more = self.has_sendable(now);
        self.route.set_queued(more);
        Take::Send {
            batch: outgoing,
            more,
        }
    }

    /// Removes the next batch that can be sent; closes the open one if no other is waiting.
    fn next_waiting(&mut self, now: Instant) -> Option<WaitingBatch> {
        if !self.has_sendable(now) {
            return None;
        }
        if self.waiting.is_empty() {
            // Closing fails only for an empty batch, and an open one has at least one record.
            self.close().ok()?;
        }
        self.waiting.pop_front()
    }

    /// The next sequence of the current epoch, if the producer is idempotent.
    ///
    /// Sequences are assigned when a batch is first sent and not when it is closed: a batch that
    /// fails before it is sent then leaves no gap.
    const fn assign_stamp(&mut self, record_count: u32) -> Option<Stamp> {
        if !self.config.idempotent {
            return None;
        }
        let base_sequence = self.next_sequence;
        self.next_sequence = base_sequence.plus(record_count);
        Some(Stamp {
            epoch: self.epoch,
            base_sequence,
        })
    }
}
