//! The batches of one partition, as a state machine: takes records, replies and the time, and says
//! what to send. It does no IO, so its tests need no network.
//!
//! Batches pass through three places, always in order:
//!
//! ```text
//! open (being filled) -> waiting (closed) -> in flight (sent, on one link) -> settled
//!                           ^                    |
//!                           +---- to be resent --+
//! ```
//!
//! After a failure that may pass nothing more is sent until every reply of the batches in flight
//! is there; then those that failed go back to the head of the waiting ones, with the same
//! sequences. So a leader sees a partition's batches in order or not at all.

use std::collections::VecDeque;
use std::sync::Arc;

use lograft_core::compression::Compression;
use lograft_core::limits::{
    PRODUCER_BATCHES_MAX_COUNT, PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT,
    PRODUCER_PARTITION_PARTIAL_BATCHES_MAX_COUNT,
};
use lograft_core::record_batch::{BatchBuilder, BatchError, EncodedBatch};
use lograft_core::{PartitionId, ProducerEpoch, Reason, Sequence};
use tokio::time::{Duration, Instant};

use super::RecordParts;
use super::outcome::{Ack, Outcome};
use crate::error::ClientError;

// A leader must remember all that may be sent again.
const _: () = assert!(PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT < PRODUCER_BATCHES_MAX_COUNT);

/// What a leader said about one batch.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It is in the log.
    Stored(Ack),
    /// Not this time; with `maybe` it may be in the log all the same.
    Retry { error: ClientError, maybe: bool },
    /// A batch before it is missing.
    Gap { error: ClientError, forgotten: bool },
    /// Never.
    Refused(ClientError),
}

impl Verdict {
    /// What an error of a leader means for a batch.
    pub(crate) fn of(error: ClientError) -> Self {
        match error.reason() {
            Some(Reason::OutOfOrderSequence) => {
                let forgotten = error.metadata("expected_sequence") == Some("0");
                Self::Gap { error, forgotten }
            }
            // The map of topics decides whether they are gone or only not there yet.
            Some(Reason::UnknownTopic | Reason::UnknownPartition) => Self::Retry {
                error,
                maybe: false,
            },
            reason if error.is_retryable() => {
                let surely_not = matches!(
                    reason,
                    Some(
                        Reason::NoLeader
                            | Reason::NotReady
                            | Reason::DiskFull
                            | Reason::BatchCorrupt
                    )
                );
                Self::Retry {
                    error,
                    maybe: !surely_not,
                }
            }
            _ => Self::Refused(error),
        }
    }
}

/// How a lane packs and how long it tries.
#[derive(Clone, Debug)]
pub(crate) struct LaneConfig {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: PartitionId,
    pub(crate) compression: Compression,
    pub(crate) batch_max_bytes: usize,
    pub(crate) linger: Duration,
    pub(crate) delivery_timeout: Duration,
    pub(crate) idempotent: bool,
}

/// Epoch and sequence that a batch was first sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) epoch: ProducerEpoch,
    pub(crate) base_sequence: Sequence,
}

#[derive(Debug)]
struct Open {
    builder: BatchBuilder,
    outcome: Arc<Outcome>,
    opened_at: Instant,
}

/// A closed batch.
#[derive(Debug)]
struct Batch {
    encoded: EncodedBatch,
    outcome: Arc<Outcome>,
    opened_at: Instant,
    /// What it counts in the producer's buffer, bytes.
    buffered: usize,
    stamp: Option<Stamp>,
    sends: u32,
    /// Whether an earlier try may have put it into the log.
    maybe_appended: bool,
    last_error: Option<ClientError>,
    request_id: u64,
    /// In flight only: whether the reply was a failure, and it waits for the others' replies.
    failed: bool,
    /// A batch before it will never be in the log, or may not be: then its sequence will never be
    /// accepted, and it needs another.
    restamp: bool,
    /// The batch before it is surely not in the log, so this one is not either.
    lost: bool,
}

/// A batch to send.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) encoded: EncodedBatch,
    pub(crate) stamp: Option<Stamp>,
    /// It went before it was full.
    pub(crate) partial: bool,
    /// It had been sent before.
    pub(crate) resent: bool,
}

