//! The outcome of a batch, shared by all its records: one cell per batch instead of a channel per
//! record.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use lograft_core::{Offset, PartitionId, Term};
use lograft_proto::log::v1::Durability;

use crate::error::ClientError;

/// The acknowledgement of a batch by its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    /// None for a duplicate whose offset the leader does not know any more.
    pub(crate) base_offset: Option<Offset>,
    pub(crate) leader_epoch: Term,
    pub(crate) durability: Durability,
    pub(crate) append_time_ms: i64,
    pub(crate) duplicate: bool,
}

/// The outcome of one batch.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(super) topic: Arc<str>,
    pub(super) partition: PartitionId,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Wakers of the waiting futures; a slot is empty if its future was dropped.
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

    /// Sets the result and wakes all waiting futures. Only the first call has an effect.
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

/// A future that waits for an outcome.
#[derive(Debug)]
pub(crate) struct OutcomeFuture {
    pub(super) outcome: Arc<Outcome>,
    slot: Option<usize>,
}

impl OutcomeFuture {
    pub(crate) const fn new(outcome: Arc<Outcome>) -> Self {
        Self {
            outcome,
            slot: None,
        }
    }

    pub(super) fn poll_outcome(&mut self, cx: &Context<'_>) -> Poll<Result<Ack, ClientError>> {
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

impl Future for OutcomeFuture {
    type Output = Result<Ack, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_outcome(cx)
    }
}

impl Drop for OutcomeFuture {
    fn drop(&mut self) {
        if let Some(slot) = self.slot
            && let State::Open(waiting) = &mut *self.outcome.state()
            && let Some(waker) = waiting.get_mut(slot)
        {
            *waker = None;
        }
    }
}
