//! The gate between openraft's request stream and a transport's append stream.
//!
//! openraft's stream waits for new entries with a mutex held, and its next session needs that
//! mutex. So the requests must be let go the moment the replies end, whatever the transport does
//! with its half: the gate owns the input and drops it. It also bounds what is in flight, which
//! openraft leaves to the transport, and ends a stream whose peer has fallen silent.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use lograft_core::NodeId;
use lograft_core::limits::{APPEND_IN_FLIGHT_MAX_COUNT, APPEND_STALL_MAX};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, Sleep};

use super::breaker::Breaker;
use super::wire_form::request_from_raft;
use crate::transport::{AppendReplies, TransportError};
use crate::types::Types;
use crate::wire::{AppendReply, AppendRequest};

struct Shared<S> {
    /// Taken once the replies have ended.
    input: Mutex<Option<S>>,
    in_flight: AtomicUsize,
    waker: AtomicWaker,
}

impl<S> Shared<S> {
    fn close(&self) {
        let input = self
            .input
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(input);
        self.waker.wake();
    }
}

/// The requests, for the transport.
pub(super) struct Requests<S> {
    shared: Arc<Shared<S>>,
}

/// What [`Gate::replies`] is made of.
pub(super) struct Gate<S> {
    shared: Arc<Shared<S>>,
    to: NodeId,
    breaker: Arc<Breaker>,
}

pub(super) fn gated_stream<S>(
    input: S,
    to: NodeId,
    breaker: Arc<Breaker>,
) -> (Requests<S>, Gate<S>) {
    let shared = Arc::new(Shared {
        input: Mutex::new(Some(input)),
        in_flight: AtomicUsize::new(0),
        waker: AtomicWaker::new(),
    });
    (
        Requests {
            shared: shared.clone(),
        },
        Gate {
            shared,
            to,
            breaker,
        },
    )
}

impl<S> Gate<S> {
    /// The transport's replies, watched.
    pub(super) fn replies(self, inner: AppendReplies) -> Replies<S> {
        Replies {
            gate: self,
            inner,
            heard_count: 0,
            heard_at_alarm: None,
            alarm: None,
            ended: false,
        }
    }
}

impl<S> Drop for Gate<S> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<S> Stream for Requests<S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    type Item = AppendRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AppendRequest>> {
        let shared = &self.shared;
        shared.waker.register(cx.waker());
        let mut input = shared.input.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = input.as_mut() else {
            return Poll::Ready(None);
        };
        if shared.in_flight.load(Ordering::Acquire) >= APPEND_IN_FLIGHT_MAX_COUNT {
            return Poll::Pending;
        }
        match Pin::new(open).poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                *input = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(request)) => {
                shared.in_flight.fetch_add(1, Ordering::AcqRel);
                Poll::Ready(Some(request_from_raft(request)))
            }
        }
    }
}

/// The replies, for openraft. Ends with the first error, conflict or higher vote.
pub(super) struct Replies<S> {
    gate: Gate<S>,
    inner: AppendReplies,
    /// Replies so far.
    heard_count: u64,
    /// The replies at the last alarm, if the peer owed one then.
    heard_at_alarm: Option<u64>,
    /// Goes off twice in `APPEND_STALL_MAX`.
    alarm: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl<S> Replies<S> {
    /// The error of a peer that owes a reply and has been silent from one alarm to the next.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        let interval = APPEND_STALL_MAX / 2;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(interval)));
        while alarm.as_mut().poll(cx).is_ready() {
            if self.gate.shared.in_flight.load(Ordering::Acquire) == 0 {
                self.heard_at_alarm = None;
            } else if self.heard_at_alarm == Some(self.heard_count) {
                let error = TransportError::Timeout {
                    node: self.gate.to,
                    after: interval,
                };
                return Poll::Ready(error);
            } else {
                self.heard_at_alarm = Some(self.heard_count);
            }
            alarm.as_mut().reset(Instant::now() + interval);
        }
        Poll::Pending
    }

    fn end(&mut self) {
        self.ended = true;
        self.gate.shared.close();
    }
}

