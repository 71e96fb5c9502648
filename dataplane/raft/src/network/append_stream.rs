//! Flow control between openraft's request stream and a transport's append stream.
//!
//! - At most `limits::APPEND_IN_FLIGHT_MAX_COUNT` requests are unanswered. openraft leaves this
//!   bound to the transport; without it, a slow follower would pull its whole backlog into the send
//!   buffers.
//! - The requests are dropped as soon as the replies end, no matter for how long the transport
//!   keeps its half. openraft's stream waits for new entries while it holds a mutex that its next
//!   replication session needs: a forgotten stream would stop the replication to this follower
//!   (deadlock).
//! - A stream ends with an error if its follower owes a reply and stays silent, or if it is
//!   aborted.
//! - An accepted request is answered with the id of its last entry. Any other id ends the stream
//!   with an error: the follower would be counted as the owner of entries that it did not confirm.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use lograft_core::limits::{APPEND_IN_FLIGHT_MAX_COUNT, APPEND_STALL_MAX};
use lograft_core::{LogId, NodeId};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, Sleep};

use super::stream_abort::AbortSignal;
use super::wire_form::request_from_raft;
use crate::transport::{AppendReplies, TransportError};
use crate::types::Types;
use crate::wire::{AppendReply, AppendRequest};

/// openraft's requests with a bound on those in flight.
struct RequestWindow<S> {
    /// Taken when the replies end.
    input: Mutex<Option<S>>,
    /// The last entry of each unanswered request, in the order of the requests.
    in_flight: Mutex<VecDeque<Option<LogId>>>,
    /// Wakes the transport when the window opens or closes.
    waker: AtomicWaker,
}

impl<S> RequestWindow<S> {
    fn in_flight(&self) -> MutexGuard<'_, VecDeque<Option<LogId>>> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the requests and wakes the transport, which finds its stream at the end.
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

/// The requests as the transport reads them.
pub(super) struct WindowedRequests<S> {
    window: Arc<RequestWindow<S>>,
}

/// Closes the window when it is dropped. It becomes part of the [`WindowedReplies`].
pub(super) struct WindowGuard<S> {
    window: Arc<RequestWindow<S>>,
    to: NodeId,
    abort: Arc<AbortSignal>,
}

/// Splits openraft's requests to a node into the transport's half and the half for its replies.
pub(super) fn windowed<S>(
    input: S,
    to: NodeId,
    abort: Arc<AbortSignal>,
) -> (WindowedRequests<S>, WindowGuard<S>) {
    let window = Arc::new(RequestWindow {
        input: Mutex::new(Some(input)),
        in_flight: Mutex::default(),
        waker: AtomicWaker::new(),
    });
    (
        WindowedRequests {
            window: window.clone(),
        },
        WindowGuard { window, to, abort },
    )
}

impl<S> WindowGuard<S> {
    /// Wraps the transport's replies.
    pub(super) fn replies(self, inner: AppendReplies) -> WindowedReplies<S> {
        WindowedReplies {
            guard: self,
            inner,
            reply_count: 0,
            reply_count_at_alarm: None,
            alarm: None,
            has_ended: false,
        }
    }
}

impl<S> Drop for WindowGuard<S> {
    fn drop(&mut self) {
        self.window.close();
    }
}

impl<S> Stream for WindowedRequests<S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    type Item = AppendRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AppendRequest>> {
        let window = &self.window;
        // Registered before the state is read: a reply or a close in between wakes the task.
        window.waker.register(cx.waker());
        let mut input = window.input.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = input.as_mut() else {
            return Poll::Ready(None);
        };
        if window.in_flight().len() >= APPEND_IN_FLIGHT_MAX_COUNT {
            return Poll::Pending;
        }
        match Pin::new(open).poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                *input = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(request)) => {
                let request = request_from_raft(request, false);
                let last = request.entries.last().map(|entry| entry.id);
                window.in_flight().push_back(last.or(request.prev));
                Poll::Ready(Some(request))
            }
        }
    }
}

/// A follower accepted another entry than the last of the oldest unanswered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node accepted {got:?} instead of {expected:?}")]
struct ReplyMismatch {
    expected: Option<LogId>,
    got: Option<LogId>,
}

/// The replies as openraft reads them. The stream ends with the first error, conflict or higher
/// vote.
pub(super) struct WindowedReplies<S> {
    guard: WindowGuard<S>,
    inner: AppendReplies,
    /// The number of replies so far.
    reply_count: u64,
    /// The number of replies at the last alarm, if the follower owed a reply then.
    reply_count_at_alarm: Option<u64>,
    /// Fires twice per `APPEND_STALL_MAX`.
    alarm: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
}

impl<S> WindowedReplies<S> {
    /// Gives an error when the follower owes a reply and has been silent between two alarms.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        // The timer is reset twice per `APPEND_STALL_MAX` and not with every reply, which keeps it
        // off the hot path. It finds a stall after half to one `APPEND_STALL_MAX`.
        let interval = APPEND_STALL_MAX / 2;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(interval)));
        while alarm.as_mut().poll(cx).is_ready() {
            if self.guard.window.in_flight().is_empty() {
                self.reply_count_at_alarm = None;
            } else if self.reply_count_at_alarm == Some(self.reply_count) {
                let error = TransportError::Timeout {
                    node: self.guard.to,
                    after: interval,
                };
                return Poll::Ready(error);
            } else {
                self.reply_count_at_alarm = Some(self.reply_count);
            }
            alarm.as_mut().reset(Instant::now() + interval);
        }
        Poll::Pending
    }

    /// Takes the reply to the oldest unanswered request.
    fn on_accepted(&mut self, last: Option<LogId>) -> Result<AppendReply, TransportError> {
        let expected = self.guard.window.in_flight().pop_front();
        if expected != Some(last) {
            self.end();
            return Err(TransportError::Refused {
                node: self.guard.to,
                source: ReplyMismatch {
                    expected: expected.flatten(),
                    got: last,
                }
                .into(),
            });
        }
        self.reply_count += 1;
        self.guard.window.waker.wake();
        Ok(AppendReply::Accepted(last))
    }

    fn end(&mut self) {
        self.has_ended = true;
        self.guard.window.close();
    }
}

impl<S> Stream for WindowedReplies<S>
where
    S: Unpin,
{
    type Item = Result<AppendReply, TransportError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        if this.guard.abort.poll_aborted(cx) {
            this.end();
            let error = TransportError::Aborted {
                node: this.guard.to,
            };
            return Poll::Ready(Some(Err(error)));
        }
        match Pin::new(&mut this.inner).poll_next(cx) {
            Poll::Ready(Some(Ok(AppendReply::Accepted(last)))) => {
                Poll::Ready(Some(this.on_accepted(last)))
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