/// What a lane gives when asked for a batch.
#[derive(Debug)]
pub(crate) enum Take {
    /// A batch, and whether there is another one to send at once.
    Send { send: Send, more: bool },
    /// It has one that is not full, and those are too many in flight already. Ask again.
    Parked,
    /// Nothing to send for now.
    Nothing,
}

/// A batch that has come to its end, to be announced outside the lane's lock.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) result: Result<Ack, ClientError>,
    pub(crate) records: u32,
    pub(crate) encoded_bytes: usize,
    pub(crate) buffered: usize,
}

/// Whether and why a lane sends.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// To the leader that it is attached to.
    Flowing,
    /// Nothing more until the batches in flight are answered.
    Draining,
    /// Not until somebody finds its leader.
    Unrouted,
}

/// The batches of one partition.
#[derive(Debug)]
pub(crate) struct Lane {
    config: LaneConfig,
    open: Option<Open>,
    waiting: VecDeque<Batch>,
    in_flight: VecDeque<Batch>,
    pub(crate) phase: Phase,
    epoch: ProducerEpoch,
    next_sequence: Sequence,
    /// Failures since something was stored.
    failures: u32,
    last_error: Option<ClientError>,
    /// Send what there is without waiting for more.
    flushing: bool,
    /// How long the last batch was, bytes: room for the next, which then does not grow in steps.
    expected_bytes: usize,
}

/// A record's place in the lane's youngest batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    /// Its number in the batch.
    pub(crate) index: u32,
    /// How much the buffer grew, bytes.
    pub(crate) bytes: usize,
    /// It opened a batch.
    pub(crate) opened: bool,
    /// A batch was closed: its own, or the one before.
    pub(crate) closed: bool,
}

impl Lane {
    pub(crate) const fn new(config: LaneConfig) -> Self {
        Self {
            config,
            open: None,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            phase: Phase::Unrouted,
            epoch: ProducerEpoch(0),
            next_sequence: Sequence(0),
            failures: 0,
            last_error: None,
            flushing: false,
            expected_bytes: 0,
        }
    }

    pub(crate) const fn config(&self) -> &LaneConfig {
        &self.config
    }

    /// Puts a record into the open batch.
    pub(crate) fn push(
        &mut self,
        record: &RecordParts<'_>,
        now: impl FnOnce() -> Instant,
    ) -> Result<Pushed, BatchError> {
        // A record that the open batch has no room for begins the next one.
        let overflows = self
            .open
            .as_ref()
            .is_some_and(|open| !open.has_room(record));
        if overflows {
            self.close()?;
        }
        let opened = self.open.is_none();
        let (config, expected_bytes) = (&self.config, self.expected_bytes);
        let open = self
            .open
            .get_or_insert_with(|| Open::new(config, expected_bytes, now()));
        let before = if opened {
            0
        } else {
            open.builder.encoded_len()
        };
        let headers = record
            .headers
            .iter()
            .map(|h| (h.key.as_str(), h.value.as_ref()));
        let pushed =
            open.builder
                .push_parts(record.timestamp_ms, record.key, record.value, headers);
        if let Err(error) = pushed {
            if open.builder.is_empty() {
                self.open = None;
            }
            return Err(error);
        }
        let full = open.builder.is_full(config.batch_max_bytes);
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

    /// The outcome of the batch that the last record went into.
    pub(crate) fn youngest(&self) -> Option<&Arc<Outcome>> {
        let open = self.open.as_ref().map(|open| &open.outcome);
        open.or_else(|| self.waiting.back().map(|batch| &batch.outcome))
    }

    /// Closes the open batch: compresses and checksums it.
    fn close(&mut self) -> Result<(), BatchError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let buffered = open.builder.encoded_len();
        self.expected_bytes = buffered;
        self.flushing = false;
        self.waiting.push_back(Batch {
            encoded: open.builder.finish()?,
            outcome: open.outcome,
            opened_at: open.opened_at,
            buffered,
            stamp: None,
            sends: 0,
            maybe_appended: false,
            last_error: None,
            request_id: 0,
            failed: false,
            restamp: false,
            lost: false,
        });
        Ok(())
    }

