//! What becomes of a batch, and the futures that wait for it: one shared cell per batch instead of
//! a channel per record.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use lograft_core::{Offset, PartitionId, Term};
use lograft_proto::log::v1::Durability;

use super::{BatchMetadata, RecordMetadata};
use crate::error::ClientError;

/// What a leader acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) base_offset: Offset,
    pub(crate) leader_epoch: Term,
    pub(crate) durability: Durability,
    pub(crate) append_time_ms: i64,
    pub(crate) duplicate: bool,
}

/// The outcome of one batch.
#[derive(Debug)]
pub(crate) struct Outcome {
    topic: Arc<str>,
    partition: PartitionId,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Who waits; a slot is empty when its future was dropped.
    Open(Vec<Option<Waker>>),
    Settled(Result<Ack, ClientError>),
}

impl Outcome {
    pub(crate) fn new(topic: Arc<str>, partition: PartitionId) -> Arc<Self> {
        Arc::new(Self {
            topic,
            partition,
            state: Mutex::new(State::Open(Vec::new())),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles it, the first time; wakes whoever waits.
    pub(crate) fn settle(&self, result: Result<Ack, ClientError>) {
        let mut state = self.state();
        if let State::Open(waiting) = &mut *state {
            let waiting = std::mem::take(waiting);
            *state = State::Settled(result);
            drop(state);
            waiting.into_iter().flatten().for_each(Waker::wake);
        }
    }
}

/// Waits for an outcome.
#[derive(Debug)]
pub(crate) struct Waiting {
    outcome: Arc<Outcome>,
    slot: Option<usize>,
}

impl Waiting {
    pub(crate) const fn new(outcome: Arc<Outcome>) -> Self {
        Self {
            outcome,
            slot: None,
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Ack, ClientError>> {
        match &mut *self.outcome.state() {
            State::Settled(result) => {
                self.slot = None;
                Poll::Ready(result.clone())
            }
            State::Open(waiting) => {
                match self.slot.and_then(|slot| waiting.get_mut(slot)) {
                    Some(Some(waker)) => waker.clone_from(cx.waker()),
                    Some(empty) => *empty = Some(cx.waker().clone()),
                    None => {
                        self.slot = Some(waiting.len());
                        waiting.push(Some(cx.waker().clone()));
                    }
                }
                Poll::Pending
            }
        }
    }
}

impl Future for Waiting {
    type Output = Result<Ack, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Self::poll(&mut self, cx)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(slot) = self.slot
            && let State::Open(waiting) = &mut *self.outcome.state()
            && let Some(waker) = waiting.get_mut(slot)
        {
            *waker = None;
        }
    }
}

/// A record under way. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "without it nobody learns whether the record was stored; flush() tells in sum"]
pub struct Delivery {
    waiting: Waiting,
    index: u32,
}

impl Delivery {
    pub(crate) const fn new(outcome: Arc<Outcome>, index: u32) -> Self {
        Self {
            waiting: Waiting::new(outcome),
            index,
        }
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        self.waiting.poll(cx).map_ok(|ack| RecordMetadata {
            topic: Arc::clone(&self.waiting.outcome.topic),
            partition: self.waiting.outcome.partition,
            offset: ack.base_offset.plus(index),
            leader_epoch: ack.leader_epoch,
            durability: ack.durability,
            append_time_ms: ack.append_time_ms,
        })
    }
}

/// A run of records of one batch under way.
#[derive(Debug)]
#[must_use = "without it nobody learns whether the records were stored; flush() tells in sum"]
pub struct BatchDelivery {
    waiting: Waiting,
    first: u32,
    record_count: u32,
}

impl BatchDelivery {
    pub(crate) const fn new(outcome: Arc<Outcome>, first: u32) -> Self {
        Self {
            waiting: Waiting::new(outcome),
            first,
            record_count: 1,
        }
    }

    /// Whether the record `index` of the batch of `outcome` is the next of this run.
    pub(crate) fn is_next(&self, outcome: &Arc<Outcome>, index: u32) -> bool {
        Arc::ptr_eq(&self.waiting.outcome, outcome) && index == self.first + self.record_count
    }

    /// Takes the next record in.
    pub(crate) const fn extend(&mut self) {
        self.record_count += 1;
    }

    /// How many of the records that were sent are in it.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The partition that they went to.
    pub fn partition(&self) -> PartitionId {
        self.waiting.outcome.partition
    }
}

impl Future for BatchDelivery {
    type Output = Result<BatchMetadata, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (first, record_count) = (self.first, self.record_count);
        self.waiting.poll(cx).map_ok(|ack| BatchMetadata {
            topic: Arc::clone(&self.waiting.outcome.topic),
            partition: self.waiting.outcome.partition,
            base_offset: ack.base_offset.plus(first),
            record_count,
            leader_epoch: ack.leader_epoch,
            durability: ack.durability,
            append_time_ms: ack.append_time_ms,
        })
    }
}