impl<S> Stream for Replies<S>
where
    S: Unpin,
{
    type Item = Result<AppendReply, TransportError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.gate.breaker.poll_broken(cx) {
            this.end();
            let error = TransportError::Broken { node: this.gate.to };
            return Poll::Ready(Some(Err(error)));
        }
        match Pin::new(&mut this.inner).poll_next(cx) {
            Poll::Ready(Some(Ok(AppendReply::Accepted(last)))) => {
                this.heard_count += 1;
                this.gate.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
                this.gate.shared.waker.wake();
                Poll::Ready(Some(Ok(AppendReply::Accepted(last))))
            }
            Poll::Ready(item) => {
                this.end();
                Poll::Ready(item)
            }
            Poll::Pending => match this.poll_stall(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(error) => {
                    this.end();
                    Poll::Ready(Some(Err(error)))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt;
    use futures_util::stream::{self, StreamExt};
    use lograft_core::{LogId, LogIndex, Term, Vote};
    use tokio::sync::mpsc;

    use super::*;
    use crate::convert::vote_to_raft;
    use crate::network::breaker::Breakers;

    const PEER: NodeId = NodeId(2);
    const VOTE: Vote = Vote {
        term: Term(1),
        voted_for: NodeId(1),
        committed: true,
    };

    fn request() -> AppendEntriesRequest<Types> {
        AppendEntriesRequest {
            vote: vote_to_raft(VOTE),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        }
    }

    /// An input that never ends, and says when it has been dropped.
    fn endless() -> (
        impl Stream<Item = AppendEntriesRequest<Types>> + Unpin,
        Arc<()>,
    ) {
        let alive = Arc::new(());
        let held = alive.clone();
        let input = stream::repeat_with(move || {
            let _ = &held;
            request()
        });
        (input, alive)
    }

    type ReplySender = mpsc::UnboundedSender<Result<AppendReply, TransportError>>;

    fn replies() -> (ReplySender, AppendReplies) {
        let (tx, mut rx) = mpsc::unbounded_channel();
        (tx, stream::poll_fn(move |cx| rx.poll_recv(cx)).boxed())
    }

    fn accepted() -> AppendReply {
        AppendReply::Accepted(Some(LogId {
            term: Term(1),
            index: LogIndex(1),
        }))
    }

    #[tokio::test]
    async fn requests_in_flight_are_bounded_by_the_replies() {
        let (input, _alive) = endless();
        let (mut requests, gate) = gated_stream(input, PEER, Arc::default());
        let (tx, inner) = replies();
        let mut replies = gate.replies(inner);
        for _ in 0..APPEND_IN_FLIGHT_MAX_COUNT {
            assert!(requests.next().now_or_never().is_some());
        }
        assert!(
            requests.next().now_or_never().is_none(),
            "one more than may be in flight"
        );
        tx.send(Ok(accepted())).unwrap();
        assert_eq!(replies.next().await.unwrap().unwrap(), accepted());
        assert!(requests.next().now_or_never().is_some());
        assert!(requests.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_input_is_dropped_when_the_replies_end_or_are_dropped() {
        let conflict = AppendReply::Conflict(LogId {
            term: Term(1),
            index: LogIndex(4),
        });
        let endings = [
            Some(Ok(conflict)),
            Some(Ok(AppendReply::HigherVote(VOTE))),
            None,
        ];
        for ending in endings {
            let (input, alive) = endless();
            let (mut requests, gate) = gated_stream(input, PEER, Arc::default());
            let (tx, inner) = replies();
            let mut replies = gate.replies(inner);
            assert!(requests.next().await.is_some());
            let ends_by_reply = ending.is_some();
            if let Some(ending) = ending {
                tx.send(ending).unwrap();
            } else {
                drop(tx);
            }
            assert_eq!(replies.next().await.is_some(), ends_by_reply);
            assert_eq!(
                Arc::strong_count(&alive),
                1,
                "the transport still holds its half"
            );
            assert!(requests.next().await.is_none());
            assert!(replies.next().await.is_none());
        }
        let (input, alive) = endless();
        let (_requests, gate) = gated_stream(input, PEER, Arc::default());
        drop(gate.replies(replies().1));
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[tokio::test]
    async fn a_broken_stream_ends_with_an_error() {
        let breakers = Breakers::default();
        let (mut requests, gate) = gated_stream(stream::pending(), PEER, breakers.add(PEER));
        let (_tx, inner) = replies();
        let mut replies = gate.replies(inner);
        let waiting = tokio::spawn(async move { replies.next().await });
        tokio::task::yield_now().await;
        breakers.break_stream(NodeId(3));
        breakers.break_stream(PEER);
        let ended = waiting.await.unwrap();
        assert!(matches!(
            ended,
            Some(Err(TransportError::Broken { node: PEER }))
        ));
        assert!(requests.next().await.is_none());
    }

    #[tokio::test]
    async fn a_waiting_transport_is_woken_when_the_replies_end() {
        let (mut requests, gate) = gated_stream(stream::pending(), PEER, Arc::default());
        let waiting = tokio::spawn(async move { requests.next().await });
        tokio::task::yield_now().await;
        drop(gate);
        assert!(waiting.await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_peer_that_owes_a_reply_can_be_too_silent() {
        let (input, _alive) = endless();
        let (mut requests, gate) = gated_stream(input, PEER, Arc::default());
        let (tx, inner) = replies();
        let mut replies = gate.replies(inner);
        let idle = tokio::time::timeout(APPEND_STALL_MAX * 3, replies.next()).await;
        assert!(idle.is_err(), "nothing was asked");
        // A slow peer, but one that answers.
        let mut heard = VecDeque::new();
        for _ in 0..3 {
            assert!(requests.next().await.is_some());
            let late = tokio::time::timeout(APPEND_STALL_MAX / 2, replies.next()).await;
            assert!(late.is_err());
            tx.send(Ok(accepted())).unwrap();
            heard.push_back(replies.next().await.unwrap().is_ok());
        }
        assert_eq!(heard, [true; 3]);
        assert!(requests.next().await.is_some());
        let silent = tokio::time::timeout(APPEND_STALL_MAX * 2, replies.next())
            .await
            .unwrap();
        assert!(matches!(
            silent,
            Some(Err(TransportError::Timeout { node: PEER, .. }))
        ));
        assert!(requests.next().await.is_none());
    }
}
