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

#[cfg(test)]
mod tests;

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

use super::stream_abort::AbortSignal;
use super::wire_form::request_from_raft;
use crate::transport::{AppendReplies, TransportError};
use crate::types::Types;
use crate::wire::{AppendReply, AppendRequest};

/// openraft's requests with a bound on those in flight.
struct RequestWindow<S> {
    /// Taken when the replies end.
    input: Mutex<Option<S>>,
    in_flight_count: AtomicUsize,
    /// Wakes the transport when the window opens or closes.
    waker: AtomicWaker,
}

impl<S> RequestWindow<S> {
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
        in_flight_count: AtomicUsize::new(0),
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
        if window.in_flight_count.load(Ordering::Acquire) >= APPEND_IN_FLIGHT_MAX_COUNT {
            return Poll::Pending;
        }
        match Pin::new(open).poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                *input = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(request)) => {
                window.in_flight_count.fetch_add(1, Ordering::AcqRel);
                Poll::Ready(Some(request_from_raft(request)))
            }
        }
    }
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
            if self.guard.window.in_flight_count.load(Ordering::Acquire) == 0 {
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
                this.reply_count += 1;
                this.guard
                    .window
                    .in_flight_count
                    .fetch_sub(1, Ordering::AcqRel);
                this.guard.window.waker.wake();
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