    /// Whether [`Lane::take`] would give a batch.
    pub(crate) fn has_sendable(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Flowing)
            && self.in_flight.len() < self.in_flight_max()
            && match self.waiting.front() {
                Some(batch) => self.may_follow(batch.stamp),
                None => self.partial_is_due(now) && self.may_follow(None),
            }
    }

    /// Without stamps nothing holds the order through a failure but to send one at a time.
    const fn in_flight_max(&self) -> usize {
        if self.config.idempotent {
            PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT
        } else {
            1
        }
    }

    /// A batch of a new epoch fences those of the old one: it waits until they are answered. And
    /// a new batch waits while an earlier one is in doubt: leaders remember only the last ones, and
    /// must not forget that one before it is settled.
    fn may_follow(&self, stamp: Option<Stamp>) -> bool {
        self.in_flight.iter().all(|earlier| match stamp {
            Some(stamp) => earlier.stamp.is_none_or(|e| e.epoch == stamp.epoch),
            None => !earlier.maybe_appended && earlier.stamp.is_none_or(|e| e.epoch == self.epoch),
        })
    }

    /// One more may be on its way than is being answered: its records then wait for half a reply.
    fn partial_is_due(&self, now: Instant) -> bool {
        self.in_flight.len() < PRODUCER_PARTITION_PARTIAL_BATCHES_MAX_COUNT
            && self.open.as_ref().is_some_and(|open| {
                self.flushing || now.saturating_duration_since(open.opened_at) >= self.config.linger
            })
    }

    /// When the open batch will be due, where it lingers.
    pub(crate) fn linger_until(&self) -> Option<Instant> {
        if self.config.linger.is_zero() {
            return None;
        }
        let open = self.open.as_ref()?;
        Some(open.opened_at + self.config.linger)
    }

    /// The next batch to send, as `request_id`.
    pub(crate) fn take(&mut self, request_id: u64, partial_free: bool, now: Instant) -> Take {
        if !self.has_sendable(now) {
            return Take::Nothing;
        }
        let partial = self.waiting.is_empty();
        if partial {
            if !partial_free {
                return Take::Parked;
            }
            // Only an empty batch cannot be closed, and an open one holds a record.
            if self.close().is_err() {
                return Take::Nothing;
            }
        }
        let Some(mut batch) = self.waiting.pop_front() else {
            return Take::Nothing;
        };
        if self.config.idempotent && batch.stamp.is_none() {
            batch.stamp = Some(Stamp {
                epoch: self.epoch,
                base_sequence: self.next_sequence,
            });
            self.next_sequence = self.next_sequence.plus(batch.encoded.record_count);
        }
        batch.request_id = request_id;
        batch.failed = false;
        batch.sends += 1;
        let send = Send {
            encoded: batch.encoded.clone(),
            stamp: batch.stamp,
            partial,
            resent: batch.sends > 1,
        };
        self.in_flight.push_back(batch);
        Take::Send {
            send,
            more: self.has_sendable(now),
        }
    }

    /// Takes in a reply. Answers the batch that it settles, if any.
    pub(crate) fn on_reply(&mut self, request_id: u64, verdict: Verdict) -> Option<Settled> {
        let at = self
            .in_flight
            .iter()
            .position(|b| b.request_id == request_id)?;
        let settled = match verdict {
            Verdict::Stored(ack) => {
                self.failures = 0;
                self.last_error = None;
                self.in_flight.remove(at).map(|batch| batch.settle(Ok(ack)))
            }
            Verdict::Retry { error, maybe } => {
                self.fail(at, error, maybe);
                None
            }
            // A batch before it failed or was refused. It is not in the log, which is certain now.
            Verdict::Gap { error, .. }
                if self.in_flight[at].restamp
                    || self.in_flight.iter().take(at).any(|b| b.failed) =>
            {
                self.in_flight[at].maybe_appended = false;
                self.fail(at, error, false);
                None
            }
            // The leader has forgotten this producer: it begins anew under its next epoch.
            Verdict::Gap {
                error,
                forgotten: true,
            } if !self.in_flight[at].maybe_appended => {
                self.begin_epoch(at, true);
                self.fail(at, error, false);
                None
            }
            Verdict::Gap { error, .. } | Verdict::Refused(error) => {
                self.last_error = Some(error.clone());
                let in_the_log = error.reason() == Some(Reason::DuplicateSequence);
                let mut batch = self.in_flight.remove(at)?;
                batch.failed = true;
                if !in_the_log {
                    self.begin_epoch(at, !batch.maybe_appended);
                }
                if in_the_log {
                    Some(batch.settle(Err(error)))
                } else {
                    Some(batch.fail(&self.config, error))
                }
            }
        };
        self.end_drain();
        settled
    }

    fn fail(&mut self, at: usize, error: ClientError, maybe: bool) {
        let batch = &mut self.in_flight[at];
        batch.failed = true;
        batch.maybe_appended |= maybe && !batch.lost;
        batch.last_error = Some(error.clone());
        // The first failure is the cause, those behind it follow.
        if !matches!(self.phase, Phase::Draining) {
            self.failures += 1;
            self.last_error = Some(error);
        }
        self.phase = Phase::Draining;
    }

    /// Sequences start from 0 in a new epoch: a batch before the one at `at` has been given up.
    /// With `surely` it is not in the log, so no leader will ever accept those that count it.
    fn begin_epoch(&mut self, at: usize, surely: bool) {
        if !self.config.idempotent {
            return;
        }
        self.epoch = ProducerEpoch(self.epoch.get() + 1);
        self.next_sequence = Sequence(0);
        for batch in self.in_flight.iter_mut().skip(at).chain(&mut self.waiting) {
            batch.restamp = true;
            batch.lost |= surely;
            batch.maybe_appended &= !surely;
        }
        if self.in_flight.len() <= at {
            self.restamp_waiting();
        }
    }

    /// Takes from waiting batches the sequences that will never be accepted. One in doubt keeps
    /// its own: the leader knows whether it is in the log. Behind one that surely is not in the
    /// log none is.
    fn restamp_waiting(&mut self) {
        let mut is_broken = false;
        for batch in self.waiting.iter_mut().filter(|batch| batch.restamp) {
            is_broken |= !batch.maybe_appended;
            if is_broken {
                batch.forget_stamp();
            }
        }
    }

    /// Once all in flight are answered, those that failed wait to be sent again.
    fn end_drain(&mut self) {
        if !matches!(self.phase, Phase::Draining) || self.in_flight.iter().any(|b| !b.failed) {
            return;
        }
        while let Some(batch) = self.in_flight.pop_back() {
            self.waiting.push_front(batch);
        }
        self.restamp_waiting();
        self.phase = Phase::Unrouted;
    }

    /// The link broke: what it had in flight may be in the log or not.
    pub(crate) fn on_link_lost(&mut self, error: &ClientError) {
        for at in 0..self.in_flight.len() {
            if !self.in_flight[at].failed {
                self.fail(at, error.clone(), true);
            }
        }
        if self.in_flight.is_empty() && matches!(self.phase, Phase::Flowing) {
            self.failures += 1;
            self.last_error = Some(error.clone());
        }
        self.phase = Phase::Draining;
        self.end_drain();
    }

    /// No leader was found.
    pub(crate) fn on_no_leader(&mut self, error: Option<ClientError>) {
        self.failures += 1;
        if error.is_some() {
            self.last_error = error;
        }
    }

    /// Fails what was not delivered in time.
    ///
    /// Where a batch was sent and its fate is not known, those sent behind it share it: their
    /// sequences count it. The others go on under a new epoch.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Settled> {
        let Some(deadline) = now.checked_sub(self.config.delivery_timeout) else {
            return Vec::new();
        };
        let sent_expired = self
            .in_flight
            .iter()
            .chain(&self.waiting)
            .any(|b| b.stamp.is_some() && b.opened_at <= deadline);
        let mut settled = Vec::new();
        if sent_expired {
            let sent = std::mem::take(&mut self.in_flight);
            let closed = std::mem::take(&mut self.waiting);
            for batch in sent.into_iter().chain(closed) {
                if batch.stamp.is_some() && (batch.opened_at <= deadline || batch.in_doubt()) {
                    settled.push(self.undelivered(batch));
                } else {
                    self.waiting.push_back(batch);
                }
            }
            self.begin_epoch(0, false);
            if matches!(self.phase, Phase::Draining) {
                self.phase = Phase::Unrouted;
            }
        }
        let late = |batch: &Batch| batch.opened_at <= deadline;
        // Without stamps: what is in flight goes as well as what waits.
        while let Some(batch) = self.in_flight.pop_front_if(|batch| late(batch)) {
            settled.push(self.undelivered(batch));
        }
        while let Some(batch) = self.waiting.pop_front_if(|batch| late(batch)) {
            settled.push(self.undelivered(batch));
        }
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.opened_at <= deadline)
            && self.close().is_ok()
            && let Some(batch) = self.waiting.pop_back()
        {
            settled.push(self.undelivered(batch));
        }
        self.end_drain();
        settled
    }

    fn undelivered(&self, batch: Batch) -> Settled {
        let error = ClientError::Undelivered {
            topic: Arc::clone(&self.config.topic),
            partition: self.config.partition,
            after: self.config.delivery_timeout,
            maybe_appended: batch.in_doubt(),
            last: batch
                .last_error
                .clone()
                .or_else(|| self.last_error.clone())
                .map(Box::new),
        };
        batch.settle(Err(error))
    }

    /// Fails everything with `error`: the topic is gone, or the producer.
    pub(crate) fn fail_all(&mut self, error: &ClientError) -> Vec<Settled> {
        // Its outcome is settled below like those of the closed ones.
        let _closed = self.close();
        let sent = std::mem::take(&mut self.in_flight);
        let closed = std::mem::take(&mut self.waiting);
        self.begin_epoch(0, false);
        self.phase = Phase::Unrouted;
        sent.into_iter()
            .chain(closed)
            .map(|b| b.fail(&self.config, error.clone()))
            .collect()
    }

    /// When its oldest batch runs out of time.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        let sent = self.in_flight.front().map(|b| b.opened_at);
        let closed = self.waiting.front().map(|b| b.opened_at);
        let open = self.open.as_ref().map(|o| o.opened_at);
        sent.into_iter()
            .chain(closed)
            .chain(open)
            .min()
            .map(|at| at + self.config.delivery_timeout)
    }

    /// Sends what there is without waiting for more; the outcomes of all of it.
    pub(crate) fn flush(&mut self) -> Vec<Arc<Outcome>> {
        self.flushing = self.open.is_some();
        let closed = self
            .in_flight
            .iter()
            .chain(&self.waiting)
            .map(|batch| &batch.outcome);
        closed
            .chain(self.open.as_ref().map(|open| &open.outcome))
            .map(Arc::clone)
            .collect()
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

impl Open {
    fn new(config: &LaneConfig, expected_bytes: usize, now: Instant) -> Self {
        Self {
            builder: BatchBuilder::with_capacity(config.compression, expected_bytes),
            outcome: Outcome::new(Arc::clone(&config.topic), config.partition),
            opened_at: now,
        }
    }

    /// Whether the record surely fits without the batch passing its greatest length.
    fn has_room(&self, record: &RecordParts<'_>) -> bool {
        use lograft_core::limits::BATCH_MAX_BYTES;
        /// Varints of a record, and of each header, at most.
        const OVERHEAD_BYTES: usize = 40;
        let headers: usize = record
            .headers
            .iter()
            .map(|h| h.key.len() + h.value.len() + OVERHEAD_BYTES)
            .sum();
        let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        self.builder.encoded_len() + size + headers + OVERHEAD_BYTES <= BATCH_MAX_BYTES
    }
}

impl Batch {
    /// Whether it may be in the log, as far as is known.
    const fn in_doubt(&self) -> bool {
        self.maybe_appended || (self.sends > 0 && !self.failed && !self.lost)
    }

    const fn forget_stamp(&mut self) {
        self.stamp = None;
        self.restamp = false;
        self.lost = false;
        self.maybe_appended = false;
    }

    /// Settles it with an error, which says so if it may be in the log all the same.
    fn fail(self, config: &LaneConfig, error: ClientError) -> Settled {
        let error = if self.in_doubt() {
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

    fn settle(self, result: Result<Ack, ClientError>) -> Settled {
        Settled {
            outcome: self.outcome,
            result,
            records: self.encoded.record_count,
            encoded_bytes: self.encoded.bytes.len(),
            buffered: self.buffered,
        }
    }
}

#[cfg(test)]
mod tests;
